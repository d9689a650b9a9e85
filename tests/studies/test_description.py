"""Studies read from YAML: profiles, single arguments, and one line for each fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from semscale_pl.config.composing import experiments_dir
from semscale_pl.studies.description import changed, find_study, is_study, known_studies, load_study
from semscale_pl.studies.running import function_of

GOOD = """
study: "fake_study:run"
figure: "fake_study:draw"
title: Squares
arguments: {values: [1, 2], ending: good}
profiles: {small: {values: [1]}, large: {values: [1, 2, 3]}}
default_profile: small
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "squares.yaml"
    path.write_text(GOOD)
    return path


def test_the_default_profile_keeps_the_name_and_others_are_added_to_it(file: Path) -> None:
    small, large = load_study(file), load_study(file, "large")
    assert (small.name, small.profile, small.arguments["values"]) == ("squares", "small", [1])
    assert (large.name, large.profile, large.arguments["values"]) == ("squares-large", "large", [1, 2, 3])
    assert large.arguments["ending"] == "good"
    assert load_study(file, "small").name == "squares"


def test_single_arguments_come_last(file: Path) -> None:
    study = load_study(file, "large", ["values=7,8", "ending=bad"])
    assert study.arguments == {"values": [7, 8], "ending": "bad"}
    assert changed({"a": [1], "b": None}, ["a=[]", "b=1e-3"]) == {"a": [], "b": 0.001}
    assert changed({"b": None}, ["b=0.5"]) == {"b": 0.5}
    assert changed({"c": 0.5}, ["c=1"]) == {"c": 1}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[1]", "a study"),
        ("rows: []", "semscale table"),
        (GOOD + "seeds: [1]\n", "seeds"),
        (GOOD.replace("fake_study:run", "fake_study"), "module:function"),
        (GOOD.replace("fake_study:draw", "fake study"), "`figure`"),
        (GOOD.replace("study:", "studies:", 1), "semscale table"),
        (GOOD.replace("default_profile: small", "default_profile: none"), "one of"),
        ("{", "YAML"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(text: str, match: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(ValueError, match=match) as caught:
        load_study(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("value=1", "`values`"),
        ("values", "KEY=VALUE"),
        ("values={", "YAML"),
        ("values=1,x", "`values` to be whole numbers as in the study's file, but got 'x'"),
        ("values=1,2.5", "but got 2.5"),
    ],
)
def test_a_wrong_argument_is_told_in_one_line(change: str, match: str, file: Path) -> None:
    with pytest.raises(ValueError, match=match):
        load_study(file, None, [change])


def test_absent_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no"):
        load_study(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="Studies:"):
        find_study("no_such_study")
    assert not is_study(tmp_path / "none.yaml")
    assert not is_study(experiments_dir() / "demo.yaml")


@pytest.mark.parametrize("name", known_studies())
def test_every_shipped_study_is_a_module_that_runs_and_draws(name: str) -> None:
    study = load_study(find_study(name))
    assert study.title != name
    assert study.study == study.figure == name
    former = {"run": f"semscale_pl.studies.{name}:run", "draw": f"semscale_pl.figures.{name}:draw"}
    for role, reference in former.items():
        assert callable(function_of(name, role))
        assert function_of(reference, role) is function_of(name, role)
    assert (experiments_dir() / f"{name}.yaml").read_text().startswith("#")


def test_files_of_before_and_studies_of_ones_own_name_functions(file: Path) -> None:
    file.write_text(GOOD.replace("fake_study:run", "semscale_pl.studies.bunny:run").replace("fake_study:draw", "a.b:c"))
    study = load_study(file)
    assert (study.study, study.figure) == ("semscale_pl.studies.bunny:run", "a.b:c")
    file.write_text(GOOD.replace('figure: "fake_study:draw"\n', ""))
    assert load_study(file).figure == "fake_study:draw"


@pytest.mark.parametrize("reference", ["none_such", "semscale_pl.figures.none_such:draw", "math:draw", "description"])
def test_what_is_no_study_is_refused(reference: str) -> None:
    with pytest.raises(ValueError, match="to be a study or 'module:function'"):
        function_of(reference, "draw")
