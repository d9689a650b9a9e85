"""Which of the package's files a training imports, read from their import statements, and a hash of them."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from semscale_pl.config.composing import PACKAGE

# The pictures of a run in its loggers cannot change a number, so a changed picture leaves finished runs valid.
PICTURES = f"{PACKAGE.name}.figures"


class Sources:
    """The package's files as they are now.

    Everything that importing a name executes counts: its module, the packages around it and whatever these import
    anywhere, within functions too. So a change of one loss is a change for every run with a loss of that package, whose
    ``__init__`` imports them all; what only other runs name, such as another re-weighting, is not.
    """

    def __init__(self, package: Path = PACKAGE) -> None:
        self._sources: dict[str, bytes] = {}
        self._sums: dict[str, str] = {}
        self._packages: set[str] = set()
        self._reached: dict[str, frozenset[str]] = {}
        for file in sorted(package.rglob("*.py")):
            parts = (PACKAGE.name, *file.relative_to(package).with_suffix("").parts)
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self._sources[module] = file.read_bytes()
            if parts[-1] == "__init__":
                self._packages.add(module)

    def reached(self, name: str) -> frozenset[str]:
        """Return the package's modules that are imported for the sake of a name.

        Args:
            name: ``module.Name`` or ``module:name``; one of another package reaches nothing.
        """
        if name not in self._reached:
            found: set[str] = set()
            waiting = list(self._modules_in(name.replace(":", ".")))
            while waiting:
                module = waiting.pop()
                if module not in found and not f"{module}.".startswith(f"{PICTURES}."):
                    found.add(module)
                    waiting += (one for named in self._imports(module) for one in self._modules_in(named))
            self._reached[name] = frozenset(found)
        return self._reached[name]

    def hash(self, names: Iterable[str]) -> str:
        """Hash the files that are imported for the sake of names."""
        modules = sorted(frozenset[str]().union(*map(self.reached, names)))
        return hashlib.sha256(json.dumps([(module, self._sum(module)) for module in modules]).encode()).hexdigest()

    def _sum(self, module: str) -> str:
        if module not in self._sums:
            self._sums[module] = hashlib.sha256(self._sources[module]).hexdigest()
        return self._sums[module]

    def _modules_in(self, name: str) -> Iterator[str]:
        """Yield the modules along a dotted path, the packages around them first."""
        parts = name.split(".")
        return (path for path in (".".join(parts[:end]) for end in range(1, len(parts) + 1)) if path in self._sources)

    def _imports(self, module: str) -> tuple[str, ...]:
        around = module if module in self._packages else module.rpartition(".")[0]
        return imported(self._sources[module], around)


@cache
def imported(source: bytes, package: str) -> tuple[str, ...]:
    """Return the dotted paths that a file imports anywhere in it, but for those that only a type checker reads.

    Args:
        package: that relative imports start from.

    Example:
        >>> imported(b"import a.b; from . import c", "x.y")
        ('a.b', 'x.y.c')
    """
    return tuple(_imported(ast.parse(source), package))


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*start, *([node.module] if node.module else [])])
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.stmt | ast.mod | ast.ExceptHandler | ast.match_case):
        only_for_types = isinstance(node, ast.If) and ast.unparse(node.test) in (
            "TYPE_CHECKING",
            "typing.TYPE_CHECKING",
        )
        for child in node.orelse if isinstance(node, ast.If) and only_for_types else ast.iter_child_nodes(node):
            yield from _imported(child, package)
