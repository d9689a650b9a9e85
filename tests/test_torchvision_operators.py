"""torchvision imports in a fresh process, whichever comes first, and the package itself imports no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("before", ["import semscale_pl", "import semscale_pl, torch", "import torch, semscale_pl"])
def test_torchvision_loads(before: str) -> None:
    code = f"{before}; import torchvision.models as m; print(m.resnet18().fc.in_features)"
    assert _run(code) == "512"


def test_the_package_is_lazy() -> None:
    code = "import semscale_pl, sys; print([n for n in ('torch', 'pytorch_lightning', 'hydra') if n in sys.modules])"
    assert _run(code) == "[]"


def test_every_public_name_resolves() -> None:
    import semscale_pl as ss

    assert all(getattr(ss, name) is not None for name in ss.__all__)
    assert set(ss.__all__) <= set(dir(ss))
    with pytest.raises(AttributeError, match="nonsense"):
        ss.nonsense  # noqa: B018
