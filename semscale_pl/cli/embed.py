"""`semscale embed`: the features that a network makes of a dataset, once, in a store that heads are trained on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semscale_pl.cli.command import Call, Command, Setting, existing_folder, new_folder, read_list, read_text
from semscale_pl.config.checkpoints import last_checkpoint
from semscale_pl.config.command_line import setting, to_type
from semscale_pl.config.composing import config_groups
from semscale_pl.config.errors import OK
from semscale_pl.options import RULES
from semscale_pl.progress import Progress, duration

if TYPE_CHECKING:
    from semscale_pl.features.store import EmbeddingStore
    from semscale_pl.training.embedding import Embedding

# What a store does not depend on, and what it does not do.
_GROUPS = ("dataset", "backbone", "augmentation")
_CUTS = (
    *("imbalance", "imbalance_factor"),
    *("dataset.validation_per_class", "dataset.validation_fraction", "dataset.validation_from"),
    "dataset.validation_classes",
)
COMMAND = Command(
    name="embed",
    usage=[
        "dataset=NAME backbone=NAME pretrained=true [KEY=VALUE ...]   the whole dataset, not long-tailed",
        "images=FOLDER backbone=NAME pretrained=true                  a folder of class folders, or train/ and test/",
        "dataset=NAME|images=FOLDER ckpt=FILE                         features of a trained model",
        "merge=FOLDER                                                 what several shards have made",
    ],
    settings={
        "what": [
            ("dataset=NAME", "with any other override of dataset, such as dataset.image_size=96"),
            Setting("images", "one folder of images for each class, or these below train/ and test/", None, "FOLDER",
                    existing_folder),
            ("backbone=NAME", "of `semscale train`, with pretrained=true: published weights"),
            Setting("pretrained", "published weights of a backbone", False),
            Setting("ckpt", "of `semscale train`, or its run folder: the features that enter the classifier", None,
                    "FILE", last_checkpoint),
            Setting("layer", "take the output of this module, averaged over places or patch tokens", None, "NAME",
                    read_text),
            Setting("parts", "of the dataset; all that there are unless given", (), "train,val,test",
                    read_list(RULES["embed.parts"])),
            Setting("augment_copies", "so many augmented copies of each training image, with augmentation=NAME", 0),
            Setting("on_bad_image", "images that cannot be decoded: refuse to go on, or skip them", "refuse"),
            Setting("exif_rotation", "turn image files as their EXIF tag asks for; those of images=FOLDER unless given",
                    shown="true|false"),
            Setting("seed", "of the augmentation, and of a split that the dataset does not bring", 0),
        ],
        "how": [
            Setting("dtype", "of the stored features; float16 takes half the room", "float32"),
            Setting("device", "auto, cpu or cuda", "auto"),
            Setting("batch_size", "images at a time", 128),
            Setting("num_workers", "processes that decode images", 0),
            Setting("shard", "only the i-th of n shares, for several processes or machines; the last merges", (1, 1),
                    "I/N"),
            Setting("merge", "join what shards have left in a folder", None, "FOLDER", existing_folder),
        ],
        "result": [
            Setting("out", "the store; a folder below SEMSCALE_CACHE/embeddings named by its key unless given", None,
                    "FOLDER", new_folder),
        ],
    },
    takes_overrides=True,
    kept="What is embedded stays.",
)  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Make a store: 0 done, 2 wrong call or data, 130 interrupted."""
    return COMMAND.run(argv, lambda call: execute(checked(call)))


def checked(call: Call) -> Call:
    """Check what goes together, and add ``training_overrides``: what `semscale train` would be called with.

    Raises:
        ValueError: a setting is missing or does not go with another.
    """
    typed = {text.partition("=")[0].lstrip("+~"): text.partition("=")[2] for text in call.overrides}
    if call.merge is not None:
        others = sorted((call.given - {"merge"}) | set(typed))
        if others:
            raise ValueError(f"Expected merge=FOLDER alone, but got it with `{others[0]}`. Leave that out.")
        return call
    _check_overrides(call, typed)
    if ("dataset" in typed) == (call.images is not None):
        what = "both" if call.images else "none of them"
        raise ValueError(f"Expected one of dataset=NAME and images=FOLDER, but got {what}. {COMMAND.see}")
    _check_network(call, typed)
    if call.augment_copies == 0 and any(key.partition(".")[0] == "augmentation" for key in typed):
        raise ValueError("Expected augment_copies=K with an augmentation, but got none. Pass augment_copies=4.")
    call.typed = typed
    call.training_overrides = _training_overrides(call)
    from semscale_pl.config.checks import composed

    composed(call.training_overrides)  # before torch is imported, which takes seconds: a typo should not
    return call


def execute(call: Call) -> int:
    """Embed what is missing, or merge, and say where the store is; ValueError where network or data cannot be used."""
    if call.merge is not None:
        return _merge(call.merge)
    from semscale_pl.features.store import stores_folder
    from semscale_pl.training.device import allow_tf32, chosen_device
    from semscale_pl.training.embedding import embedding_of

    device = chosen_device(call.device, "device")
    allow_tf32(False)
    embedding = embedding_of(
        call.training_overrides,
        call.images,
        call.ckpt,
        layer=call.layer,
        views=call.augment_copies,
        dtype=call.dtype,
        on_bad_image=call.on_bad_image,
        exif_rotation=call.exif_rotation,
    )
    folder = call.out or _folder_by_key(stores_folder(), _name_of(call, embedding), embedding.key)
    parts = call.parts or tuple(embedding.parts)
    absent = [part for part in parts if part not in embedding.parts]
    if absent:
        there = list(embedding.parts)
        raise ValueError(
            f"Expected a part {absent[0]!r} of the dataset, but it has {', '.join(there)}. "
            f"Pass parts={','.join(there)}."
        )
    store = _embedded(call, embedding, folder, parts, device)
    if store is None or not set(parts) <= set(store.parts):
        sys.stdout.write(
            f"Shard {call.shard[0]}/{call.shard[1]} is done; the last of the others makes {folder} whole. Should none "
            f"have done so: {to_type('embed', [f'merge={folder}'])}\n"
        )
        return OK
    return _say(store)


def _embedded(
    call: Call, embedding: Embedding, folder: Path, parts: Sequence[str], device: Any
) -> EmbeddingStore | None:
    """Make the chunks that are missing, and join what this and other calls have made."""
    from semscale_pl.features.unfinished_store import at_work
    from semscale_pl.files import claimed

    with at_work(folder, call.shard):
        with claimed(folder, wait=True):
            growing = embedding.begin(folder, parts)
        own = growing.chunks(parts, call.shard)
        missing = growing.missing(own)
        with _Rate(sum(chunk.stop - chunk.start for chunk in own)) as rate:
            how = {"device": device, "batch_size": call.batch_size, "num_workers": call.num_workers}
            embedding.embed(growing, missing, **how, progress=rate)
        with claimed(folder, wait=True):
            store = growing.finish(needed=parts)
    sys.stdout.write(f"{rate.line if missing else 'All images were embedded already'}\n")
    return store


def _merge(folder: Path) -> int:
    from semscale_pl.features.unfinished_store import UnfinishedStore, calls_at_work
    from semscale_pl.files import claimed

    UnfinishedStore.open(folder)
    with claimed(folder, wait=True):
        growing = UnfinishedStore.open(folder)
        missing = growing.missing(growing.chunks(list(growing.plan["parts"])))
        if missing:
            busy = calls_at_work(folder)
            cure = (
                f"{busy[0].capitalize()} is still at work: wait for it to end"
                if busy
                else "Call that shard again, or the same command without `shard`, which makes all that is missing"
            )
            raise ValueError(
                f"Expected all chunks of {folder}, but {len(missing)} are missing, the first is {missing[0].file}. "
                f"{cure}."
            )
        store = growing.finish()
    assert store is not None
    return _say(store)


def _say(store: EmbeddingStore) -> int:
    """Print what is there and what to type next."""
    size = sum(file.stat().st_size for file in store.folder.iterdir() if file.is_file())
    parts = ", ".join(
        f"{part} {len(store.part(part)):,}" + (f" and {count} copies" if (count := len(store.part(part).views)) else "")
        for part in store.parts
    )
    share = [] if "test" in store.parts else ["dataset.train_fraction=0.8"]
    head = to_type("train", ["dataset=features", setting("dataset.store", str(store.folder)), *share])
    sys.stdout.write(
        f"{parts} of {len(store.class_names)} classes; {store.num_features:,} features in {store.manifest['dtype']}, "
        f"{size / 2**20:,.1f} MiB\nStore {store.folder}\n"
    )
    if "train" in store.parts:
        sys.stdout.write(f"Train a head on it: {head}\n")
    return OK


def _check_overrides(call: Call, typed: dict[str, str]) -> None:
    for key in typed:
        group = key.partition(".")[0]
        if key in _CUTS or group == "imbalance":
            raise ValueError(
                f"Expected no `{key}`, as a store holds the whole dataset. Set it where a head is trained instead."
            )
        if key != "subset_seed" and group not in _GROUPS:
            if group in config_groups():
                raise ValueError(f"Expected overrides of {', '.join(_GROUPS)}, but got `{key}`. Leave it out.")
            raise COMMAND.unknown(key, _GROUPS)
        if call.ckpt is not None and (group == "backbone" or key.removeprefix("dataset.") in _OF_MODEL):
            raise ValueError(f"Expected no `{key}` with `ckpt`: a checkpoint brings its own. Leave it out.")


# Of the dataset, but in a model's training fixed.
_OF_MODEL = ("image_size", "channels", "mean", "std", "crop_share", "interpolation")


def _check_network(call: Call, typed: dict[str, str]) -> None:
    if call.ckpt is None and "backbone" not in typed:
        raise ValueError("Expected backbone=NAME or ckpt=FILE, but got none. Pass backbone=resnet50 pretrained=true.")
    if call.ckpt is not None and call.pretrained:
        raise ValueError("Expected either `ckpt` or `pretrained`, but got both: a checkpoint brings its own network.")
    if call.pretrained and "backbone.pretrained" in typed:
        raise ValueError("Expected `pretrained` once, but got backbone.pretrained as well. Leave one of them out.")


def _training_overrides(call: Call) -> list[str]:
    found = [*call.overrides, f"seed={call.seed}"]
    if call.pretrained:
        found.append("backbone.pretrained=true")
    if call.images is not None:
        return [*found, "dataset=image_folder"]
    for key in ("on_bad_image", "exif_rotation"):
        if key in call.given:
            found.append(f"dataset.{key}={getattr(call, key)}")
    return found


def _name_of(call: Call, embedding: Embedding) -> str:
    network = call.ckpt.stem if call.ckpt else call.typed["backbone"]
    return f"{str(embedding.about['data']['name']).removesuffix('_lt')}-{network}"


def _folder_by_key(folder: Path, name: str, key: str) -> Path:
    """Return the folder of a key, whatever name it was first made under."""
    mark = key[:8]
    return next(folder.glob(f"*-{mark}"), folder / f"{name}-{mark}")


class _Rate:
    """Show how many images are done, of all of this process, how many a second, and how long the rest will take."""

    def __init__(self, total: int) -> None:
        self._display, self._total, self.line = Progress("embedded {} images"), total, ""

    def __enter__(self) -> _Rate:
        return self

    def __exit__(self, *_: object) -> None:
        self._display.close()

    def __call__(self, done: int, total: int) -> None:
        """Report images since the start, and of how many."""
        display, before = self._display, self._total - total
        rate = done / max(display.elapsed, 1e-9)
        self.line = f"Embedded {before + done:,} of {self._total:,} images, {rate:,.1f} a second"
        left = f"about {duration(display.left(done, total))} left"
        display.move(self.line, before + done, self._total, left)
        display.line(f"{self.line}, {left}")
