"""The heat map shows epoch by class, with undefined cells left out of the colours."""

from __future__ import annotations

import numpy as np
import pytest

from semscale_pl.callbacks.recording.class_pictures import class_heatmap
from semscale_pl.figures.style import as_pixels


def test_cells_are_the_values_with_classes_downwards() -> None:
    figure = class_heatmap([[1.0, 2.0], [3.0, None], [5.0, 6.0]], [0, 1, 2], ["cat", "dog"], "S' (bits)", title="run")
    cells = figure.axes[0].images[0].get_array()
    assert cells is not None
    assert np.ma.getmaskarray(cells).tolist() == [[False, False, False], [False, True, False]]
    assert cells[0].tolist() == [1.0, 3.0, 5.0]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["cat", "dog"]
    assert figure.axes[1].get_ylabel() == "S' (bits)"
    as_pixels(figure)


def test_all_undefined_still_draws() -> None:
    as_pixels(class_heatmap(np.full((1, 3), np.nan), [4], ["a", "b", "c"], "S"))


@pytest.mark.parametrize(("shape", "epochs"), [((2, 3), [0, 1]), ((0, 2), [])])
def test_a_wrong_shape_is_refused(shape: tuple[int, int], epochs: list[int]) -> None:
    with pytest.raises(ValueError, match=r"Expected `values` of shape"):
        class_heatmap(np.zeros(shape), epochs, ["a", "b"], "S")
