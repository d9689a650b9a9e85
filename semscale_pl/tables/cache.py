"""Where a cell's run lives: a folder named by a hash of its config, the package's sources and the versions."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from semscale_pl.config.composing import PACKAGE, config_dir
from semscale_pl.tables.schema import TRAIN, Cell, Table

METRICS = "metrics.json"
# They draw, print, time or study what a run has written; none of it enters a run.
_NOT_IN_A_RUN = ("benchmarks", "figures", "studies", "tables")
_LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "numpy", "scipy", "scikit-learn", "timm")


@dataclass(frozen=True)
class CellRun:
    """A cell with the folder that holds, or will hold, its run.

    Args:
        cell: of a table.
        folder: named by a hash.
        dataset: tells datasets apart, so that one which is absent is looked for once.
        tracked: whether the run is sent to Weights & Biases.
    """

    cell: Cell
    folder: Path
    dataset: str = ""
    tracked: bool = False

    def metrics(self) -> dict[str, Any] | None:
        """Return the finished run's metrics; None where the run has not ended or its file is damaged."""
        try:
            content = json.loads((self.folder / METRICS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and not content.get("interrupted") else None


def locate(table: Table, cells: Sequence[Cell], root: Path) -> list[CellRun]:
    """Find the folder of each cell.

    Args:
        table: the cells' table.
        cells: what to run.
        root: folder of all tables' runs.

    Returns:
        The cells with ``root/NAME/<hash>``, in order.

    Raises:
        ValueError: a cell's overrides do not make a valid config.
    """
    code = {"train": table.train, "sources": source_hash(), "versions": versions()}
    configs = compose_all(table, cells)
    return [
        CellRun(
            cell,
            root.absolute() / table.name / digest({**code, "config": config}),
            dataset=_dataset(config),
            tracked="wandb" in (config.get("logger") or {}),
        )
        for cell, config in zip(cells, configs, strict=True)
    ]


def _dataset(config: Mapping[str, Any]) -> str:
    node = config.get("dataset")
    return digest({key: node.get(key) for key in ("name", "root", "source")}) if isinstance(node, Mapping) else ""


def compose_all(table: Table, cells: Sequence[Cell]) -> list[Any]:
    """Compose the config of each cell, as plain containers.

    Interpolations stay as they are written: they are functions of the same config, or of the machine (the folder of
    the data), and a result does not depend on where its data lie.

    Raises:
        ValueError: a cell's overrides do not make a valid config.
    """
    from hydra import initialize_config_dir

    composed: dict[tuple[str, ...], dict[str, Any]] = {}
    configs = []
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder(table))):
        for cell in cells:
            # Composing costs a tenth of a second; the seeds of a row and column differ in one value.
            variant = cell.overrides[:-1]
            if variant not in composed:
                composed[variant] = _compose(table, cell)
            configs.append({**composed[variant], "seed": cell.seed})
    return configs


def _compose(table: Table, cell: Cell) -> dict[str, Any]:
    from hydra import compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from semscale_pl.config.checks import check_train
    from semscale_pl.config.moved import with_current_names

    try:
        config = with_current_names(compose(table.config_name, overrides=list(cell.overrides)))
        if table.train == TRAIN:
            check_train(config)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"Expected a valid config for {cell.label!r}, but: {reason}") from None
    return {str(key): value for key, value in dict(OmegaConf.to_container(config, resolve=False)).items()}  # type: ignore[arg-type]


def config_folder(table: Table) -> Path:
    """Return the folder of Hydra configs: the table's own, the installed package's, or the repository's."""
    if table.config_dir:
        return Path(table.config_dir).resolve()
    return config_dir()


def source_hash(package: Path = PACKAGE) -> str:
    """Hash the package's Python files, except for those that no run executes.

    Args:
        package: folder of the package.

    Returns:
        64 hexadecimal digits.
    """
    files = sorted(file for file in package.rglob("*.py") if file.relative_to(package).parts[0] not in _NOT_IN_A_RUN)
    sums = {file.relative_to(package).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a result depends on; absent libraries are left out."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def digest(content: Mapping[str, Any]) -> str:
    """Hash plain data, whatever the order of its keys.

    Args:
        content: what JSON can hold; other values count by their text.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
