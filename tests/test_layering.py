"""The floors of the house: a room imports only from lower floors, none from a room of its own floor, nobody `cli`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import semscale_pl

ROOT = Path(semscale_pl.__file__).parent
FLOORS = [
    ["options"],
    [
        "extras",
        "validation",
        "labels",
        "seeding",
        "distributed",
        "files",
        "memory",
        "progress",
        "terminal",
        "torchvision_operators",
    ],
    ["geometry", "imbalance", "resampling", "statistics", "text_table"],
    ["weighting", "pool", "losses", "metrics", "models", "figures"],
    ["features", "heads", "modules", "callbacks"],
    ["data"],
    ["config"],
    ["training", "measuring", "advice"],
    ["tables"],
    ["studies", "benchmarks", "claims"],
    ["cli"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Rooms that may import a framework at all; the others stay usable without it.
LIGHTNING = {"modules", "callbacks", "data", "training", "tables", "studies", "benchmarks", "cli"}
HYDRA = {"config", "training", "tables", "studies", "cli"}
# The front door resolves names lazily from everywhere; `python -m` starts the command line.
DOORS = {"__init__", "__main__"}
FORBIDDEN_NAMES = {"utils", "util", "misc", "helpers", "helper", "common"}
LONGEST = 500


def _files() -> list[Path]:
    inside = (path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
    return sorted(path for path in inside if path.parts[0] not in ("conf", "experiments"))


def _room(path: Path) -> str:
    return path.with_suffix("").parts[0]


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(["semscale_pl", *(parts[:-1] if parts[-1] == "__init__" else parts)])


def _imports(path: Path) -> Iterator[str]:
    """Yield what a file imports anywhere in it, within functions and for type checkers too."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = _files()
ROOMS = sorted({_room(path) for path in FILES} - DOORS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_lower_floors(room: str) -> None:
    assert room in FLOOR_OF, f"{room} has no floor: add it here and to docs/architecture.md"
    for path in (path for path in FILES if _room(path) == room):
        for name in _imports(path):
            top, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if top == "semscale_pl" and other in FLOOR_OF and other != room:
                assert FLOOR_OF[other] < FLOOR_OF[room], f"{path} imports {name}, which is not below it"
            if top == "pytorch_lightning":
                assert room in LIGHTNING, f"{path} imports Lightning"
            if top in ("hydra", "omegaconf"):
                assert room in HYDRA, f"{path} imports {top}"


def test_no_file_imports_itself_in_a_circle() -> None:
    modules = {_module(path): path for path in FILES}
    graph = {
        module: {name for name in _imports(path) if name in modules and name != module}
        for module, path in modules.items()
        if _room(path) not in DOORS
    }
    # A package's own face re-exports what lies in it; that its files name the package too is how Python finds them.
    for module in graph:
        graph[module] -= {module.rpartition(".")[0], "semscale_pl"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_re_weightings_and_recording_know_of_each_other_only_what_the_slot_says() -> None:
    for one, other in (("reweighting", "recording"), ("recording", "reweighting")):
        for path in (path for path in FILES if path.parts[:2] == ("callbacks", one)):
            assert not any(name.startswith(f"semscale_pl.callbacks.{other}") for name in _imports(path)), path


@pytest.mark.parametrize("room", [*ROOMS, *sorted(DOORS)])
def test_files_are_documented_not_too_long_and_named_for_what_they_hold(room: str) -> None:
    for path in (path for path in FILES if _room(path) == room):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert len(text.splitlines()) <= LONGEST, f"{path} is longer than {LONGEST} lines"
        assert path.stem not in FORBIDDEN_NAMES, path
        assert ast.get_docstring(ast.parse(text)), f"{path}: a file opens with one sentence on what it holds"
