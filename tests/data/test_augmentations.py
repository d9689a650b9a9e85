"""Changes of whole batches: the same pixels as torchvision's with the same parameters, and the same distributions."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from semscale_pl.data import augmentations as ours
from semscale_pl.data.policies import _RANDOM, AutoAugment, RandAugment, operate, strength
from semscale_pl.data.transforms import auto_augment_cutout, compose, crop_flip, rand_augment, resized_crop_flip
from semscale_pl.seeding import Draws, seeded


def pictures(batch: int = 6, side: int = 12, channels: int = 3, dtype: torch.dtype = torch.uint8) -> Tensor:
    images = torch.randint(
        0, 256, (batch, channels, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    images[0] = images[0, :1]  # a grey one
    return images if dtype == torch.uint8 else images.to(dtype) / 255


def draws(batch: int, epoch: int = 0) -> Draws:
    return Draws.of(0, torch.full((batch,), epoch), torch.arange(batch))


AUGMENTATIONS = {
    "crop_flip": crop_flip(12, 2),
    "resized_crop": resized_crop_flip(8),
    "jitter": resized_crop_flip(12, jitter=0.4),
    "auto_augment_cutout": auto_augment_cutout(12, 2),
    "rand_augment": rand_augment(12, 2),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_is_changed_alike_in_any_batch(name: str) -> None:
    images, augment = pictures(24), AUGMENTATIONS[name]
    before = images.clone()
    whole = augment(images, draws(24))
    assert torch.equal(images, before)
    assert whole.dtype == torch.uint8
    for rows in (torch.arange(24).flip(0), torch.tensor([3]), torch.tensor([5, 3, 11, 3])):
        part = augment(images[rows], Draws.of(0, torch.zeros_like(rows), rows))
        assert torch.equal(part, whole[rows])
    assert not torch.equal(augment(images, draws(24, epoch=1)), whole)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_windows_and_flips_are_slices(dtype: torch.dtype) -> None:
    images, corners = pictures(dtype=dtype), torch.tensor([[0, 0], [4, 4], [0, 4], [4, 0], [1, 2], [3, 3]])
    cut = ours.windows(images, corners, 8)
    for image, (top, left), found in zip(images, corners.tolist(), cut, strict=True):
        assert torch.equal(found, F.crop(image, top, left, 8, 8))
    which = torch.tensor([True, False, True, True, False, False])
    for image, mirrored, found in zip(images, which.tolist(), ours.flipped(images, which), strict=True):
        assert torch.equal(found, F.horizontal_flip(image) if mirrored else image)


def test_crops_show_every_window_and_flip_equally_often() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3)
    shown = crop_flip(3, padding=1)(image.expand(18_000, -1, -1, -1), draws(18_000)).flatten(1)
    padded = torch.nn.functional.pad(image[0], [1] * 4)
    crops = [padded[:, top : top + 3, left : left + 3] for top in range(3) for left in range(3)]
    expected = torch.stack([each.flatten() for window in crops for each in (window, window.flip(-1))])
    counts = (shown[:, None] == expected).all(2).sum(0)
    assert int(counts.sum()) == 18_000
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_a_lone_image_draws_from_torchs_generator() -> None:
    image, augment = pictures()[1], crop_flip(12)
    with seeded(4):
        first, second = augment(image), augment(image)
    with seeded(4):
        assert torch.equal(augment(F.to_pil_image(image)), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_torchvisions(channels: int, dtype: torch.dtype) -> None:
    images = pictures(40, 16, channels, dtype)
    factors = 0.6 + 0.8 * torch.rand(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for own, published in (
        (ours.brightened, F.adjust_brightness), (ours.contrasted, F.adjust_contrast),
        (ours.saturated, F.adjust_saturation),
    ):  # fmt: skip
        expected = torch.stack([published(i, float(f)) for i, f in zip(images, factors, strict=True)])
        found = own(images, factors)
        assert found.dtype == dtype
        if dtype == torch.uint8:
            assert torch.equal(found, expected), own.__name__
        else:
            torch.testing.assert_close(found, expected, rtol=0, atol=2e-7)


def test_jitter_draws_orders_and_factors_as_torchvision_does(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Tensor]] = []
    for name in ("brightened", "contrasted", "saturated"):
        monkeypatch.setattr(
            ours, name, lambda images, factors, name=name: calls.append((name, factors)) or images + 0 * images
        )
    kinds = torch.empty(0)

    def by_groups(images: Tensor, chosen: Tensor, change: object) -> Tensor:
        nonlocal kinds
        kinds = torch.cat([kinds, chosen[None].float()])
        return grouped(images, chosen, change)  # type: ignore[arg-type]

    grouped = ours.by_groups
    monkeypatch.setattr(ours, "by_groups", by_groups)
    ours.Jitter(0.4)(pictures(1, 2).expand(6000, -1, -1, -1), draws(6000))
    assert torch.equal(kinds.sort(0).values, torch.arange(3.0)[:, None].expand(3, 6000))
    orders = (kinds * torch.tensor([9, 3, 1])[:, None]).sum(0).long().unique(return_counts=True)[1]
    assert stats.chisquare(orders.numpy()).pvalue > 1e-3
    assert len(orders) == 6
    for name in ("brightened", "contrasted", "saturated"):
        factors = torch.cat([factor for called, factor in calls if called == name])
        assert len(factors) == 6000
        assert stats.kstest(factors.numpy(), "uniform", (0.6, 0.8)).pvalue > 1e-3


def test_boxes_are_distributed_as_torchvisions() -> None:
    published = v2.RandomResizedCrop(8, antialias=True)
    with seeded(0):
        drawn = [published.make_params([torch.empty(3, 40, 30)]) for _ in range(3000)]
    boxes = ours.ResizedCrop(8).boxes(40, 30, draws(3000))
    assert (boxes >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= torch.tensor([40, 30])).all()
    for column, name in enumerate(("top", "left", "height", "width")):
        theirs = [params[name] for params in drawn]
        assert stats.ks_2samp(boxes[:, column].numpy(), theirs).pvalue > 1e-3, name


def test_a_box_that_never_fits_is_the_central_one() -> None:
    boxes = ours.ResizedCrop(8, min_scale=1.0).boxes(10, 400, draws(50))
    assert boxes.tolist() == [[0, 193, 10, 13]] * 50
    assert ours.ResizedCrop(8, min_scale=1.0).boxes(400, 10, draws(1)).tolist() == [[193, 0, 13, 10]]


def test_resized_crops_are_torchvisions() -> None:
    images, crop = pictures(), ours.ResizedCrop(8)
    boxes = crop.boxes(12, 12, draws(6)).tolist()
    expected = [F.resized_crop(i, *box, [8, 8], antialias=True) for i, box in zip(images, boxes, strict=True)]
    assert torch.equal(crop(images, draws(6)), torch.stack(expected))


def test_cutout_erases_a_square_anywhere_it_fits() -> None:
    erased = ours.Cutout(0.25)(torch.full((9000, 3, 4, 4), 9, dtype=torch.uint8), draws(9000)) == 0
    assert (erased.sum((2, 3)) == 4).all()
    assert (erased.any(1) == erased.all(1)).all()
    corner = erased[:, 0].flatten(1).int().argmax(1)
    places, counts = corner.unique(return_counts=True)
    assert places.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("name", [*_RANDOM, "Invert"])
def test_operations_are_torchvisions(name: str) -> None:
    published = v2.RandAugment() if name != "Invert" else v2.AutoAugment()
    images = pictures(side=16)
    for places, place, sign in ((31, 9, 1), (31, 9, -1), (10, 7, -1), (10, 3, 1)):
        magnitudes, signed = published._AUGMENTATION_SPACE[name]
        amounts = magnitudes(places, 16, 16)
        amount = 0.0 if amounts is None else float(amounts[place]) * (sign if signed else 1)
        expected = [
            published._apply_image_or_video_transform(image, name, amount, published.interpolation, published._fill)
            for image in images
        ]
        assert torch.equal(operate(images, name, strength(name, place, places, sign)), torch.stack(expected))


def test_rand_augment_draws_each_operation_and_sign_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: dict[tuple[str, float], int] = {}

    def count(images: Tensor, name: str, amount: float) -> Tensor:
        counts[name, amount] = counts.get((name, amount), 0) + len(images)
        return images

    monkeypatch.setattr("semscale_pl.data.policies.operate", count)
    augment = RandAugment(num_ops=2, magnitude=9)
    augment(pictures(1, 2).expand(14_000, -1, -1, -1), draws(14_000))
    by_name = {name: sum(n for (other, _), n in counts.items() if other == name) for name in _RANDOM}
    assert by_name.pop("Identity") == 0
    rest = 28_000 - sum(by_name.values())
    assert stats.chisquare([rest, *by_name.values()]).pvalue > 1e-3
    signs = [(counts[name, amount], counts[name, -amount]) for name, amount in counts if (name, -amount) in counts]
    assert len(signs) >= 16
    assert all(stats.binomtest(one, one + other).pvalue > 1e-4 for one, other in signs)
    with pytest.raises(ValueError, match="magnitude"):
        RandAugment(magnitude=31)


def test_auto_augment_draws_pairs_and_chances_of_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: dict[str, int] = {}

    def count(images: Tensor, name: str, amount: float) -> Tensor:
        counts[name] = counts.get(name, 0) + len(images)
        return images

    monkeypatch.setattr("semscale_pl.data.policies.operate", count)
    augment, published = AutoAugment(), v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    augment(pictures(1, 2).expand(20_000, -1, -1, -1), draws(20_000))
    assert augment.policies == published._policies
    for name in {step[0] for pair in published._policies for step in pair}:
        chances = [step[1] for pair in published._policies for step in pair if step[0] == name]
        expected, variance = 800 * sum(chances), 20_000 * sum(p / 25 * (1 - p / 25) for p in chances)
        assert abs(counts.get(name, 0) - expected) < 6 * variance**0.5, name


def test_groups_come_back_in_their_order() -> None:
    images, kinds = pictures(5), torch.tensor([2, -1, 0, 2, 0])
    seen: list[list[int]] = []

    def change(part: Tensor, kind: int, rows: Tensor) -> Tensor:
        seen.append([kind, *rows.tolist()])
        return torch.full_like(part, kind)

    result = ours.by_groups(images, kinds, change)
    assert seen == [[0, 2, 4], [2, 0, 3]]
    assert torch.equal(result[1], images[1])
    assert [int(result[row].max()) for row in (0, 2, 3, 4)] == [2, 0, 2, 0]


def test_composing_keeps_batches_where_it_can() -> None:
    both = compose([crop_flip(12), crop_flip(12)])
    assert isinstance(both, ours.Chain)
    assert not isinstance(compose([crop_flip(12), v2.RandomErasing()]), ours.BatchAugmentation)
    assert both(pictures(), draws(6)).shape == (6, 3, 12, 12)
    with pytest.raises(ValueError, match="jitter"):
        resized_crop_flip(8, jitter=-1)
