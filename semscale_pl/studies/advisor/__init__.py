"""The collection advisor put to the test on real samples that are hidden and revealed batch by batch."""

from semscale_pl.studies.advisor.study import draw, run

__all__ = ["draw", "run"]
