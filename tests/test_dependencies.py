"""What the package asks to be installed is what it imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Lightning's TensorBoardLogger, which conf/logger names, asks for it.
THROUGH_OTHERS = {"tensorboard"}


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[;]", requirement)[0].strip().lower() for requirement in requirements}


def _imported() -> set[str]:
    found = set()
    for path in (ROOT / "semscale_pl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            found |= {name.partition(".")[0] for name in names}
    return found - set(sys.stdlib_module_names) - {"semscale_pl"}


@pytest.fixture(scope="module")
def distributions() -> set[str]:
    owners = packages_distributions()
    return {owners[name][0].lower() for name in _imported() if name in owners}


def test_every_dependency_is_imported(distributions: set[str]) -> None:
    assert _names(PROJECT["dependencies"]) - distributions == THROUGH_OTHERS


def test_every_import_is_a_dependency(distributions: set[str]) -> None:
    extras = PROJECT["optional-dependencies"]
    # Hydra's launcher for submitit brings it along.
    optional = set().union(*(_names(extras[name]) for name in set(extras) - {"dev"})) | {"submitit"}
    assert distributions <= _names(PROJECT["dependencies"]) | optional


def test_the_versions_of_every_dependency_are_pinned() -> None:
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert _names(PROJECT["dependencies"]) <= pinned
