"""What a command takes after its name, declared once: read, checked and explained from one declaration."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from semscale_pl.config.command_line import to_type
from semscale_pl.config.errors import OK, WRONG_CALL, did_you_mean, exit_code
from semscale_pl.options import Rule, rule_of

HELP = ("--help", "-h", "help")
# Columns of the help's left side, `KEY=VALUE`.
_LEFT = 24

Reader = Callable[[str, str], Any]


@dataclass(frozen=True)
class Setting:
    """One ``KEY=VALUE`` of a command.

    Args:
        key: its name.
        text: what the help says of it.
        default: its value where it is not given.
        shown: what stands after ``KEY=`` in the help, where that is not the default.
        read: turns key and text into a value, or raises ValueError; None: the option's rule does.
        may_be_empty: whether `KEY=` with nothing after it stands for the default; it is refused otherwise.
    """

    key: str
    text: str
    default: Any = None
    shown: str = ""
    read: Reader | None = None
    may_be_empty: bool = False

    def value_of(self, text: str, command: str) -> Any:
        """Read what was typed, or raise ValueError with a line that says what is allowed."""
        if self.read is not None:
            return self.read(self.key, text)
        rule = rule_of(self.key, command)
        assert rule is not None, f"no rule for {self.key}"
        return _read_by(rule, self.key, text)

    @property
    def left(self) -> str:
        """The left side of its line in the help."""
        return f"{self.key}={self.shown or _shown(self.default)}"


class Call(SimpleNamespace):
    """A checked call: an attribute for each setting of the command.

    Attributes:
        name: the argument without a key, such as a table's file; empty where there was none.
        given: keys of the settings that were typed.
        overrides: what was typed besides, for the configuration of `semscale train`.
        again: the line that makes the same call.
    """

    name: str
    given: frozenset[str]
    overrides: tuple[str, ...]
    again: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """The declaration of a command that takes its own settings.

    Args:
        name: of the command.
        usage: what may follow the name, a line each.
        settings: by the title of their section; a pair stands for a line of the help that is no setting of its own.
        notes: the help's last lines, or what finds them when they are wanted.
        argument: what the argument without a key is called; empty where there is none.
        takes_overrides: whether other keys are kept for the configuration of `semscale train`.
        takes_anything: whether arguments are passed on as they are.
        may_be_bare: whether a call without arguments runs instead of printing the usage.
        kept: what an interruption leaves behind, from which the same call goes on; empty where it starts again.
        reported: errors whose message is for the user, besides ValueError and FileNotFoundError.
    """

    name: str
    usage: Sequence[str]
    settings: Mapping[str, Sequence[Setting | tuple[str, str]]]
    notes: str | Callable[[], str] = ""
    argument: str = ""
    takes_overrides: bool = False
    takes_anything: bool = False
    may_be_bare: bool = False
    kept: str = ""
    reported: tuple[type[Exception], ...] = ()

    @property
    def keys(self) -> dict[str, Setting]:
        """Its settings by key."""
        lines = [line for section in self.settings.values() for line in section]
        return {line.key: line for line in lines if isinstance(line, Setting)}

    def run(self, argv: Sequence[str], execute: Callable[[Any], int]) -> int:
        """Answer a call with the help where it is asked for, otherwise with the exit code of ``execute``.

        Args:
            argv: what was typed after the command's name.
            execute: takes the checked call, or the arguments as they are.
        """
        asked = argv[:1] if self.takes_anything else argv
        if set(HELP) & set(asked):
            sys.stdout.write(self.help())
            return OK
        if not argv and not self.may_be_bare:
            sys.stderr.write(self.help())
            return WRONG_CALL

        def answer() -> int:
            if self.takes_anything:
                return execute(list(argv))
            call = self.parse(argv)
            if self.argument and not call.name and not self.may_be_bare:
                raise ValueError(f"Expected {self.argument}. {self.see}")
            return execute(call)

        way = f"{self.kept} To go on" if self.kept else "To start again"
        way += f", type: {to_type(self.name, argv)}"
        # With a file or a folder of images no option of `semscale train` is taken.
        alone = any(argument.startswith(("images=", "features=")) for argument in argv)
        reported: tuple[type[Exception], ...] = (ValueError, FileNotFoundError, *self.reported)
        return exit_code(answer, interrupted=way, reported=reported, keys=set(self.keys) if alone else None)

    def parse(self, argv: Sequence[str]) -> Call:
        """Check a call one setting at a time, before anything heavy is imported.

        Raises:
            ValueError: an argument is unknown, comes twice or is out of range; one line says which.
        """
        keys, own, overrides, name = self.keys, dict[str, str](), list[str](), ""
        for argument in argv:
            key, sign, text = argument.partition("=")
            if self.argument and not name and (not sign or Path(argument).is_file()):
                name = argument
            elif not sign:
                expected = "one name and KEY=VALUE" if self.argument else "KEY=VALUE"
                raise ValueError(f"Expected {expected}, but got {argument!r}. {self.see}")
            elif key in own:
                raise ValueError(f"Expected `{key}` once, but got it twice.")
            elif key in keys and not text and not keys[key].may_be_empty:
                raise ValueError(f"Expected a value after `{key}=`, but got none. Leave it out for its default.")
            elif key in keys:
                own[key] = text
            elif self.takes_overrides:
                overrides.append(argument)
            else:
                raise self.unknown(key)
        given = {key: keys[key].value_of(text, self.name) for key, text in own.items() if text}
        values = {key: given.get(key, setting.default) for key, setting in keys.items()}
        again = to_type(self.name, argv)
        return Call(**values, name=name, given=frozenset(given), overrides=tuple(overrides), again=again)

    @property
    def see(self) -> str:
        """The last words of a refusal."""
        return f"See `semscale {self.name} --help`."

    def unknown(self, key: str, others: Sequence[str] = ()) -> ValueError:
        """Return the refusal of a key, with the nearest one that there is; ``others`` are known too."""
        return ValueError(f"Unknown setting `{key}`.{did_you_mean(key, (*self.keys, *others))} {self.see}")

    def help(self) -> str:
        """Return the text of `semscale COMMAND --help`."""
        heads = ["usage:", *[" " * 6] * (len(self.usage) - 1)]
        lines = [f"{head} semscale {self.name} {line}" for head, line in zip(heads, self.usage, strict=True)]
        for title, section in self.settings.items():
            lines += ["", *([title] if title else [])]
            for line in section:
                left, text = (line.left, line.text) if isinstance(line, Setting) else line
                lines.append(f"  {left:<{_LEFT}}{text}".replace("\n", "\n" + " " * (_LEFT + 2)).rstrip())
        notes = self.notes if isinstance(self.notes, str) else self.notes()
        return "\n".join([*lines, *(["", notes] if notes else []), ""])


def read_list(rule: Rule) -> Reader:
    """Return what reads values between commas, each held against a rule, as a tuple."""

    def read(key: str, text: str) -> Any:
        parts = [part.strip() for part in text.strip("[]").split(",")]
        return tuple(_read_by(rule, key, part) for part in parts if part)

    return read


def read_text(key: str, text: str) -> str:
    """Take a text as it was typed."""
    return text


def read_names(key: str, text: str) -> tuple[str, ...]:
    """Read names between commas; ValueError where there is none."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ValueError(f"Expected names after `{key}=`, but got {text!r}. Leave it out for all columns.")
    return names


def existing_file(key: str, text: str) -> Path:
    """Read the path of a file; ValueError where there is none."""
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"Expected `{key}` to be a file, but there is no {text!r}.")
    return path


def existing_folder(key: str, text: str) -> Path:
    """Read the path of a folder; ValueError where there is none."""
    path = Path(text)
    if not path.is_dir():
        found = f"{text!r} is a file. Name the folder that holds it" if path.is_file() else f"there is none at {text!r}"
        raise ValueError(f"Expected `{key}` to be a folder, but {found}.")
    return path


def files_or_store(key: str, text: str) -> Path:
    """Read the path of a file, a folder or a glob of shards, or of an embedding store, whose name is enough.

    Raises:
        ValueError: there is none of these.
    """
    from semscale_pl.features.feature_files import found_files
    from semscale_pl.features.store import found_store, is_store

    if is_store(found_store(text)):
        return found_store(text)
    found_files(text, key)
    return Path(text)


def files_of_labels(key: str, text: str) -> Path:
    """Read the path of a file of labels, or a folder or a glob of such; ValueError where there is none."""
    from semscale_pl.features.feature_files import LABEL_FORMATS, found_files

    if not Path(text).is_file():
        found_files(text, key, LABEL_FORMATS)
    return Path(text)


def file_or_names(key: str, text: str) -> Path | tuple[str, ...]:
    """Read the path of a file of names, or names between commas; ValueError where it is neither."""
    return read_names(key, text) if "," in text and not Path(text).exists() else existing_file(key, text)


def new_folder(key: str, text: str) -> Path:
    """Read the path of a folder to write in, which need not be there yet.

    Raises:
        ValueError: a file stands in its place or in that of a folder above it, or nothing may be written there.
    """
    path = Path(text)
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists() or parent.is_symlink())
    if not there.is_dir():
        raise ValueError(f"Expected `{key}` to be a folder, but {str(there)!r} is a file. Name another one.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"Expected to write in `{key}`, but {str(there)!r} does not allow it. Name another one.")
    return path


# Settings of the commands that take a file of features: where it is, and how its features are prepared.
FILE_SETTINGS = (
    Setting(
        "features",
        ".npz, .npy, .pt, .safetensors, .h5, .parquet, .feather, .csv, .tsv, never unpickled;\n"
        "a folder or a quoted glob of shards; or an embedding store",
        None,
        "FILE",
        files_or_store,
    ),
    Setting(
        "part", "train, val or test: of an embedding store, train unless given; or by split_key=NAME", shown="NAME"
    ),
    Setting(
        "labels",
        ".npy, .pt, .csv, .tsv or .txt, where the labels are not in the same file",
        None,
        "FILE",
        files_of_labels,
    ),
    Setting("label_column", "of a table, or the array of labels in a file of several", None, "NAME", read_text),
    Setting("label_key", "the same as label_column", None, "NAME", read_text),
    Setting("split_key", "column or array that says of each row: train, val or test", None, "NAME", read_text),
    Setting(
        "class_names",
        "in their order: a file, or NAME,NAME; labels then name or count them",
        None,
        "FILE",
        file_or_names,
    ),
    Setting(
        "feature_columns", "of a table: f0..f511, f*, a,b; all but the label unless given", (), "NAMES", read_names
    ),
    Setting("feature_key", "the array of features in a file of several", None, "NAME", read_text),
)
PREPARATION = (
    Setting(
        "feature_norm", "l2: every sample divided by its length; rms: all by their root-mean-square deviation", "none"
    ),
    Setting("num_features", "wider features are averaged down to D", shown="D"),
)


def _read_by(rule: Rule, key: str, text: str) -> Any:
    value = rule.read(text)
    rule.check(key, value)
    return value


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
