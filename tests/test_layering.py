"""A file imports only from lower layers; Lightning only from layer 4 up, Hydra only in layer 6."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import semscale_pl

ROOT = Path(semscale_pl.__file__).parent
LAYERS = {
    0: ["geometry", "volumes", "scales", "centres", "gram", "logdet", "imbalance", "statistics", "distributed",
        "validation", "seeding", "torchvision_operators"],
    1: ["moments", "weighting"],
    2: ["pool", "losses", "metrics"],
    3: ["models", "analysis", "figures"],
    4: ["modules", "callbacks"],
    5: ["data"],
    6: ["tables", "studies", "cli", "benchmarks", "reports"],
}  # fmt: skip
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}
# The front door resolves names lazily from everywhere; `python -m` starts the command line.
DOORS = {"__init__", "__main__"}
FORBIDDEN_NAMES = {"utils", "util", "misc", "helpers", "helper", "common"}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in ("conf", "experiments"))


def _part(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "semscale_pl":
                names.update(f"semscale_pl.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_stays_in_its_layer(path: Path) -> None:
    part = _part(path)
    if part in DOORS:
        return
    assert part in LAYER_OF, f"{part} has no layer: add it to the list and to the design"
    layer = LAYER_OF[part]
    for name in _imports(path):
        top, _, rest = name.partition(".")
        if top == "semscale_pl" and rest:
            other = rest.split(".")[0]
            assert LAYER_OF[other] < layer or other == part or LAYER_OF[other] == layer, f"{part} imports {name}"
        if top == "pytorch_lightning":
            assert layer >= 4, f"Lightning in layer {layer}"
        if top in ("hydra", "omegaconf"):
            assert layer == 6, f"{top} in layer {layer}"


def test_callbacks_and_modules_know_only_the_slot_of_each_other() -> None:
    for one, other in (("modules", "callbacks"), ("callbacks", "modules")):
        for path in (ROOT / one).rglob("*.py"):
            assert not any(name.startswith(f"semscale_pl.{other}") for name in _imports(path)), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_small_documented_and_named_for_what_they_hold(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert path.stem not in FORBIDDEN_NAMES
    assert ast.get_docstring(ast.parse(text)), "a file opens with one sentence on what it holds"
