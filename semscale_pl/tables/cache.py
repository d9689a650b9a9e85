"""Where a cell's run lives: a folder named by a hash of its config, the files it imports or names, and the versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semscale_pl.config.composing import config_dir, with_kept_input
from semscale_pl.tables.named_files import FILES, STORE, contents
from semscale_pl.tables.schema import TRAIN, TRAINED, Cell, Table
from semscale_pl.tables.sources import Sources
from semscale_pl.training.provenance import versions

METRICS = "metrics.json"
# Their versions are part of a cell's key besides those of every record: data, statistics and backbones come from them.
_LIBRARIES = ("scipy", "scikit-learn", "timm")


@dataclass(frozen=True)
class CellRun:
    """A cell with the folder that holds, or will hold, its run.

    Args:
        folder: named by a hash.
        dataset: identifies the dataset, so that one which is absent is looked for once.
        on_card: whether it asks for one GPU.
    """

    cell: Cell
    folder: Path
    dataset: str = ""
    tracked: bool = False
    on_card: bool = False

    def metrics(self) -> dict[str, Any] | None:
        """Return the finished run's metrics; None where the run has not ended or its file is damaged.

        Those of a cell that shares its run are of its head alone, as if the run had no other.
        """
        try:
            content = json.loads((self.folder / METRICS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict) or content.get("interrupted"):
            return None
        return of_head(content, self.cell.head) if self.cell.head else content


def of_head(record: Mapping[str, Any], head: str) -> dict[str, Any]:
    """Return the record of a run that was judged with several heads as that of one of them.

    Args:
        head: ``trained``, or one of the run's ``also``, which then stands where the trained head stood.

    Raises:
        KeyError: the run was not judged with this head.
    """
    results, correlations = record["results"], record.get("correlations") or {}
    own = "validation" if results.get("last") is None else "last"
    trained = head == TRAINED
    source, selected = (own, results.get("selected")) if trained else (head, None)
    found = {"last": None, "selected": selected, own: results[source]}
    recipe = record.get("recipe") if trained else {**record["also"][head], "name": head}
    return {**record, "also": {}, "recipe": recipe, "results": found, "correlations": {own: correlations.get(source)}}


def key_versions() -> dict[str, str | None]:
    """Return the versions that are part of a cell's key."""
    return versions(*_LIBRARIES)


def locate(
    table: Table, cells: Sequence[Cell], root: Path, of_versions: Mapping[str, str | None] | None = None
) -> list[CellRun]:
    """Find the folder of each cell.

    Args:
        of_versions: what :func:`key_versions` returned on another machine; None for those here.

    Returns:
        The cells with ``root/NAME/<hash>``, in order.

    Raises:
        ValueError: a cell's overrides do not make a valid config.
    """
    sources = Sources()
    code = {"train": table.train, "versions": dict(key_versions() if of_versions is None else of_versions)}
    runs = []
    for cell, config in zip(cells, compose_all(table, cells), strict=True):
        named = contents(config)
        # Only where there are some, so that other cells keep their names.
        files = {"files": named} if named else {}
        key = digest({**code, "sources": sources.hash([table.train, *targets(config)]), "config": config, **files})
        tracked = "wandb" in (config.get("logger") or {})
        runs.append(CellRun(cell, root.absolute() / table.name / key, _dataset(config), tracked, _on_card(config)))
    return runs


def targets(config: Any) -> set[str]:
    """Return every class and function that plain containers of a configuration name.

    What an interpolation refers to stands somewhere in them, too.

    Example:
        >>> targets({"loss": {"_target_": "a.B"}, "again": "${loss}", "mixing": {"_target_": None}})
        {'a.B'}
    """
    if isinstance(config, Mapping):
        named = config.get("_target_")
        return ({named} if isinstance(named, str) else set()).union(*map(targets, config.values()))
    return set().union(*map(targets, config)) if isinstance(config, list) else set()


def _dataset(config: Mapping[str, Any]) -> str:
    node = config.get("dataset")
    keys = ("name", "root", "source", *(key.partition(".")[2] for key in (STORE, *FILES) if key.startswith("dataset.")))
    return digest({key: node.get(key) for key in keys}) if isinstance(node, Mapping) else ""


def _on_card(config: Mapping[str, Any]) -> bool:
    trainer = config.get("trainer")
    return (
        isinstance(trainer, Mapping) and trainer.get("accelerator") in ("gpu", "cuda") and trainer.get("devices") == 1
    )


def compose_all(table: Table, cells: Sequence[Cell]) -> list[Any]:
    """Compose the config of each cell, as plain containers.

    Interpolations stay as they are written: they are functions of the same config, or of the machine (the folder of
    the data), and a result does not depend on where its data lie.

    Raises:
        ValueError: a cell's overrides do not make a valid config.
    """
    from hydra import initialize_config_dir

    composed: dict[tuple[str, ...], dict[str, Any]] = {}
    untuned: dict[tuple[str, ...], Any] = {}
    configs = []
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder(table))):
        for cell in cells:
            # Composing costs a tenth of a second; the seeds of a row and column differ in one value.
            variant = cell.overrides[:-1]
            if variant not in composed:
                composed[variant] = _compose(table, cell, untuned)
            configs.append({**composed[variant], "seed": cell.seed})
    return configs


def _compose(table: Table, cell: Cell, untuned: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from semscale_pl.config.checks import check_train, check_tuned_recipe
    from semscale_pl.config.errors import message_of

    try:
        config = with_kept_input(_composed(table, cell, untuned), cell.overrides)
        if table.train == TRAIN:
            check_train(config)
            if cell.trial:
                check_tuned_recipe(config)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        reason = " ".join((message_of(error) or str(error)).split())
        if " has none; these have: " in reason:
            reason += " With ++ before the key, rows without it pass it over."
        raise ValueError(f"Expected a valid config for {cell.label!r}, but: {reason}") from None
    return OmegaConf.to_container(config)  # type: ignore[return-value]


def _composed(table: Table, cell: Cell, untuned: dict[tuple[str, ...], Any]) -> Any:
    """Compose a cell's configuration; settings that only replace values go into that of the row without them.

    Args:
        untuned: the configurations without settings that were composed so far.
    """
    from hydra import compose
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import OverrideType
    from omegaconf import DictConfig, OmegaConf

    from semscale_pl.config.moved import with_current_names

    place = len(cell.overrides) - 1 - cell.tuned
    before, settings = cell.overrides[:place], cell.overrides[place:-1]
    if settings:
        if before not in untuned:
            untuned[before] = with_current_names(compose(table.config_name, overrides=list(before)))
        config, missing = untuned[before].copy(), object()
        parsed = OverridesParser.create().parse_overrides(list(settings))
        found = [OmegaConf.select(config, one.key_or_group, default=missing) for one in parsed]
        plain = all(one.package is None and one.type == OverrideType.CHANGE for one in parsed)
        if plain and not any(value is missing or isinstance(value, DictConfig) for value in found):
            for one in parsed:
                OmegaConf.update(config, one.key_or_group, one.value())
            return config
    return with_current_names(compose(table.config_name, overrides=list(cell.overrides)))


def config_folder(table: Table) -> Path:
    """Return the folder of Hydra configs: the table's own, the installed package's, or the repository's."""
    return Path(table.config_dir).resolve() if table.config_dir else config_dir()


def digest(content: Mapping[str, Any]) -> str:
    """Hash plain data, whatever the order of its keys, to 16 hexadecimal digits; what JSON lacks counts by its text.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
