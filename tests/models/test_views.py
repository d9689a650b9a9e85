"""Views of a test image: which pixels they show, and the mean of their logits."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from semscale_pl.models.views import Views

IMAGES = torch.arange(2 * 3 * 9 * 9).float().reshape(2, 3, 9, 9)


def test_crops_are_the_four_corners_and_the_centre_as_torchvision_cuts_them() -> None:
    for view, expected in zip(Views("crops", 6)(IMAGES), F.five_crop(IMAGES, [6, 6]), strict=True):
        assert torch.equal(view, expected)


def test_flips_are_the_image_and_its_mirror_image() -> None:
    first, second = Views("flips")(IMAGES)
    assert torch.equal(first, IMAGES)
    assert torch.equal(second, F.horizontal_flip(IMAGES))


@pytest.mark.parametrize("kind", ["none", "flips", "crops"])
def test_the_logits_are_averaged(kind: str) -> None:
    views = Views(kind, 6)
    mean = torch.stack([view[:, :, 0, 1] ** 2 for view in views(IMAGES)]).double().mean(0).float()
    torch.testing.assert_close(views.average(lambda view: view[:, :, 0, 1] ** 2, IMAGES), mean)


def test_images_are_larger_for_crops_in_proportion_to_lift_s() -> None:
    assert [Views("crops", size).size_before_cropping for size in (224, 384, 32, 4)] == [248, 425, 35, 5]
    assert Views("flips", 224).size_before_cropping is None


def test_images_of_the_model_s_own_size_are_enlarged_before_they_are_cut() -> None:
    larger = F.resize(IMAGES, [10, 10], antialias=True)
    for view, expected in zip(Views("crops", 9)(IMAGES), F.five_crop(larger, [9, 9]), strict=True):
        torch.testing.assert_close(view, expected)


def test_what_cannot_be_seen_so_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `image_size` for crops"):
        Views("crops")
    with pytest.raises(ValueError, match=r"Expected `tta` to be one of none, flips, crops, but got 'spins'\."):
        Views("spins")
    with pytest.raises(
        ValueError, match=r"at least 10 pixels for views of them, but got \(2, 3, 9, 9\)\. Use tta=none"
    ):
        list(Views("crops", 10)(IMAGES))
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        list(Views("flips")(torch.zeros(4, 5)))
