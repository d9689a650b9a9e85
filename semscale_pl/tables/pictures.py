"""The pictures of a table: every method's interval, confusions, and where among the classes two methods differ."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semscale_pl.figures import style
from semscale_pl.figures.comparison import draw_intervals
from semscale_pl.figures.per_class import draw_bars, per_class_bars
from semscale_pl.files import strict
from semscale_pl.tables.derived import Metrics
from semscale_pl.tables.engine import TableResult
from semscale_pl.tables.publishing import CELLS, read_cells
from semscale_pl.tables.rendering import EntryRow, as_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLE = "table.json"
# Up to so many classes the percentages are written into the confusion matrix.
MOST_NUMBERED = 20


def save_figure_of(result: TableResult, path: Path, shown: Sequence[str] = ()) -> Path | None:
    """Draw the focus measure of the first column, with class accuracies beside n and S where the records have them.

    Args:
        result: of a table.
        path: its ending chooses the format.
        shown: rows whose class accuracies are drawn, averaged over the seeds; the baseline's S stands below them.

    Returns:
        The path; None where no row has a value yet.
    """
    table = result.summary.table
    wanted = (table.columns[0].name, table.focus.name)
    entries = [e for e in as_json(result.summary, {})["entries"] if (e["column"], e["measure"]) == wanted]
    if all(entry["mean"] is None for entry in entries):
        return None
    return style.save_figure(_comparison(entries, table.baseline, table.title, **_classes(result, shown)), path)


def draw_table(folder: Path) -> Figure:
    """Draw the first measure of a ``table.json``'s first column: each row's mean and interval, the baseline on top.

    Raises:
        ValueError: the file is damaged, or no row has a value.
    """
    content = _content(folder / TABLE)
    valued = [entry for entry in content["entries"] if entry.get("mean") is not None]
    if not valued:
        raise ValueError(f"Expected {folder / TABLE} to hold a value, but no row has one. Run `semscale table` again.")
    wanted = (valued[0]["column"], valued[0]["measure"])
    rows = [entry for entry in valued if (entry["column"], entry["measure"]) == wanted]
    return _comparison(rows, content["baseline"], content["title"])


def draw_classes(folder: Path) -> Figure:
    """Draw accuracy, n and S of each class for the baseline, the mean over the seeds in a published table's folder.

    Raises:
        ValueError: a file is damaged, or the baseline has no class accuracies.

    Reference: Ma et al. (ICLR 2023), Figure 3.
    """
    baseline = _content(folder / TABLE)["baseline"]
    cells = [(cell, record) for cell, record in read_cells(folder / CELLS) if cell.row == baseline]
    records = [record for cell, record in cells if cell.column == cells[0][0].column and "scales" in record]
    if not records:
        raise ValueError(f"Expected {folder / CELLS} to hold classes of {baseline!r}, but there are none.")
    return accuracy_beside_scale(
        records[0]["class_names"],
        records[0]["class_counts"],
        seed_mean([record["scales"]["S"] for record in records]),
        _mean_accuracy(records),
        title=f"{baseline}: mean of {len(records)} seeds",
    )


def save_confusions(result: TableResult, folder: Path) -> list[Path]:
    """Draw each row's and column's mean confusion over the seeds into ``confusion_ROW[_COLUMN].png`` of a folder."""
    found = []
    for row, column in itertools.product(result.summary.table.rows, result.summary.table.columns):
        records = [record["results"]["last"] for record in _records(result, row.name, column.name)]
        reports = [report for report in records if report and report.get("confusion_matrix")]
        if not reports:
            continue
        label = " · ".join(name for name in (row.name, column.name) if name)
        title = f"{label}, mean of {len(reports)} runs" if len(reports) > 1 else label
        drawn = confusion_matrix([r["confusion_matrix"] for r in reports], reports[0]["class_names"], title=title)
        name = re.sub(r"[^A-Za-z0-9]+", "_", label).strip("_")
        found.append(style.save_figure(drawn, folder / f"confusion_{name}.png"))
    return found


def confusion_matrix(matrices: Any, class_names: Sequence[str], *, title: str = "") -> Figure:
    """Draw the share of each true class (top to bottom) that was given each label (left to right).

    Args:
        matrices: (R, C, C) counts of R runs, true class first; the shares are averaged over the runs.
        class_names: C names.

    Returns:
        The figure; up to 20 classes have their percentages written in, a class without test images is grey.

    Raises:
        ValueError: the shape of the counts does not fit.
    """
    counts = np.asarray(matrices, dtype=np.float64)
    num_classes = len(class_names)
    if counts.ndim != 3 or counts.shape[1:] != (num_classes, num_classes) or not len(counts):
        raise ValueError(
            f"Expected `matrices` of shape (R, {num_classes}, {num_classes}), but got {counts.shape}. "
            "Pass one matrix of counts for each run."
        )
    import matplotlib

    totals = counts.sum(axis=2, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0).mean(axis=0)
    size = min(9.0, max(3.0, 0.42 * num_classes + 1.6))
    figure, (ax,) = style.new_figure(size + 0.8, size)
    ax.grid(False)
    colours = matplotlib.colormaps[style.COLOUR_MAP].with_extremes(bad=style.MISSING)
    picture = ax.imshow(np.ma.masked_invalid(shares), cmap=colours, vmin=0.0, vmax=1.0, interpolation="nearest")
    if num_classes <= MOST_NUMBERED:
        _write_numbers(ax, shares)
    style.label_classes(ax, class_names, axis="x")
    style.label_classes(ax, class_names, axis="y")
    ax.set(xlabel="predicted", ylabel="true")
    figure.colorbar(picture, ax=ax).set_label("share of the class", fontsize=9)
    if title:
        ax.set_title(title, fontsize=10)
    return figure


def _write_numbers(ax: Any, shares: np.ndarray) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = "black" if share > 0.6 else "white"
            ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=colour)


def method_comparison(
    rows: Sequence[Mapping[str, Any]],
    *,
    class_names: Sequence[str] = (),
    accuracy: Mapping[str, Any] | None = None,
    counts: Any = None,
    imbalance: Any = None,
    metric: str = "balanced accuracy",
    title: str = "",
) -> Figure:
    """Draw each method's mean with its interval and, beside it, per-class accuracies over n and S.

    Args:
        rows: see :func:`draw_intervals`; the first is the baseline.
        class_names: C names; without them only the left half is drawn.
        accuracy: method to its (C,) accuracies in [0, 1], for the few methods to be shown per class.
        counts: (C,) training images n.
        imbalance: (C,) semantic scale imbalance S.
        metric: what ``mean`` measures.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("Expected at least one row in `rows`, but got none.")
    height = max(3.2, 0.38 * len(rows) + 1.2)
    if not class_names:
        figure, (left,) = style.new_figure(5.5, height)
    else:
        figure = style.empty_figure(11.0, max(height, 4.5))
        left = _with_class_panels(figure, class_names, accuracy or {}, {"images n": counts, "imbalance S": imbalance})
    draw_intervals(left, rows, metric)
    style.head(figure, title)
    return figure


def _with_class_panels(
    figure: Figure, class_names: Sequence[str], accuracy: Mapping[str, Any], bars: Mapping[str, Any]
) -> Axes:
    """Lay out the figure, draw the class panels on the right and return the empty axes on the left."""
    below = {label: values for label, values in bars.items() if values is not None}
    grid = figure.add_gridspec(1 + len(below), 2, width_ratios=[1.0, 1.35], height_ratios=[1.8] + [1.0] * len(below))
    right = [style.tidy(figure.add_subplot(grid[0, 1]))]
    right += [style.tidy(figure.add_subplot(grid[row, 1], sharex=right[0])) for row in range(1, 1 + len(below))]
    _draw_accuracies(right[0], accuracy)
    for ax, (label, values) in zip(right[1:], below.items(), strict=True):
        draw_bars(ax, values, len(class_names), "#999999")
        ax.set_ylabel(label)
        if label == "images n":
            style.logarithmic(ax)
    for ax in right[:-1]:
        ax.tick_params(labelbottom=False)
    style.label_classes(right[-1], class_names)
    right[-1].set_xlabel("class")
    return style.tidy(figure.add_subplot(grid[:, 0]))


def _draw_accuracies(ax: Axes, accuracy: Mapping[str, Any]) -> None:
    for number, (method, values) in enumerate(accuracy.items()):
        colour, marker = style.series_style(number)
        ax.plot(
            style.finite(values),
            marker=marker,
            markersize=4,
            linewidth=1.2,
            color=colour,
            label=style.entry(method, 60),
        )
    ax.set(ylabel="accuracy", ylim=(-0.03, 1.03))
    if accuracy:
        ax.legend(fontsize=8, frameon=False, loc="lower left")


def accuracy_beside_scale(
    class_names: Sequence[str], counts: Any, imbalance: Any, accuracy: Any, *, title: str = ""
) -> Figure:
    """Draw accuracy in [0, 1], number of images n and semantic scale imbalance S of each class, (C,) each.

    Reference: Ma et al. (ICLR 2023), section 3: accuracy follows S where n does not explain it.
    """
    panels = {"accuracy": accuracy, "images n": counts, "imbalance S": imbalance}
    figure = per_class_bars(class_names, panels, title=title, log=("images n",))
    figure.axes[0].set_ylim(0.0, 1.0)
    return figure


def seed_mean(lists: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Average lists of C values entry by entry; an entry that is undefined anywhere is undefined.

    Example:
        >>> seed_mean([[1.0, None], [2.0, 3.0]])
        [1.5, None]
    """
    return strict(style.finite(lists).mean(axis=0))  # type: ignore[no-any-return]


def _comparison(entries: Sequence[EntryRow], baseline: str, title: str, **classes: Any) -> Figure:
    rows = sorted((e for e in entries if e["mean"] is not None), key=lambda entry: entry["row"] != baseline)
    unit = (rows[0].get("unit") or "").strip()
    metric = f"{rows[0]['measure']} ({unit})" if unit else rows[0]["measure"]
    kept = ("mean", "half_width", "low", "high")
    methods = [{"method": row["row"], **{key: row.get(key) for key in kept}} for row in rows]
    return method_comparison(methods, metric=metric, title=title, **classes)


def _classes(result: TableResult, shown: Sequence[str]) -> dict[str, Any]:
    table = result.summary.table
    found = {row: _records(result, row, table.columns[0].name) for row in (table.baseline, *shown)}
    records = {row: [r for r in its if "class_names" in r and "scales" in r] for row, its in found.items()}
    baseline = records[table.baseline]
    if not shown or not all(records.values()):
        return {}
    return {
        "class_names": baseline[0]["class_names"],
        "counts": baseline[0]["class_counts"],
        "imbalance": seed_mean([record["scales"]["S"] for record in baseline]),
        "accuracy": {row: _mean_accuracy(records[row]) for row in shown},
    }


def _mean_accuracy(records: Sequence[Metrics]) -> list[float | None]:
    return seed_mean([record["results"]["last"]["per_class"]["accuracy"] for record in records])


def _records(result: TableResult, row: str, column: str) -> list[Metrics]:
    found = [run.metrics() for run in result.runs if (run.cell.row, run.cell.column) == (row, column)]
    return [record for record in found if record is not None]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or not {"entries", "baseline", "title"} <= set(content):
        raise ValueError(f"Expected a published table at {str(path)!r}, but found none. Run `semscale table` again.")
    return content
