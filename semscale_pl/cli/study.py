"""`semscale study NAME [profile=] [jobs=] [publish=true] [KEY=VALUE]`: run one of the paper's analyses and draw it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from semscale_pl.cli.command import Call, Command, Setting, new_folder, read_text
from semscale_pl.config.errors import FAILED, OK, complain
from semscale_pl.studies.description import find_study, known_studies, load_study

COMMAND = Command(
    name="study",
    usage=["NAME [KEY=VALUE ...]"],
    settings={
        "": [
            ("NAME", "a study of experiments/, or its YAML file"),
            Setting("profile", "one of the file's profiles", shown="NAME", read=read_text, may_be_empty=True),
            Setting("jobs", "worker processes of studies that train, one thread each", 1),
            Setting(
                "out", "of result.json and figure.png; runs/studies/NAME unless given", None, "FOLDER", new_folder, True
            ),
            Setting("publish", "also copy them to experiments/results/NAME/ and docs/images/NAME.png", False, "true"),
            ("KEY=VALUE", "any of the study's own arguments, as in its file"),
        ]
    },
    notes=lambda: f"studies: {', '.join(known_studies())}",
    argument="NAME",
    takes_overrides=True,
    kept="Finished trainings are kept.",
)


def main(argv: Sequence[str]) -> int:
    """Run a study: 0 done, 1 the study failed, 2 wrong call, 130 interrupted."""
    return COMMAND.run(argv, execute)


def execute(call: Call) -> int:
    """Run a study, say where its files are, and publish them where that is asked for."""
    study = load_study(find_study(call.name), call.profile, call.overrides)
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
