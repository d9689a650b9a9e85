"""No tensor of a training step lies on another device than the batch: on a card the first step would end the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

SCENARIO = Path(__file__).parent / "pretended_device.py"


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no devices written in Python",
)
def test_no_step_mixes_devices() -> None:
    line = [sys.executable, "-W", "ignore", str(SCENARIO)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    noticed = ["noticed: FakeTensorDeviceMismatchError", "noticed: DataDependentOutputException"]
    assert done.stdout.splitlines() == [*noticed, "48 steps"]
