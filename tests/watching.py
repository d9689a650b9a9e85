"""Watches a re-weighting: keeps what every step was handed and what it answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from semscale_pl.weighting import StepInputs, StepTerms

Build = Callable[..., Any]


class Step(NamedTuple):
    """One training step."""

    epoch: int
    stage: int
    inputs: StepInputs
    terms: StepTerms


class Watching:
    """Stands before a re-weighting among the bases of a class."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.steps: list[Step] = []

    def __call__(self, inputs: StepInputs) -> StepTerms:
        terms = super().__call__(inputs)  # type: ignore[misc]
        self.steps.append(Step(self._epoch, self.stage, inputs, terms))  # type: ignore[attr-defined]
        return terms

    @property
    def seen(self) -> dict[int, list[StepTerms]]:
        """The terms of each epoch's steps."""
        found: dict[int, list[StepTerms]] = {}
        for step in self.steps:
            found.setdefault(step.epoch, []).append(step.terms)
        return found
