"""Where `measure` and `advise` take features from: a file, the images of a dataset or folder, or a network on them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semscale_pl.cli.command import FILE_SETTINGS, Call, Command, Setting, existing_folder
from semscale_pl.config.checkpoints import last_checkpoint
from semscale_pl.config.composing import config_groups

if TYPE_CHECKING:
    from semscale_pl.training.image_features import ImageFeatures

_CKPT = "of `semscale train`, or its run folder: the features that enter its classifier"
_ROTATION = "turn image files as their EXIF tag asks for; as in training with ckpt=, else those of images=FOLDER"
IMAGE_SETTINGS: tuple[Setting | tuple[str, str], ...] = (
    ("dataset=NAME", "the training images, with any other override of `semscale train`"),
    Setting("images", "one folder of images for each class, or these below train/", None, "FOLDER", existing_folder),
    Setting("image_size", "side of the resized images where pixels are taken", 16),
    Setting("ckpt", _CKPT, None, "FILE", last_checkpoint),
    ("backbone=NAME", "of `semscale train`, with pretrained=true: published weights"),
    Setting("pretrained", "published weights of a backbone", False),
    Setting("on_bad_image", "images that cannot be decoded: refuse to go on, or skip them", "refuse"),
    Setting("exif_rotation", _ROTATION, shown="true|false"),
)
_FILE_KEYS = tuple(setting.key for setting in FILE_SETTINGS)
_OF_SOURCE = (*_FILE_KEYS, *(setting.key for setting in IMAGE_SETTINGS if isinstance(setting, Setting)))
# How image files are read, from a folder or a dataset.
_OF_IMAGES = ("on_bad_image", "exif_rotation")
# Of `semscale train`, without a dot.
_PLAIN_OVERRIDES = ("imbalance_factor", "subset_seed")


def with_source(call: Call, command: Command) -> Call:
    """Check what goes together of where the features come from, and add what follows from it.

    Returns:
        The call, with ``dataset``, ``backbone``, ``source_name``, ``source_folder`` (where its results go by default)
        and ``training_overrides``: what `semscale train` would be called with for the same images and network.

    Raises:
        ValueError: a setting is missing or does not go with another.
    """
    typed = {key: value for key, _, value in (text.partition("=") for text in call.overrides)}
    call.dataset, call.backbone = typed.get("dataset"), typed.get("backbone")
    _check_together(call, typed, command)
    call.source_name = (
        _name_of_files(call.features)
        if call.features
        else call.images.resolve().name
        if call.images
        else str(call.dataset)
    )
    call.source_folder = _folder_name(call)
    folder = ["dataset=image_folder"] if call.images else []
    shared = [f"dataset.{key}={getattr(call, key)}" for key in _OF_IMAGES if key in call.given and not call.images]
    call.training_overrides = [*call.overrides, *folder, *shared, f"seed={call.seed}"]
    return call


def reading(call: Call) -> dict[str, Any]:
    """Return how a call wants its file of features read, for ``open_features``."""
    return {key: getattr(call, key) for key in _FILE_KEYS if key != "features"}


def image_features(call: Call) -> ImageFeatures:
    """Return the images of a call whose source was checked, with what turns them into features.

    Raises:
        ValueError: the configuration is wrong, or images or network cannot be used.
    """
    if call.overrides:
        # Once before torch is imported, which takes seconds: a typo should not.
        from semscale_pl.config.checks import composed

        composed(call.training_overrides)
    from semscale_pl.training.image_features import Images

    images = Images(call.training_overrides, call.images, call.on_bad_image, call.exif_rotation)
    if call.ckpt is not None:
        return images.of_checkpoint(Path(call.ckpt))
    return images.pixels(call.image_size) if call.backbone is None else images.of_published(call.backbone)


def _check_together(call: Call, typed: dict[str, str], command: Command) -> None:
    own = call.given
    sources = [key for key in ("features", "images") if key in own] + ["dataset"] * ("dataset" in typed)
    _check_overrides(call, typed, sources, command)
    if typed.get("dataset") == "features":
        raise ValueError(
            "Expected features=FILE, or features=STORE with part=train, for features that are there already, but got "
            "dataset=features. Name them so."
        )
    if len(sources) != 1:
        what = " and ".join(sources) or "none of them"
        raise ValueError(f"Expected one of features=FILE, dataset=NAME and images=FOLDER, but got {what}.")
    model = [key for key in ("ckpt", "pretrained", "backbone") if key in own or key in typed]
    foreign = [*model, *(key for key in ("image_size", *_OF_IMAGES) if key in own)] if sources == ["features"] else []
    if sources != ["features"]:
        foreign = [key for key in _FILE_KEYS if key in own]
    if foreign:
        where = "features=FILE" if foreign[0] in _FILE_KEYS else "dataset=NAME or images=FOLDER"
        raise ValueError(f"Expected `{foreign[0]}` only with {where}, but got it with {sources[0]}=. Leave it out.")
    _check_model(call, typed)
    _check_size(call, {key.lstrip("+~") for key in typed})


def _check_size(call: Call, typed: set[str]) -> None:
    """Refuse a size of images that would change nothing, or resize them twice."""
    if (call.ckpt or call.backbone) and "image_size" in call.given:
        sized = call.backbone and not call.images
        raise ValueError(
            "Expected `image_size` only where pixels are taken: a model has its own. Leave it out"
            f"{', or set dataset.image_size' if sized else ''}."
        )
    if "dataset.image_size" in typed and call.ckpt:
        raise ValueError("Expected no `dataset.image_size` with `ckpt`: a model has its own. Leave it out.")
    if "dataset.image_size" in typed and not call.backbone:
        raise ValueError("Expected `image_size` where pixels are taken, but got `dataset.image_size`. Name it so.")


def _check_model(call: Call, typed: dict[str, str]) -> None:
    if call.ckpt and (call.backbone or call.pretrained):
        raise ValueError("Expected either `ckpt` or `backbone`, but got both: a checkpoint brings its own network.")
    if call.backbone and not call.pretrained and "backbone.weights" not in typed:
        raise ValueError(
            "Expected pretrained=true with `backbone`: the features of an untrained network say little about classes. "
            "Pass pretrained=true, or ckpt=FILE of a trained one."
        )
    if call.pretrained and not call.backbone:
        raise ValueError("Expected `backbone` with pretrained=true. Pass backbone=resnet50, for example.")


def _check_overrides(call: Call, typed: dict[str, str], sources: list[str], command: Command) -> None:
    groups = config_groups()
    for key in typed:
        plain = key.lstrip("+~")
        if not ("." in plain or plain in groups or plain in _PLAIN_OVERRIDES):
            raise command.unknown(key, ("dataset", "backbone"))
        of_network = call.images and key.partition(".")[0] == "backbone"
        if key != "dataset" and sources and "dataset" not in sources and not of_network:
            cure = "Use out=FOLDER" if key == "hydra.run.dir" else "Leave it out"
            raise ValueError(f"Expected `{key}` only with dataset=NAME, but got it with {sources[0]}=. {cure}.")


def _name_of_files(path: Path) -> str:
    """Return the name of a file without its ending, or of the folder that shards are in."""
    if path.is_dir():
        return path.resolve().name
    return path.stem if path.is_file() else path.absolute().parent.name.strip("*?[]") or "shards"


def _folder_name(call: Call) -> str:
    """Return a name that tells a source from any other, for the folder of what is computed from it.

    That of a dataset as it comes is its own name. All others have a mark behind the name, made from what was typed: two
    folders called ``train``, or one dataset with two models.
    """
    if call.dataset and not call.images and call.given.isdisjoint(_OF_SOURCE) and len(call.overrides) == 1:
        return call.source_name
    found = {key: getattr(call, key) for key in _OF_SOURCE if key in call.given}
    typed = {key: str(value.resolve() if isinstance(value, Path) else value) for key, value in found.items()}
    text = json.dumps([typed, sorted(call.overrides)], sort_keys=True)
    return f"{call.source_name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
