"""What the rows of a comparison differ in besides what they are named for: start epochs, learning rates, seeds, ..."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Whatever a row is called, a reader of the table has to know these.
_ALWAYS = ("reweighting.start_epoch", "reweighting.normalization", "reweighting.ramp_epochs")
# Groups that are compared option by option.
_GROUPS = (
    "dataset", "sampler", "augmentation", "mixing", "backbone", "finetune", "embedding", "classifier", "loss",
    "optimizer", "scheduler",
)  # fmt: skip
_TRAINER = (
    "max_epochs", "max_steps", "limit_train_batches", "precision", "accumulate_grad_batches", "gradient_clip_val",
)  # fmt: skip
# They change where data lie and how fast they are read, or follow from another option that is compared itself.
_PASSED_OVER = {
    "dataset.root", "dataset.download", "dataset.eval_batch_size", "dataset.num_workers", "dataset.prefetch_factor",
    "dataset.in_memory",
    "dataset.persistent_workers", "dataset.pin_memory", "dataset.check_images", "dataset.seed", "dataset.subset_seed",
    "dataset.sampler", "dataset.augmentation", "backbone.channels_last", "backbone.in_channels", "scheduler.T_max",
    "sampler.num_epochs", "augmentation.transform.image_size",
}  # fmt: skip
# Options of a dataset that say how it is trained on, not which images it has.
_OF_TRAINING = (
    "dataset.batch_size",
    "dataset.drop_last",
    "dataset.validation_per_class",
    "dataset.validation_fraction",
    "dataset.validation_from",
    "dataset.validation_classes",
)
# Their options mean the same whatever class is chosen; elsewhere another class stands for all that comes with it.
_SHARED_OPTIONS = ("dataset", "optimizer")
_MOST_NAMES = 4
# A shorter word has to stand alone in a name to be found there; of this length, it may be the beginning of a value.
_SHORT_WORD, _LONG_WORD = 4, 5
_SAYS_NOTHING = {"", "none", "null", "true", "false"}
_NUMBER = re.compile(r"[-+.\de]+")
# Within a key, the class whose own setting it is.
_OWNER = re.compile(r"\[.*?\]")

# Value, in words, to the rows that have it.
Groups = dict[str, list[str]]


def unmatched(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Say in which settings the rows of a comparison differ, for each setting in a sentence.

    Rows with a re-weighting are compared in its first epoch, its ramp and its normalization, whatever they are called.
    Everything else a row may be named for: a setting is passed over where each row that departs from the others has it
    or its value in its name, as ``focal, lr 0.1`` or ``optimizer.lr=0.1``. The classes of loss and of re-weighting are
    what a comparison is about, and never noted.

    Args:
        rows: name to the resolved configurations of its runs, one a seed, as ``config`` in ``metrics.json`` has them. A
            row without runs is passed over. A sweep names its rows by the overrides that differ between its jobs,
            without the seed: ``{"loss=ce reweighting=none": [config, config], ...}``.

    Returns:
        Sentences, none where all rows match.

    Example:
        >>> def run(start): return {"reweighting": {"_target_": "a.B", "start_epoch": start}}
        >>> unmatched({"inverse frequency": [run(0)], "DSB": [run(5)]})
        ['Not matched: `reweighting.start_epoch` is 0 in inverse frequency; 5 in DSB.']
    """
    facts = {name: _of_row(configs) for name, configs in rows.items() if configs}
    keys = list(dict.fromkeys(key for row in facts.values() for key in row))
    found = {key: _by_value(key, facts) for key in keys}
    return [_sentence(key, found[key]) for key in keys if _is_worth_saying(key, found, len(facts))]


def _by_value(key: str, facts: Mapping[str, Mapping[str, Any]]) -> Groups:
    groups: Groups = {}
    # A setting that only some rows have, such as one of a re-weighting, concerns these.
    for name, row in facts.items():
        if key in row:
            groups.setdefault(_words(row[key]), []).append(name)
    return groups


def _is_worth_saying(key: str, found: Mapping[str, Groups], num_rows: int) -> bool:
    groups = found[key]
    if len(groups) < 2 or (key == "subset_seed" and groups == found["seed"]):
        return False
    if key in _ALWAYS:
        return True
    # A row that is named for a part of a group is named for the group: ResNet-8 is another backbone, of another depth.
    same = {other: its for other, its in found.items() if _concept(other) == _concept(key)}
    differing = {o: its for o, its in same.items() if len(its) > 1 or sum(map(len, its.values())) < num_rows}
    sought = _parts(_concept(key), *differing) | {_plain(value) for its in differing.values() for value in its}
    usual = max(groups.values(), key=len)
    return not all(_mentions(name, sought) for names in groups.values() if names is not usual for name in names)


def _sentence(key: str, groups: Groups) -> str:
    usual = max(groups.values(), key=len)

    def rows(names: Sequence[str]) -> str:
        if names is usual and len(names) > _MOST_NAMES:
            return f"the other {len(names)} rows"
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        return ", ".join(f'"{name}"' if "," in name else name for name in names[:_MOST_NAMES]) + more

    # "The others" stand last.
    listed = sorted(groups.items(), key=lambda group: group[1] is usual and len(usual) > _MOST_NAMES)
    return (
        f"Not matched: `{_OWNER.sub('', key)}` is {'; '.join(f'{value} in {rows(names)}' for value, names in listed)}."
    )


def _of_row(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of a row; one that its runs do not share becomes all values that occur."""
    runs = [dict(_facts(config)) for config in configs]
    facts: dict[str, Any] = {}
    for key in dict.fromkeys(key for run in runs for key in run):
        values = [run[key] for run in runs if key in run]
        is_seed = key in ("seed", "subset_seed")
        facts[key] = sorted(values) if is_seed else list(dict.fromkeys(_words(value) for value in values))
    return facts


def _facts(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what one run's configuration says that a comparison should share."""
    yield from _reweighting(config)
    trainer = config.get("trainer") or {}
    yield from ((f"trainer.{key}", trainer[key]) for key in _TRAINER if key in trainer)
    for group in _GROUPS:
        yield from _leaves(config.get(group), group)
    yield from ((key, config[key]) for key in ("lr_reference_batch", "tta", "tf32") if key in config)
    if isinstance(seed := config.get("seed"), int):
        subset = config.get("subset_seed")
        yield "seed", seed
        yield "subset_seed", seed if subset is None else subset


def _reweighting(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    node = config.get("reweighting") or {}
    kind = str(node.get("_target_") or "")
    for key in _ALWAYS if kind else ():
        name = key.rpartition(".")[2]
        # A prior on the logits is only shifted by a normalization.
        if name in node and not (name == "normalization" and kind.endswith("PriorReweighting")):
            yield key, _epoch(node[name], config) if name == "start_epoch" else node[name]


def _epoch(start: Any, config: Mapping[str, Any]) -> Any:
    """Return a start that is given as a share of the epochs as an epoch, where the number of epochs is known."""
    epochs = (config.get("trainer") or {}).get("max_epochs")
    if isinstance(start, float) and 0 < start < 1 and isinstance(epochs, int):
        return min(round(start * epochs), epochs - 1)
    return start


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the options of a group under dotted keys, those of a class's own under ``group[Class].option``."""
    if _OWNER.sub("", path) in _PASSED_OVER:
        return
    if not isinstance(node, Mapping):
        yield path, node
        return
    group = path.partition(".")[0]
    owner = ""
    if "_target_" in node and group != "dataset":
        kind = str(node["_target_"] or "none").rpartition(".")[2]
        owner = "" if group in _SHARED_OPTIONS else f"[{kind}]"
        if group != "loss":
            yield path, kind
    for key, value in node.items():
        if not str(key).startswith("_"):
            yield from _leaves(value, f"{path}{owner}.{key}")


def _concept(key: str) -> str:
    """Return what a key is a part of: a group such as ``optimizer``, or itself."""
    is_single = key.startswith(("trainer.", "reweighting.")) or key in _OF_TRAINING
    return key if is_single else re.split(r"[.\[]", key)[0]


def _parts(*keys: str) -> set[str]:
    """Return the last part of each key, whole and, where a word of it is long, that word."""
    last = [_OWNER.sub("", key).rpartition(".")[2] for key in keys]
    return {*map(_plain, last), *(word for name in last for word in name.split("_") if len(word) >= _LONG_WORD)}


def _mentions(name: str, sought: set[str]) -> bool:
    """Tell whether a row's name has one of the words in it, or begins one of them with a long word of its own."""
    words = re.findall(r"[a-z0-9]+", name.lower().replace("_", ""))
    beginnings = tuple(word for word in re.findall(r"[a-z]+", name.lower()) if len(word) >= _LONG_WORD)
    whole = "".join(words)
    return any(
        (word in whole if len(word) >= _SHORT_WORD else word in words) or word.startswith(beginnings)
        for word in sought - _SAYS_NOTHING
        if not _NUMBER.fullmatch(word)
    )


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "empty"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
