"""Shared set-up: the package comes before torchvision, which it lets load beside a CPU-only torch."""

import semscale_pl  # noqa: F401
