"""From images to the model's input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from semscale_pl.data import transforms
from semscale_pl.data.transforms import ModelInput
from semscale_pl.seeding import seeded


def image(size: int = 10, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_pil_uint8_and_float_agree() -> None:
    pixels = image()
    model_input = ModelInput(None, 3, [0.1, 0.2, 0.3], [0.5, 0.5, 0.5])
    expected = (pixels.float() / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / 0.5
    pil = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    for given in (pixels, pixels.float() / 255, pil):
        torch.testing.assert_close(model_input(given), expected)
    torch.testing.assert_close(model_input(torch.stack([pixels, pixels]))[1], expected)


def test_central_crop() -> None:
    pixels = image(16)
    torch.testing.assert_close(ModelInput(8, crop_share=0.5)(pixels), pixels[:, 4:12, 4:12] / 255)
    assert ModelInput(8, crop_share=0.875)(torch.rand(3, 30, 20)).shape == (3, 8, 8)


@pytest.mark.parametrize(("channels", "given"), [(1, 3), (3, 1), (3, 4), (1, 4), (1, 2), (3, 2)])
def test_channels(channels: int, given: int) -> None:
    pixels = torch.rand(given, 5, 5)
    result = ModelInput(None, channels)(pixels)
    assert result.shape == (channels, 5, 5)
    if given == 1:
        torch.testing.assert_close(result, pixels.expand(3, 5, 5))
    if (channels, given) == (3, 4):
        torch.testing.assert_close(result, pixels[:3])


def test_crop_share_is_checked() -> None:
    with pytest.raises(ValueError, match="crop_share"):
        ModelInput(8, crop_share=1.2)


@pytest.mark.parametrize("name", ["crop", "crop_flip", "resized_crop_flip", "auto_augment_cutout", "rand_augment"])
@pytest.mark.parametrize("as_pil", [True, False])
def test_augmentations_keep_size_and_kind_of_values(name: str, as_pil: bool) -> None:
    pixels = image(16)
    given = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())) if as_pil else pixels
    augment = getattr(transforms, name)(16)
    results = [ModelInput(16)(augment(given)) for _ in range(6)]
    assert all(result.shape == (3, 16, 16) and 0 <= result.min() <= result.max() <= 1 for result in results)
    assert any(not torch.equal(results[0], result) for result in results[1:])
    assert all(type(result) is torch.Tensor for result in results)


def test_padded_crop_shows_every_window_equally_often() -> None:
    pixels = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 3, 3)
    windows: dict[bytes, int] = {}
    augment = transforms.crop_flip(3, padding=1)
    with seeded(0):
        for _ in range(3600):
            window = augment(pixels).contiguous().numpy().tobytes()
            windows[window] = windows.get(window, 0) + 1
    padded = torch.nn.functional.pad(pixels, [1] * 4)
    crops = [padded[:, top : top + 3, left : left + 3] for top in range(3) for left in range(3)]
    expected = {each.contiguous().numpy().tobytes() for window in crops for each in (window, window.flip(-1))}
    assert set(windows) == expected
    assert len(expected) == 18
    # 200 of each are expected, with a standard deviation of 13.7.
    assert all(abs(number - 200) < 5 * 13.7 for number in windows.values())
    assert transforms.crop(3, padding=0)(pixels).equal(pixels)
    with pytest.raises(ValueError, match="at least 6 pixels"):
        transforms.crop(8, padding=1)(pixels)


def test_cutout_erases_a_quarter() -> None:
    erased = transforms.auto_augment_cutout(16)(torch.full((3, 16, 16), 200, dtype=torch.uint8))
    assert float((erased == 0).all(0).float().mean()) >= 0.25


def test_compose_runs_in_order() -> None:
    chain = transforms.compose([lambda value: value + 1, lambda value: value * 10])
    assert chain(torch.tensor(1.0)) == 20


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_are_resized_as_torch_does_with_that_interpolation(interpolation: str) -> None:
    image = torch.rand(3, 40, 40)
    expected = torch.nn.functional.interpolate(image[None], (16, 16), mode=interpolation, antialias=True)[0]
    torch.testing.assert_close(ModelInput(16, interpolation=interpolation)(image), expected)
