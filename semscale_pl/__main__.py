"""`python -m semscale_pl` is the console script `semscale`."""

from __future__ import annotations

import sys

from semscale_pl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
