"""Pictures become small addresses that show what the original shows, whatever kind it is of."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from semscale_pl.measuring.report.thumbnails import Gallery, as_image

NOISE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)


def opened(address: str) -> Image.Image:
    kind, _, content = address.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert kind == f"data:image/{str(image.format).lower()}"
    return image


@pytest.mark.parametrize(
    ("picture", "size", "mode"),
    [
        (torch.zeros(1, 8, 9, dtype=torch.uint8), (9, 8), "L"),
        (torch.rand(3, 8, 9), (9, 8), "RGB"),
        (torch.rand(4, 8, 9), (9, 8), "RGB"),
        (torch.full((2, 8, 9), torch.nan), (9, 8), "L"),
        (Image.new("RGBA", (9, 8)), (9, 8), "RGB"),
        (Image.new("P", (9, 8)), (9, 8), "RGB"),
        (Image.new("1", (9, 8)), (9, 8), "L"),
    ],
)
def test_every_kind_of_picture_is_drawn(picture: object, size: tuple[int, int], mode: str) -> None:
    image = as_image(picture)
    assert (image.size, image.mode) == (size, mode)


def test_a_tiny_picture_keeps_every_pixel() -> None:
    values = np.random.default_rng(0).integers(0, 256, (1, 8, 8), dtype=np.uint8)
    found, _ = Gallery(lambda _: values).fitting([[3]], 10_000)
    assert np.array_equal(np.asarray(opened(found[3])), values[0])


def test_large_pictures_shrink_and_keep_their_shape() -> None:
    gallery = Gallery(lambda _: Image.fromarray(NOISE))
    found, shown = gallery.fitting([[0], [1]], 100_000)
    assert shown == 2
    assert opened(found[0]).size == (96, 64)
    assert gallery.sizes == {(300, 200)}


@pytest.mark.parametrize("budget", [60_000, 25_000, 6_000, 0])
def test_the_budget_holds_by_smaller_pictures_first_and_fewer_groups_then(budget: int) -> None:
    groups = [[2 * number, 2 * number + 1] for number in range(8)]
    found, shown = Gallery(lambda _: Image.fromarray(NOISE)).fitting(groups, budget)
    assert sum(map(len, found.values())) <= budget
    assert sorted(found) == list(range(2 * shown))
    assert (shown == 8) == (budget >= 25_000)


def test_a_picture_that_cannot_be_read_any_more_is_left_out() -> None:
    def picture(row: int) -> Image.Image:
        if row == 1:
            raise OSError("gone")
        return Image.fromarray(NOISE)

    found, shown = Gallery(picture).fitting([[0, 1]], 100_000)
    assert (list(found), shown) == ([0], 1)
