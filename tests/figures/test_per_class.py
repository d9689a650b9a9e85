"""Bars show the values they are given, in the order of the classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semscale_pl.figures.per_class import MOST_BARS, per_class_bars
from semscale_pl.figures.style import as_pixels
from semscale_pl.tables.pictures import accuracy_beside_scale


def test_bars_have_the_heights_of_the_values() -> None:
    figure = accuracy_beside_scale(["cat", "dog"], [30, 3], torch.tensor([1.0, 0.25]), [0.9, 0.1])
    assert [ax.get_ylabel() for ax in figure.axes] == ["accuracy", "images n", "imbalance S"]
    heights = [[patch.get_height() for patch in ax.patches] for ax in figure.axes]
    assert heights == [[0.9, 0.1], [30.0, 3.0], [1.0, 0.25]]
    assert figure.axes[1].get_yscale() == "log"
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["cat", "dog"]


def test_undefined_values_leave_a_gap() -> None:
    figure = per_class_bars(["a", "b"], {"value": [None, 2.0]})
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert np.isnan(heights[0])
    assert heights[1] == 2.0
    as_pixels(figure)


def test_thousands_of_classes_become_one_outline() -> None:
    count = MOST_BARS + 1
    figure = per_class_bars([str(number) for number in range(count)], {"value": np.ones(count)})
    assert len(figure.axes[0].patches) == 0
    assert len(figure.axes[0].collections) == 1
    as_pixels(figure)


@pytest.mark.parametrize("panels", [{}, {"value": [1.0]}, {"value": [[1.0, 2.0]]}])
def test_wrong_panels_are_refused(panels: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        per_class_bars(["a", "b"], panels)
