"""`semscale study NAME [profile=] [jobs=] [publish=true] [KEY=VALUE]`: run one of the paper's analyses and draw it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semscale_pl.config.errors import FAILED, INTERRUPTED, OK, WRONG_CALL, complain, message_of
from semscale_pl.config.settings import new_folder
from semscale_pl.studies.description import find_study, known_studies, load_study

USAGE = """usage: semscale study NAME [KEY=VALUE ...]

  NAME                    a study of experiments/, or its YAML file
  profile=NAME            one of the file's profiles
  jobs=1                  worker processes of studies that train, one thread each
  out=FOLDER              where result.json and figure.png go; runs/studies/NAME unless given
  publish=true            also copy them to experiments/results/NAME/ and docs/images/NAME.png
  KEY=VALUE               any of the study's own arguments, as in its file

studies: {studies}
"""
_OWN = ("profile", "jobs", "out", "publish")


@dataclass(frozen=True)
class StudyCall:
    """A checked call."""

    profile: str | None = None
    jobs: int = 1
    out: Path | None = None
    publish: bool = False
    changes: tuple[str, ...] = ()


def main(argv: Sequence[str]) -> int:
    """Run a study.

    Args:
        argv: name and settings, see ``semscale study --help``.

    Returns:
        0 done, 1 the study failed, 2 wrong call, 130 interrupted.
    """
    if not argv or argv[0] in ("--help", "-h", "help"):
        (sys.stdout if argv else sys.stderr).write(USAGE.format(studies=", ".join(known_studies())))
        return OK if argv else WRONG_CALL
    try:
        return execute(argv[0], parse(argv[1:]))
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Finished trainings are kept; the same command goes on from there.\n")
        return INTERRUPTED
    except Exception as error:
        message = str(error) if isinstance(error, ValueError) else message_of(error, "train")
        if message is None:
            raise
        return complain(message)


def execute(name: str, call: StudyCall) -> int:
    """Run a study, say where its files are, and publish them where that is asked for.

    Args:
        name: of the study, or its file.
        call: the settings.

    Returns:
        0, or 1 where a training failed.

    Raises:
        ValueError: the study or a setting is wrong.
    """
    study = load_study(find_study(name), call.profile, call.changes)
    from semscale_pl.studies.running import StudyFailedError, publish_study, run_study

    started = time.monotonic()

    def progress(line: str) -> None:
        sys.stderr.write(f"[{study.name} {time.monotonic() - started:.0f} s] {line}\n")

    folder = call.out or Path("runs/studies") / study.name
    try:
        run_study(study, folder, call.jobs, progress)
    except StudyFailedError as error:
        complain(str(error))
        return FAILED
    sys.stdout.write(f"Saved under {folder}\n")
    if call.publish:
        record, picture = publish_study(study, folder, Path("experiments/results"), Path("docs/images"))
        sys.stdout.write(f"Published as {record} and {picture}\n")
    return OK


def parse(arguments: Sequence[str]) -> StudyCall:
    """Split a call into the runner's settings and the study's arguments.

    Raises:
        ValueError: an argument is not KEY=VALUE, or a value is out of range.
    """
    own: dict[str, str] = {}
    changes = []
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if not sign:
            raise ValueError(f"Expected KEY=VALUE, but got {argument!r}. See `semscale study --help`.")
        if key in _OWN:
            own[key] = value
        else:
            changes.append(argument)
    jobs, publish = own.get("jobs", "1"), own.get("publish", "false").lower()
    if not jobs.isascii() or not jobs.isdigit() or not 1 <= int(jobs) <= 1024:
        raise ValueError(f"Expected `jobs` to be a number from 1 to 1024, but got {jobs!r}.")
    if publish not in ("true", "false"):
        raise ValueError(f"Expected `publish` to be true or false, but got {own['publish']!r}.")
    out = new_folder("out", own["out"]) if own.get("out") else None
    return StudyCall(own.get("profile"), int(jobs), out, publish == "true", tuple(changes))
