"""The study of correlations: which quantity of a class goes with its accuracy, over published trainings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from semscale_pl.analysis.correlation import accuracy_correlations, summarise
from semscale_pl.cli.paths import experiments_dir
from semscale_pl.tables import published
from semscale_pl.tables.publishing import CELLS

CONTRASTS = (("S'", "n"), ("S'", "log n"), ("S'", "E_n"), ("S", "n"), ("S", "log n"), ("S", "S'"))


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Correlate class accuracies with n, E_n, S', W and S in every training of published tables.

    Args:
        arguments: ``results`` (folders of published tables, or their names in experiments/results/), ``rows`` (those to
            take; empty takes all), ``alphas`` of S.
        folder: not used.
        jobs: not used.
        progress: is told which table is read.

    Returns:
        ``groups``, one for each table, column and row, with means and intervals over the seeds.

    Raises:
        ValueError: a table is not there, or has none of the rows.

    Reference: Ma et al. (ICLR 2023), section 3.4, Table 1.
    """
    groups = []
    for name in arguments["results"]:
        cells = read_cells(name)
        kept = [cell for cell in cells if not arguments["rows"] or cell["row"] in arguments["rows"]]
        if not kept:
            rows = sorted({cell["row"] for cell in cells})
            raise ValueError(f"Expected `rows` to name rows of {name}, but got {arguments['rows']}. Rows: {rows}.")
        progress(f"{name}: {len(kept)} trainings")
        groups += groups_of(Path(name).name, kept, arguments["alphas"])
    return {"groups": groups, "alphas": arguments["alphas"]}


def groups_of(name: str, cells: list[dict[str, Any]], alphas: list[float]) -> list[dict[str, Any]]:
    """Summarise a table's trainings by column and row.

    Args:
        name: of the table.
        cells: as in its ``cells.json``.
        alphas: of S.
    """
    places: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        places.setdefault((cell["column"], cell["row"]), []).append(cell["record"])
    groups = []
    for (column, row), records in places.items():
        config = records[0]["config"]
        found = summarise([accuracy_correlations(record, alphas) for record in records], CONTRASTS)
        groups.append(
            {
                "table": name,
                "column": column,
                "row": row,
                "dataset": config["dataset"]["name"],
                "backbone": config["backbone"]["_target_"].rpartition(".")[2],
                "seeds": [record["seed"] for record in records],
                "num_classes": records[0]["num_classes"],
                **found,
            }
        )
    return groups


def read_cells(name: str) -> list[dict[str, Any]]:
    """Read a published table's trainings: row, column and record of each.

    Args:
        name: of a folder with ``cells.json``, or of one in experiments/results/.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    folder = Path(name) if (Path(name) / CELLS).is_file() else experiments_dir() / "results" / name
    if not (folder / CELLS).is_file():
        raise ValueError(
            f"Expected the cells of a published table in {str(folder)!r}, but found none. Run `semscale table NAME "
            "publish=true`."
        )
    return [
        {"row": cell.row, "column": cell.column, "record": record}
        for cell, record in published.read_cells(folder / CELLS)
        if record is not None
    ]
