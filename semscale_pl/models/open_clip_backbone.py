"""The image tower of a CLIP model from open_clip, with the text tower at hand for class prompts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semscale_pl.extras import require
from semscale_pl.models.backbone import Backbone
from semscale_pl.models.inputs import InputSpec
from semscale_pl.models.stems import fetching
from semscale_pl.options import check

# Letters of an error of open_clip that a message quotes at most.
_LONGEST = 300


class OpenClipBackbone(Backbone):
    """Map images to the image embedding of a CLIP model, before it is scaled to unit length.

    The text tower is no part of the module: it is neither trained nor kept in checkpoints, and is there only where
    trained weights were loaded.

    Args:
        name: open_clip's, such as "ViT-B-32", or a JSON file with a model's configuration.
        weights: a tag of open_clip, such as "laion2b_s34b_b79k", which is fetched, or a file; None is random.
        in_channels: 3.
        image_size: height and width in pixels, for which position embeddings are resampled; None is the model's own.
        channels_last: channels-last memory format.

    Raises:
        ValueError: open_clip is not installed, there is no such model or tag, the weights cannot be fetched or read.

    Reference: Radford et al. (ICML 2021); github.com/mlfoundations/open_clip
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        in_channels: int = 3,
        image_size: int | None = None,
        channels_last: bool = False,
    ) -> None:
        require("open_clip", "backbone=open_clip")
        check("backbone", image_size=image_size)
        if in_channels != 3:
            raise ValueError(
                f"Expected `in_channels` to be 3 for a CLIP model, but got {in_channels}. Set dataset.channels=3."
            )
        known = _model_name(name)
        _check_weights(known, weights)
        with fetching(f"{known} ({weights})", "name a file with backbone.weights=FILE"), _quietly():
            model = _created(known, weights, image_size)
        visual: Any = model.visual
        spec = _input_of(visual)
        super().__init__(
            visual,
            int(visual.output_dim),
            3,
            channels_last=channels_last,
            input_spec=spec if weights is not None else None,
            only_size=spec.image_size,
        )
        # In a tuple, so that it is no submodule.
        self._text: tuple[Any, ...] = (model.eval(), known) if weights is not None else ()
        visual.train()

    @torch.no_grad()
    def text_features(self, class_names: Sequence[str], template: str | Sequence[str] = "a photo of a {}.") -> Tensor:
        """Return the text embeddings of class prompts, of unit length.

        Args:
            class_names: C names.
            template: with {} for the name; of several, the mean of the unit vectors counts.

        Returns:
            (C, D) float32, on the CPU.

        Raises:
            ValueError: the model was built without trained weights, or a template has no place for the name.

        Reference: Radford et al. (ICML 2021), section 3.1.4
        """
        if not self._text:
            raise ValueError("Expected a CLIP model with trained weights for class prompts. Set backbone.weights.")
        templates = [template] if isinstance(template, str) else list(template)
        if not templates or any("{}" not in one for one in templates):
            raise ValueError(f"Expected a template with {{}} for the class name, but got {template!r}.")
        import open_clip

        model, name = self._text
        with _quietly():
            tokens, embedded = open_clip.get_tokenizer(name), []
        for one in templates:
            prompts = tokens([one.replace("{}", class_name) for class_name in class_names])
            embedded.append(F.normalize(model.encode_text(prompts).float().cpu(), dim=1))
        return F.normalize(torch.stack(embedded).mean(dim=0), dim=1)


def _model_name(name: str) -> str:
    """Return the name under which open_clip knows a model; the configuration of a file is made known to it."""
    import open_clip

    if name.endswith(".json"):
        if not Path(name).is_file():
            raise ValueError(
                f"Expected `name` to be a model of open_clip or its JSON file, but there is none at {name}."
            )
        open_clip.add_model_config(Path(name))
        return Path(name).stem
    if name not in open_clip.list_models():
        near = get_close_matches(name, open_clip.list_models(), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else " See open_clip.list_models()."
        raise ValueError(f"Expected `name` to be a model of open_clip, but got {name!r}.{hint}")
    return name


def _check_weights(name: str, weights: str | None) -> None:
    import open_clip

    if weights is None or Path(weights).is_file():
        return
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights not in tags:
        known = f" or one of {', '.join(tags)}" if tags else ", as open_clip has no tags"
        raise ValueError(f"Expected `weights` to be a file{known} for {name}, but got {weights!r}.")
    # Without its name a checkpoint would be restored with another activation.
    if open_clip.get_pretrained_cfg(name, weights).get("quick_gelu") and not name.endswith("-quickgelu"):
        raise ValueError(
            f"Expected the model that {weights!r} was trained with, which has QuickGELU. "
            f"Set backbone.name={name}-quickgelu."
        )


def _created(name: str, weights: str | None, image_size: int | None) -> nn.Module:
    import open_clip

    try:
        return open_clip.create_model(name, pretrained=weights, force_image_size=image_size)
    except Exception as error:  # open_clip asserts, and torch raises whatever a foreign file leads to
        line = _beginning(str(error))
        if weights is not None and Path(weights).is_file():
            raise ValueError(f"Expected {weights} to hold the weights of {name}, but: {line}") from error
        if isinstance(error, RuntimeError):
            raise OSError(line) from error
        raise


def _beginning(text: str) -> str:
    """Return as many sentences as a line of a message has room for, or else words."""
    words = " ".join(text.split())
    if len(words) <= _LONGEST:
        return words
    end = words.rfind(". ", 0, _LONGEST)
    return words[: end + 1] if end > 0 else shorten(words, _LONGEST, placeholder=" ...")


def _input_of(visual: Any) -> InputSpec:
    shown = visual.preprocess_cfg
    size = shown["size"]
    interpolation = shown["interpolation"] if shown["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    side = int(size if isinstance(size, int) else size[0])
    return InputSpec(side, tuple(shown["mean"]), tuple(shown["std"]), 1.0, interpolation)


@contextmanager
def _quietly() -> Iterator[None]:
    """Leave what open_clip logs to the message of its error."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
