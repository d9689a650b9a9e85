"""A trained model as one ONNX or TorchScript file, checked against the model it was made from."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semscale_pl.config.errors import WrongCallError
from semscale_pl.files import replacing, write_json
from semscale_pl.training.restoring import Restored, restore

# Of the largest logit, or of 1 where all are smaller: what float32 leaves when sums are taken in another order.
TOLERANCE = 1e-5
# Other than the one the model was traced with, so that a batch size that froze into the file is found.
TRACED_BATCH, CHECKED_BATCHES = 2, (3, 1)


def export(
    ckpt: str | Path, target: Path, file_format: str = "onnx", image_size: int | None = None
) -> tuple[float, float]:
    """Write a model from normalised images (B, channels, H, W), or from features (B, D), to logits (B, C), B free.

    A description stands beside it.

    The softmax of the logits is what `semscale predict` writes. Nothing is left at the target where they differ from
    the module's own.

    Args:
        target: of the model; the description has the suffix .json.
        file_format: ``onnx`` or ``torchscript``.
        image_size: height and width in pixels, instead of those of training.

    Returns:
        The largest absolute difference of the file's logits from the module's, and the largest allowed.

    Raises:
        WrongCallError: the file is not a checkpoint of `semscale train`, or does not say how large its images are.
    """
    restored = restore(ckpt)
    shape = _input_shape(restored, image_size)
    write = _write_onnx if file_format == "onnx" else _write_torchscript
    with replacing(target) as partial:
        run_file = write(restored, shape, partial)
        difference, allowed = compare(run_file, restored.scorer(), shape)
        if not difference <= allowed:
            partial.unlink()
            return difference, allowed
    described = {"format": file_format, "checkpoint": str(Path(ckpt).resolve()), **_description(restored, shape)}
    write_json(target.with_suffix(".json"), {**described, "largest_difference": difference})
    return difference, allowed


def compare(run_file: Callable[[Tensor], Tensor], scorer: nn.Module, shape: tuple[int, ...]) -> tuple[float, float]:
    """Compare the logits (B, C) of a file and of the module on random images, at two batch sizes.

    Returns:
        The largest absolute difference, NaN where one output has NaN; and the largest allowed.
    """
    differences, sizes = [], [torch.ones(())]
    for batch in CHECKED_BATCHES:
        images = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected, found = scorer(images), run_file(images)
        if found.shape != expected.shape:
            return float("inf"), TOLERANCE
        differences.append((found.double() - expected.double()).abs().max())
        sizes.append(expected.abs().max())
    return float(torch.stack(differences).max()), TOLERANCE * float(torch.stack(sizes).max())


def _input_shape(restored: Restored, image_size: int | None) -> tuple[int, ...]:
    width = restored.config.dataset.get("num_features")
    if width is not None:
        if image_size is not None:
            raise WrongCallError("Expected no `image_size`, as the model was trained on features. Leave it out.")
        return (int(width),)
    settings = restored.input_settings
    size = image_size or settings.get("image_size")
    channels: Any = settings.get("channels") or getattr(restored.module.backbone, "in_channels", 3)
    if size is None:
        raise WrongCallError("Expected a fixed size of images, but the model was trained without. Pass image_size=...")
    return channels, size, size


def _write_onnx(restored: Restored, shape: tuple[int, ...], path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime  # an optional package

    with _quiet():
        torch.onnx.export(
            restored.scorer(),
            (torch.zeros(TRACED_BATCH, *shape),),
            str(path),
            input_names=[_input_name(shape)],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {_input_name(shape): images.numpy()})[0])


def _write_torchscript(restored: Restored, shape: tuple[int, ...], path: Path) -> Callable[[Tensor], Tensor]:
    with _quiet():
        traced = torch.jit.trace(restored.scorer(), torch.zeros(TRACED_BATCH, *shape), check_trace=False)
        torch.jit.save(traced, str(path))
        loaded: Callable[[Tensor], Tensor] = torch.jit.load(str(path))
    return loaded


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporters log of their own workings from the user; what counts is the check that follows."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _input_name(shape: Sequence[int]) -> str:
    return "features" if len(shape) == 1 else "images"


def _description(restored: Restored, shape: tuple[int, ...]) -> dict[str, object]:
    settings = restored.input_settings
    described: dict[str, object] = {"name": _input_name(shape), "shape": ["batch", *shape]}
    if len(shape) > 1:
        described |= {
            "shorter_side_before_crop": restored.model_input(shape[-1]).resized,
            "scale": "values in [0, 1], minus mean, divided by std",
            "mean": settings.get("mean", [0.0]),
            "std": settings.get("std", [1.0]),
        }
    return {
        "input": described,
        "output": {"name": "logits", "shape": ["batch", len(restored.class_names)]},
        "class_names": restored.class_names,
    }
