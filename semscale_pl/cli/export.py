"""`semscale export`: a trained model as one ONNX or TorchScript file, checked against the model it was made from."""

from __future__ import annotations

import importlib.util

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.checks import check_checkpoint, check_values
from semscale_pl.config.errors import FAILED, WrongCallError, answers_in_one_line
from semscale_pl.training.launching import run_folder

CONFIG = "export"
FILES = {"onnx": "model.onnx", "torchscript": "model.pt"}
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torchscript": ()}


def check(cfg: DictConfig) -> None:
    """Raise WrongCallError where an export cannot work, naming why."""
    if OmegaConf.is_missing(cfg, "ckpt"):
        raise WrongCallError("Expected a checkpoint to export. Pass ckpt=RUN, the folder of a run")
    if cfg.format not in FILES:
        raise WrongCallError(f"Expected `format` to be one of {', '.join(FILES)}, but got {cfg.format!r}.")
    check_values(cfg, "export")
    check_checkpoint(cfg)
    missing = [name for name in PACKAGES[cfg.format] if importlib.util.find_spec(name) is None]
    if missing:
        raise WrongCallError(
            f"Expected the packages of format={cfg.format}, but found no {', '.join(missing)}. "
            "Run: pip install 'semscale-pl[export]'"
        )


@answers_in_one_line
def run(cfg: DictConfig) -> None:
    """Check the call, export, and print how far the file's output is from the model's; exit with 1 if too far."""
    check(cfg)
    from semscale_pl.training.export import export

    target = run_folder() / FILES[cfg.format]
    difference, allowed = export(cfg.ckpt, target, cfg.format, cfg.image_size)
    print(f"largest difference from the model's logits {difference:.3g} (at most {allowed:.3g} allowed)")
    if not difference <= allowed:
        raise SystemExit(FAILED)
    print(f"model in {target}, its input and classes in {target.with_suffix('.json')}")
