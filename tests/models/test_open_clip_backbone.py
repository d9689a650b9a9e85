"""A tiny CLIP model of random weights: the same features and texts as open_clip's own, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from semscale_pl import extras
from semscale_pl.config.checks import composed
from semscale_pl.models.open_clip_backbone import OpenClipBackbone
from semscale_pl.models.weights import weights_digest
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.run import train

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def test_a_missing_package_is_a_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"open_clip_torch for backbone=open_clip, .* \"semscale-pl\[open_clip\]\"$"):
        OpenClipBackbone("ViT-B-32")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Any]:
    """A model's configuration, its weights, and the model as open_clip builds it."""
    open_clip = pytest.importorskip("open_clip", reason="pip install 'semscale-pl[open_clip]'")
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "tiny.json")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny").eval()
    torch.save(model.state_dict(), folder / "tiny.pt")
    return str(folder / "tiny.json"), str(folder / "tiny.pt"), model


@pytest.mark.slow
def test_images_and_texts_are_embedded_as_open_clip_does(tiny: tuple[str, str, Any]) -> None:
    import open_clip

    name, weights, model = tiny
    backbone = OpenClipBackbone(name, weights)
    assert all(module.training for module in backbone.modules())
    images, prompts = torch.rand(2, 3, 32, 32), ["a photo of a cat.", "a photo of a sea lion."]
    with torch.no_grad():
        torch.testing.assert_close(backbone.eval()(images), model.encode_image(images))
        expected = F.normalize(model.encode_text(open_clip.get_tokenizer("tiny")(prompts)), dim=1)
        other = F.normalize(model.encode_text(open_clip.get_tokenizer("tiny")(["cat", "sea lion"])), dim=1)
    torch.testing.assert_close(backbone.text_features(["cat", "sea lion"]), expected)
    both = backbone.text_features(["cat", "sea lion"], ["a photo of a {}.", "{}"])
    torch.testing.assert_close(both, F.normalize(expected + other, dim=1))
    # The text tower is no part of it.
    assert len(backbone.state_dict()) == len(model.visual.state_dict())


@pytest.mark.slow
def test_the_input_is_the_models_and_a_checkpoint_is_loaded_without_the_file(tiny: tuple[str, str, Any]) -> None:
    name, weights, _ = tiny
    trained, restored = OpenClipBackbone(name, weights), OpenClipBackbone(name)
    assert trained.input is not None
    assert (trained.input.image_size, trained.input.interpolation, restored.input) == (32, "bicubic", None)
    restored.load_state_dict(trained.state_dict())
    assert weights_digest(restored) == weights_digest(trained)
    with pytest.raises(ValueError, match="with trained weights for class prompts"):
        restored.text_features(["cat"])
    assert OpenClipBackbone(name, weights, image_size=48)(torch.rand(1, 3, 48, 48)).shape == (1, 16)


@pytest.mark.slow
def test_wrong_names_tags_files_and_templates_are_refused(tiny: tuple[str, str, Any]) -> None:
    name, weights, _ = tiny
    for arguments, words in (
        (("ViT-B-33",), "Did you mean ViT-B-32"),
        (("absent.json",), "there is none at absent.json"),
        (("ViT-B-32", "laion3b"), "laion2b_s34b_b79k, .* but got 'laion3b'"),
        ((name, "absent.pt"), "a file, as open_clip has no tags for tiny, but got 'absent.pt'"),
        (("ViT-B-32", "openai"), "backbone.name=ViT-B-32-quickgelu"),
        ((name, weights, 1), "dataset.channels=3"),
    ):
        with pytest.raises(ValueError, match=words):
            OpenClipBackbone(*arguments)
    with pytest.raises(ValueError, match=r"tiny\.pt to hold the weights of ViT-B-32, but"):
        OpenClipBackbone("ViT-B-32", weights)
    with pytest.raises(ValueError, match=r"a template with \{\} for the class name, but got 'a photo'"):
        OpenClipBackbone(name, weights).text_features(["cat"], "a photo")


@pytest.mark.slow
def test_weights_that_cannot_be_fetched_are_whole_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    open_clip = pytest.importorskip("open_clip", reason="pip install 'semscale-pl[open_clip]'")

    def absent(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to download the weights. " + "The hub does not answer. " * 20)

    monkeypatch.setattr(open_clip, "create_model", absent)
    with pytest.raises(ValueError, match=r"The hub does not answer\. Fetch .* with backbone\.weights="):
        OpenClipBackbone("ViT-B-32", "laion2b_s34b_b79k")


@pytest.mark.slow
def test_one_command_classifies_by_class_names_alone(tiny: tuple[str, str, Any], tmp_path: Path) -> None:
    import open_clip

    name, weights, model = tiny
    overrides = [f"backbone.name={name}", f"backbone.weights={weights}", "dataset.channels=3", "dataset.image_size=32"]
    cfg = composed(["dataset=digits_lt", "backbone=open_clip", "classifier=zero_shot", *overrides])
    result = train(cfg, tmp_path / "run")
    tokens = open_clip.get_tokenizer("tiny")([f"a photo of a {name}." for name in result.datamodule.class_names])
    right = 0
    with torch.no_grad():
        texts = F.normalize(model.encode_text(tokens), dim=1)
        for images, labels, *_ in result.datamodule.test_dataloader():
            found = (100 * F.normalize(model.encode_image(images), dim=1) @ texts.T).argmax(dim=1)
            right += int((found == labels).sum())
    assert result.last is not None
    assert result.last["top1"] == pytest.approx(right / 719, abs=2 / 719)
    assert evaluate(tmp_path / "run/checkpoints/last.ckpt")["confusion_matrix"] == result.last["confusion_matrix"]
