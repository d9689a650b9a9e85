"""The CSV log of a run: one file that a resumed run goes on with, cut back to the epochs behind it."""

from __future__ import annotations

import csv
import sys
import warnings
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class ResumedCSVLogger(CSVLogger):
    """Lightning's CSV logger with one file a run folder, which :meth:`cut_back` brings in step with a checkpoint.

    Lightning's own starts another ``version_N`` when a run goes on, so that neither file holds the whole run.

    Args:
        save_dir: the run folder; the file is ``save_dir/name/metrics.csv``.
        name: of the folder.
    """

    def __init__(self, save_dir: str | Path, name: str = "csv") -> None:
        super().__init__(str(save_dir), name=name, version="")
        # Read now: the writer deletes what it finds when it first logs.
        self._earlier = _rows_of(Path(self.log_dir) / "metrics.csv")

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer of the file."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Experiment logs directory")
            return super().experiment

    def cut_back(self, epoch: int) -> None:
        """Keep what an earlier process logged before the first epoch that is still to be trained; forget the rest."""
        kept = [row for row in self._earlier if row.get("epoch") and int(float(row["epoch"])) < epoch]
        self._earlier = []
        if kept:
            self.experiment.metrics = [*kept, *self.experiment.metrics]
            self.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left; a run that had nothing more to train keeps its whole log."""
        if self._earlier:
            self.cut_back(sys.maxsize)
        super().finalize(status)


def _rows_of(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        # A killed process may have left half a last line.
        return [{key: value for key, value in row.items() if key and value} for row in csv.DictReader(file)]
