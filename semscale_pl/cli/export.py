"""`semscale export`: a trained model as one ONNX or TorchScript file, checked against the model it was made from."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.checks import check_file, check_values
from semscale_pl.config.errors import FAILED, WrongCallError, answers_in_one_line
from semscale_pl.training.launching import run_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from semscale_pl.training.restoring import Restored

CONFIG = "export"
FILES = {"onnx": "model.onnx", "torchscript": "model.pt"}
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torchscript": ()}
# Of the largest logit, or of 1 where all are smaller: what float32 leaves when sums are taken in another order.
TOLERANCE = 1e-5
# Other than the one the model was traced with, so that a batch size that froze into the file is found.
TRACED_BATCH, CHECKED_BATCHES = 2, (3, 1)


def check(cfg: DictConfig) -> None:
    """Check what an export is made from.

    Raises:
        WrongCallError: naming what cannot work.
    """
    if OmegaConf.is_missing(cfg, "ckpt"):
        raise WrongCallError("Expected a checkpoint to export. Pass ckpt=RUN/checkpoints/last.ckpt")
    if cfg.format not in FILES:
        raise WrongCallError(f"Expected `format` to be one of {', '.join(FILES)}, but got {cfg.format!r}.")
    check_values(cfg, "export")
    check_file("ckpt", cfg.ckpt, needed=True)
    missing = [name for name in PACKAGES[cfg.format] if importlib.util.find_spec(name) is None]
    if missing:
        raise WrongCallError(
            f"Expected the packages of format={cfg.format}, but found no {', '.join(missing)}. "
            "Run: pip install 'semscale-pl[export]'"
        )


@answers_in_one_line
def run(cfg: DictConfig) -> None:
    """Check the call, export, and print how far the file's output is from the model's.

    Raises:
        SystemExit: with 1 where the file's output differs.
    """
    check(cfg)
    target = run_folder() / FILES[cfg.format]
    difference, allowed = export(cfg, target)
    print(f"largest difference from the model's logits {difference:.3g} (at most {allowed:.3g} allowed)")
    if not difference <= allowed:
        raise SystemExit(FAILED)
    print(f"model in {target}, its input and classes in {target.with_suffix('.json')}")


def export(cfg: DictConfig, target: Path) -> tuple[float, float]:
    """Write a model from normalised images (B, channels, H, W) to logits (B, C), B free, and a description beside it.

    The softmax of the logits is what `semscale predict` writes. Nothing is left at the target where they differ from
    the module's own.

    Args:
        cfg: composed from conf/export.yaml.
        target: of the model; the description has the suffix .json.

    Returns:
        The largest absolute difference of the file's logits from the module's, and the largest allowed.

    Raises:
        WrongCallError: the file is not a checkpoint of `semscale train`, or does not say how large its images are.
    """
    from semscale_pl.files import replacing, write_json
    from semscale_pl.training.restoring import restore

    restored = restore(cfg.ckpt)
    shape = _image_shape(restored, cfg.image_size)
    with replacing(target) as partial:
        run_file = {"onnx": _write_onnx, "torchscript": _write_torchscript}[cfg.format](restored, shape, partial)
        difference, allowed = compare(run_file, restored.scorer(), shape)
        if not difference <= allowed:
            partial.unlink()
            return difference, allowed
    write_json(target.with_suffix(".json"), _description(restored, shape, cfg, difference))
    return difference, allowed


def compare(
    run_file: Callable[[Tensor], Tensor], scorer: nn.Module, shape: tuple[int, int, int]
) -> tuple[float, float]:
    """Compare a file's logits with those of the module on random images, at two batch sizes.

    Args:
        run_file: from images to the file's logits (B, C).
        scorer: from images to the module's.
        shape: channels, height and width of an image.

    Returns:
        The largest absolute difference, NaN where one output has NaN; and the largest allowed.
    """
    import torch

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


def _image_shape(restored: Restored, image_size: int | None) -> tuple[int, int, int]:
    settings = restored.input_settings
    size = image_size or settings.get("image_size")
    channels: Any = settings.get("channels") or getattr(restored.module.backbone, "in_channels", 3)
    if size is None:
        raise WrongCallError("Expected a fixed size of images, but the model was trained without. Pass image_size=...")
    return channels, size, size


def _write_onnx(restored: Restored, shape: tuple[int, int, int], path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime
    import torch

    with _quiet():
        torch.onnx.export(
            restored.scorer(),
            (torch.zeros(TRACED_BATCH, *shape),),
            str(path),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def _write_torchscript(restored: Restored, shape: tuple[int, int, int], path: Path) -> Callable[[Tensor], Tensor]:
    import torch

    with _quiet():
        traced = torch.jit.trace(restored.scorer(), torch.zeros(TRACED_BATCH, *shape), check_trace=False)
        torch.jit.save(traced, str(path))
        loaded: Callable[[Tensor], Tensor] = torch.jit.load(str(path))
    return loaded


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' tales of their own workings from the user; what counts is the check that follows."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _description(
    restored: Restored, shape: tuple[int, int, int], cfg: DictConfig, difference: float
) -> dict[str, object]:
    settings = restored.input_settings
    return {
        "format": cfg.format,
        "checkpoint": str(Path(cfg.ckpt).resolve()),
        "input": {
            "name": "images",
            "shape": ["batch", *shape],
            "shorter_side_before_crop": restored.model_input(shape[-1]).resized,
            "scale": "values in [0, 1], minus mean, divided by std",
            "mean": settings.get("mean", [0.0]),
            "std": settings.get("std", [1.0]),
        },
        "output": {"name": "logits", "shape": ["batch", len(restored.class_names)]},
        "class_names": restored.class_names,
        "largest_difference": difference,
    }
