"""Exit codes, and one clear line for every wrong call or configuration."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from semscale_pl.config.composing import composed_from, config_dir, config_groups
from semscale_pl.config.leftovers import clear_run_folder
from semscale_pl.config.stopping import Ended, as_ended, first_process_speaks, is_first_process
from semscale_pl.config.wording import in_words_of
from semscale_pl.files import CannotWriteError, FolderInUseError
from semscale_pl.terminal import unbreakable

OK, FAILED, WRONG_CALL = 0, 1, 2
# A limit that the user set was reached first; the same call goes on.
UNFINISHED = 3
# What gloo and NCCL say where the process on the other side is gone.
_GONE = ("Connection closed by peer", "Connection reset by peer", "remote process exited")

# Options of Hydra that come with a package of their own, which is in one of this project's extras.
_PLUGINS = {
    ("hydra/sweeper", "optuna"): "hydra-optuna-sweeper",
    ("hydra/launcher", "joblib"): "hydra-joblib-launcher",
    ("hydra/launcher", "submitit_local"): "hydra-submitit-launcher",
    ("hydra/launcher", "submitit_slurm"): "hydra-submitit-launcher",
}


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return " Did you mean `x`?", or nothing where no choice is near.

    Example:
        >>> did_you_mean("trian", ["train", "evaluate"])
        ' Did you mean `train`?'
        >>> did_you_mean("qqq", ["train", "evaluate"])
        ''
    """
    near = get_close_matches(name, [choice for choice in choices if choice != name], n=1, cutoff=0.6)
    return f" Did you mean `{near[0]}`?" if near else ""


def dotted_keys(tree: Any, prefix: str = "") -> Iterator[str]:
    """Yield every key of nested mappings as a dotted path.

    Example:
        >>> list(dotted_keys({"trainer": {"devices": 1}, "seed": 0}))
        ['trainer', 'trainer.devices', 'seed']
    """
    if not isinstance(tree, Mapping):
        return
    for key, value in tree.items():
        path = f"{prefix}{key}"
        yield path
        yield from dotted_keys(value, f"{path}.")


def closest_key(name: str, keys: Iterable[str]) -> str:
    """Return the suggestion for a mistyped dotted key: the whole path, or the same last part elsewhere."""
    known, last = [key for key in keys if key != name], name.rpartition(".")[2]
    elsewhere = [f" Did you mean `{key}`?" for key in known if key.rpartition(".")[2] == last]
    if len(elsewhere) == 1:
        return elsewhere[0]
    return did_you_mean(name, known) or next(iter(elsewhere), "")


class WrongCallError(ValueError):
    """A configuration that cannot work, found before anything heavy is imported."""


def complain(message: str) -> int:
    """Write one line to stderr and return the exit code of a wrong call."""
    sys.stderr.write(f"semscale: {' '.join(message.split())}\n")
    return WRONG_CALL


def exit_code(
    task: Callable[[], int | None],
    *,
    config_name: str = "train",
    interrupted: str = "",
    reported: tuple[type[Exception], ...] = (),
    keys: Collection[str] | None = None,
) -> int:
    """Run a task and turn every ending into an exit code, and what the user can mend into one line.

    Args:
        task: returns its exit code, or None for 0.
        config_name: see :func:`message_of`.
        interrupted: what to say after the cause where a signal ends it, unless the task says it itself.
        reported: further errors whose message is for the user; others keep their traceback.
        keys: all options of the call, where it takes none of `semscale train`.
    """
    try:
        return task() or OK
    except BaseException as error:
        ended = as_ended(error)
        if ended is not None:
            return _say_ended(ended, interrupted)
        if isinstance(error, SystemExit):
            return OK if error.code is None else error.code if isinstance(error.code, int) else FAILED
        message = message_of(error, config_name)
        if message is None and isinstance(error, reported):
            message = str(error)
        if message is None:
            raise
        return complain(message if keys is None else in_words_of(message, keys))


def _say_ended(ended: Ended, kept: str) -> int:
    """Write the one line of a command that a signal ended, in the first of its ranks, and return its exit code."""
    if is_first_process() and not ended.is_told:
        sys.stderr.write(f"{ended.line or ended.what + '. ' + kept}\n")
    return ended.exit_code


def answers_in_one_line(task: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let a Hydra task leave with exit code 2 and one line where its configuration is wrong.

    Hydra adds lines of its own to an exception that reaches it, but lets SystemExit through.
    """

    @functools.wraps(task)
    def guarded(cfg: Any) -> Any:
        # A launcher's worker processes come here without the console script.
        with unbreakable():
            try:
                return task(cfg)
            except Exception as error:
                ended = as_ended(error)
                if ended is not None:  # what a signal made fail, such as a loader whose worker it ended
                    raise ended from error
                command = _command()
                message = message_of(error, command)
                if message is None:
                    raise
                if command != "train":
                    message = in_words_of(message, _known_keys(command))
                clear_run_folder()
                if not first_process_speaks():
                    complain(message)
                raise SystemExit(FAILED if _is_of_another_rank(error) else WRONG_CALL) from error

    return guarded


def _command() -> str:
    """Return the name of the configuration that Hydra runs."""
    from hydra.core.hydra_config import HydraConfig

    name = HydraConfig.get().job.config_name if HydraConfig.initialized() else None
    return str(name or "train")


def message_of(error: BaseException, config_name: str = "train") -> str | None:
    """Return what to tell the user, or None where the error is not about the call.

    The keys of the configuration of that name are searched for the closest match of a mistyped one.
    """
    if isinstance(error, WrongCallError | CannotWriteError | FolderInUseError):
        return str(error)
    if isinstance(error, MissingConfigException):
        return _missing_option(error)
    if isinstance(error, InstantiationException):
        return _instantiation(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _mistyped_key(error, config_name) or _chosen_twice(error) or _interpolation(error) or str(error)
    if _is_of_another_rank(error):
        return "Another process of this run ended first; what it said before it did is the reason."
    # Lightning's and those of semscale_pl.data, which must not be imported to be named.
    if type(error).__name__ in ("MisconfigurationException", "DatasetNotFound", "DataError", "NoDirectionError"):
        return _without_worker(error)
    return None


def _is_of_another_rank(error: BaseException) -> bool:
    """Tell whether an exchange between processes broke off because one of them is gone."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _GONE)


def _without_worker(error: BaseException) -> str:
    """Return a message; of an error in a loader's worker, whose traceback torch puts into it, the last part."""
    text = str(error)
    return text.rpartition(f"{type(error).__name__}: ")[2] if text.startswith("Caught ") else text


def _missing_option(error: MissingConfigException) -> str:
    wanted = error.missing_cfg_file or ""
    group, _, name = wanted.rpartition("/")
    options = sorted(set(error.options or []) - {"base"})  # what the options of a group share
    if (group, name) in _PLUGINS:
        package = _PLUGINS[group, name]
        return f"`{group}={name}` needs {package}: pip install {package}. Without it there are: {', '.join(options)}."
    if not options:
        return f"Found no config `{wanted}`."
    return f"Unknown option `{name}` of `{group}`.{did_you_mean(name, options)} Options: {', '.join(options)}."


def _mistyped_key(error: BaseException, config_name: str) -> str | None:
    text = str(error)
    found = re.search(r"(?:Could not (?:override|delete(?: from config\.)?)|An item is already at) '([^'\n]+)'", text)
    if not isinstance(error, ConfigCompositionException) or found is None:
        return None
    key = found.group(1)
    if found.group(0).startswith("An item"):
        return f"`{key}` exists already. Set it without the `+`."
    known = _known_keys(config_name)
    if config_name == "train":
        below, group = _below(key), key.partition(".")[0]
        known += [f"{group}.{own}" for keys in _keys_of_options(group).values() for own in sorted(keys)]
        return f"Unknown key `{key}`.{_elsewhere(key) or ('' if below else closest_key(key, known))}{below}"
    return f"Unknown key `{key}`.{closest_key(key, known)} See `semscale {config_name} --help`."


def _chosen_twice(error: BaseException) -> str | None:
    found = re.match(r"(\S+) appears more than once in the final defaults list", str(error))
    return f"`{found.group(1)}` is chosen already. Set it without the `+`." if found else None


def _elsewhere(key: str) -> str:
    """Name the options of a group that have the key which the chosen option lacks."""
    group, _, rest = key.partition(".")
    options = [option for option, keys in _keys_of_options(group).items() if rest in keys] if rest else []
    return f" The chosen `{group}` has none; these have: {', '.join(options)}." if options else ""


def _below(key: str) -> str:
    """Suggest the key that lies one step deeper in options of the group, as `source.train` does in datasets."""
    group, _, rest = key.partition(".")
    deeper = {
        found
        for keys in _keys_of_options(group).values()
        for found in keys
        if rest and found.endswith(f".{rest}") and found.count(".") == rest.count(".") + 1
    }
    return f" Did you mean `{group}.{deeper.pop()}`?" if len(deeper) == 1 else ""


def _keys_of_options(group: str) -> dict[str, set[str]]:
    """Return the dotted keys that each option of a group names itself."""
    files = sorted((config_dir() / group).glob("*.yaml")) if "/" not in group else []
    return {file.stem: set(dotted_keys(OmegaConf.to_container(OmegaConf.load(file)))) for file in files}


def _known_keys(config_name: str) -> list[str]:
    """Compose the config without overrides; a broken one has nothing to suggest.

    Beside what it has by default come the options that another choice in one of its groups has.
    """
    try:
        tree = OmegaConf.to_container(composed_from(config_name), resolve=False)
    except (HydraException, OmegaConfBaseException):
        return []
    if config_name == "train":
        return [*dotted_keys(tree), *config_groups()]
    assert isinstance(tree, Mapping)
    files = [(group, file) for group in config_groups() & set(tree) for file in (config_dir() / group).glob("*.yaml")]
    chosen = {
        f"{group}.{key}" for group, file in files for key in dotted_keys(OmegaConf.to_container(OmegaConf.load(file)))
    }
    return [*dict.fromkeys([*dotted_keys(tree), *sorted(chosen)])]


def _interpolation(error: BaseException) -> str | None:
    missing = re.match(r"Missing mandatory value: (\S+)", str(error))
    return f"Expected a value for `{missing.group(1)}`. Pass {missing.group(1)}=..." if missing else None


def _instantiation(error: InstantiationException) -> str:
    place = re.search(r"full_key: (\S+)", str(error))
    cause = error.__cause__
    what = str(cause) if cause is not None and str(cause) else str(error).split("\n")[0]
    return f"`{place.group(1)}`: {what}" if place else what
