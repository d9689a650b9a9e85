"""The empty run folder that a refused call takes away again, where it was this call that made it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

HYDRA_FILES = {"config.yaml", "hydra.yaml", "overrides.yaml"}
FOLDER_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "out")


class Leftovers:
    """Knows whether the folder of the present call was there before it.

    Attributes:
        ours: whether the call makes its folder; False until `note` has seen its arguments.
    """

    def __init__(self) -> None:
        self.ours = False

    def note(self, overrides: Sequence[str]) -> None:
        """Look, before Hydra makes the run folder, whether it is there.

        The default folder carries the time to the microsecond and is new; one that was named is only ours where there
        is none by that name, and not where the name has to be worked out first.
        """
        named = [value for key, _, value in (one.lstrip("+").partition("=") for one in overrides) if key in FOLDER_KEYS]
        self.ours = all("$" not in value and not Path(value.strip("\"'")).exists() for value in named)

    def clear(self, folder: Path) -> bool:
        """Remove the run folder where this call made it and it holds at most `.hydra`; return whether it did.

        Folders in it that are empty, such as those of loggers, count as nothing.
        """
        inner = folder / ".hydra"
        if not (self.ours and folder.is_dir() and not folder.is_symlink() and not inner.is_symlink()):
            return False
        files = list(inner.iterdir()) if inner.is_dir() else []
        others = [path for path in folder.iterdir() if path != inner]
        if any(map(_holds_something, others)) or {path.name for path in files} - HYDRA_FILES:
            return False
        for path in others:
            path.rmdir()
        for path in files:
            path.unlink()
        if inner.is_dir():
            inner.rmdir()
        folder.rmdir()
        return True


def _holds_something(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir() or any(path.iterdir())


leftovers = Leftovers()


def clear_run_folder() -> None:
    """Take away the folder that Hydra made for a run that did not begin."""
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.initialized():
        leftovers.clear(Path(HydraConfig.get().runtime.output_dir))
