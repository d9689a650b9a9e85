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


def test_the_target_of_optional_packages_names_every_extra_and_every_test_that_is_skipped_without_one() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    extras = re.search(r"^EXTRAS := (\S+)$", makefile, re.MULTILINE)
    files = re.search(r"^OF_EXTRAS \?= (.+)$", makefile, re.MULTILINE)
    assert extras is not None
    assert files is not None
    installed = {"dev"} | {name for entry in PROJECT["optional-dependencies"]["dev"] for name in _extras_in(entry)}
    assert set(extras[1].split(",")) | installed >= set(PROJECT["optional-dependencies"])
    skipping = re.compile(r"importorskip\(\s*\"(?!hatchling)|find_spec\(\"(?!hydra_plugins\"\))[\w.]+\"\) is None")
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")
             if skipping.search(path.read_text(encoding="utf-8"))}  # fmt: skip
    assert found - {"tests/config/test_moved.py", "tests/test_dependencies.py"} == set(files[1].split())


def _extras_in(requirement: str) -> list[str]:
    inside = re.fullmatch(r"semscale-pl\[(.+)\]", requirement)
    return [] if inside is None else inside[1].split(",")
