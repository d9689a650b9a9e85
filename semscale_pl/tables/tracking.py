"""How the cells of a table are labelled in Weights & Biases, so that one project holds them in order."""

from __future__ import annotations

from semscale_pl.cli.launching import quoted
from semscale_pl.tables.schema import Cell, Table

_LONGEST_TAG = 64  # W&B refuses longer ones


def wandb_overrides(table: Table, cell: Cell) -> tuple[str, ...]:
    """Return the Hydra overrides that give a cell's W&B run its group, job type, name and tags.

    Args:
        table: the cell's table; with its profile it is the group.
        cell: its row is the job type, its label the name; table, row, column and seed are tags.

    Returns:
        Overrides of ``logger.wandb``.

    Example:
        >>> from semscale_pl.tables.schema import Measure, Variant
        >>> table = Table("t", "", (Variant("CE"),), (Variant(""),), (1,), (Measure("a", "a"),), "CE")
        >>> wandb_overrides(table, Cell("CE", "", 1, ()))[-1]
        "logger.wandb.tags=['table:t','row:CE','seed:1']"
    """
    tags = {"table": table.full_name, "row": cell.row, "column": cell.column, "seed": str(cell.seed)}
    listed = ",".join(quoted(f"{name}:{value}"[:_LONGEST_TAG]) for name, value in tags.items() if value)
    return (
        f"logger.wandb.group={quoted(table.full_name)}",
        f"logger.wandb.job_type={quoted(cell.row)}",
        f"logger.wandb.name={quoted(cell.label)}",
        f"logger.wandb.tags=[{listed}]",
    )
