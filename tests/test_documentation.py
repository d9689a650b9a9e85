"""What the pages say can be typed, and what they point to is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from semscale_pl.cli import advise, data, demo, measure, study, table
from semscale_pl.cli.main import COMMANDS, DIRECT_COMMANDS
from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir, experiments_dir
from semscale_pl.config.sweeps import check_sweep, is_sweep
from semscale_pl.studies.description import find_study, load_study
from semscale_pl.studies.stored import stored_figures
from semscale_pl.tables.schema import load_table

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
HEADERS = [*sorted((ROOT / "experiments").glob("*.yaml")), *sorted((ROOT / "conf" / "experiment").glob("*.yaml"))]
NAMES = {path.relative_to(ROOT).as_posix(): path for path in [*PAGES, *HEADERS]}
# NAME, FILE and the like, "..." or a choice stand for something that the reader puts in.
PLACEHOLDER = re.compile(r"=[A-Z]{2,}|=X\.npz|\.\.\.|[|\[\]]|\b[A-Z]{4,}\b(?!=)")
VARIABLE = re.compile(r"^(?:[A-Z_]+=\S+ )+")


def commands_of(text: str) -> Iterator[str]:
    for line in text.splitlines():
        plain = VARIABLE.sub("", line.removeprefix("#").strip())
        if plain.startswith(("semscale ", "make ")) and "`" not in plain:
            yield re.split(r"\s{2,}|\s#|\s\(", plain)[0].strip()
    yield from (found.strip() for found in re.findall(r"`((?:semscale|make) [^`\n]+)`", text))


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    tables = re.search(r"^TABLES := (.+)$", text, re.MULTILINE)
    assert tables is not None
    return {*re.findall(r"^([a-z0-9-]+):", text, re.MULTILINE), *(f"reproduce-{name}" for name in tables[1].split())}


def try_train(words: list[str]) -> None:
    # A checkpoint is there only after the line above it in the page has been run.
    overrides = [word for word in words if not word.startswith("ckpt_path=")]
    if is_sweep(overrides):
        check_sweep("train", overrides, check_train)
        return
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        check_train(compose("train", overrides=overrides))


def try_table(words: list[str]) -> None:
    call = table.with_cluster(table.COMMAND.parse(words))
    cells = load_table(table.find_table(call.name), call.profile).cells()
    assert cells


def try_study(words: list[str]) -> None:
    call = study.COMMAND.parse(words)
    assert load_study(find_study(call.name), call.profile, call.overrides).arguments


def try_data(words: list[str]) -> None:
    data.configured(data.COMMAND.parse(words))


TRIED: dict[str, Callable[[list[str]], object]] = {
    "train": try_train,
    "table": try_table,
    "study": try_study,
    "data": try_data,
    "measure": lambda words: measure.checked(measure.COMMAND.parse(words)),
    "advise": lambda words: advise.checked(advise.COMMAND.parse(words)),
    "demo": lambda words: table.with_cluster(demo.COMMAND.parse(words)),
}


@pytest.mark.parametrize("name", NAMES)
def test_commands_can_be_typed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for command in commands_of(NAMES[name].read_text()):
        program, *words = shlex.split(command)
        if program == "make":
            known = [word for word in words if "=" not in word and not PLACEHOLDER.search(word)]
            assert set(known) <= targets(), command
            continue
        if words[0] == "help" or words[0] == "COMMAND":
            continue
        assert words[0] in {*COMMANDS, *DIRECT_COMMANDS}, command
        if PLACEHOLDER.search(command) or "--help" in words or len(words) == 1:
            continue
        if words[0] == "figure":
            assert words[1] in stored_figures(experiments_dir() / "results"), command
        elif words[0] in TRIED:
            try:
                TRIED[words[0]](words[1:])
            except Exception as error:
                pytest.fail(f"{command}: {error}")


def test_commands_are_found_at_all() -> None:
    found = [command for path in NAMES.values() for command in commands_of(path.read_text())]
    assert len(found) > 60
    assert {"semscale train", "semscale table", "semscale study", "semscale measure"} <= {
        " ".join(command.split()[:2]) for command in found
    }


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".md")])
def test_links_lead_somewhere(name: str) -> None:
    page = NAMES[name]
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


def rows_of(text: str) -> dict[str, list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines)}


@pytest.mark.parametrize("name", ["power_mnist_lt", "cifar100_lt_reduced", "mnist_lt_rivals", "cifar100_reduced"])
def test_tables_of_the_page_on_choosing_are_the_published_ones(name: str) -> None:
    page = (ROOT / "docs" / "choosing.md").read_text()
    section = page[page.index(f"`semscale table experiments/{name}.yaml`") :]
    shown = rows_of(section[section.index("\n| method") :].split("\n\n")[0])
    published = rows_of((ROOT / "experiments" / "results" / name / "table.md").read_text())
    assert set(shown) - {"method"} == set(published) - {"method"}
    for row, cells in shown.items():
        if row == "method":
            continue
        means = {cell.split()[0] for cell in published[row] if "±" in cell}  # the page leaves out intervals of the bias
        assert [cell for cell in cells if cell and cell not in {*published[row], *means}] == [], row


def test_every_picture_and_page_is_linked() -> None:
    text = "\n".join(path.read_text() for path in PAGES)
    others = [path for path in PAGES[1:] if path.name not in text]
    assert [path.name for path in [*others, *(ROOT / "docs" / "images").glob("*.png")] if path.name not in text] == []
