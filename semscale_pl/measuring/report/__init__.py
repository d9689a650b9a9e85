"""Reports: a measurement as one file that opens in any browser, without a network."""

from __future__ import annotations

from semscale_pl.measuring.report.sample_strips import rows_to_name
from semscale_pl.measuring.report.writing import write_report

__all__ = ["rows_to_name", "write_report"]
