"""The page of claims is what the command makes of the stored results; a refused file says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from semscale_pl.claims.definition import EXPECTATIONS, load_claims
from semscale_pl.claims.page import command_of, judge, lines, page
from semscale_pl.cli.main import main
from semscale_pl.config.composing import experiments_dir

RESULTS = experiments_dir() / "results"
PAGE = experiments_dir().parent / "docs" / "claims.md"
CLAIMS = load_claims()


def test_the_committed_page_is_what_the_command_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", f"out={tmp_path / 'claims.md'}"]) == 0
    made = (tmp_path / "claims.md").read_text()
    assert made == PAGE.read_text(), "run `semscale claims out=docs/claims.md`"
    printed = capsys.readouterr().out
    assert printed.startswith("".join(f"{line}\n" for line in lines(judge(CLAIMS, RESULTS))))


def test_every_claim_has_a_row_and_a_section_that_it_links_to() -> None:
    text = PAGE.read_text()
    summary = text[text.index("| claim |") : text.index("\n## ")].splitlines()[2:]
    assert len([line for line in summary if line.startswith("| [")]) == len(CLAIMS) >= 15
    assert all(f"## {claim.claim}\n" in text for claim in CLAIMS)


def test_without_results_everything_is_open_and_says_what_to_run(tmp_path: Path) -> None:
    judged = judge(CLAIMS, tmp_path)
    assert {found.word for _, found in judged} == {"open"}
    text = page(judged)
    assert "`semscale table experiments/cifar100_lt_features.yaml`" in text
    assert "`semscale study correlation`" in text


def test_a_result_names_the_command_that_makes_it() -> None:
    assert command_of("cifar100_lt_features-linear") == "semscale table experiments/cifar100_lt_features.yaml"
    assert command_of("marginal_effect-cifar100") == "semscale study marginal_effect profile=cifar100"
    assert command_of("head_benchmark") == "semscale bench head"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expect": "more"}, "got 'expect'. Did you mean"),
        ({"expects": "some"}, "expects"),
        ({"tests": [{"data": "digits", "result": "demo", "row": "CE"}]}, "`against` or `control`"),
        ({"tests": []}, "`tests` or `run`"),
        ({"tests": [{"data": "digits", "row": "CE", "against": "DSB-CE"}]}, "result"),
    ],
)
def test_a_wrong_entry_is_refused_in_a_line(tmp_path: Path, change: dict[str, object], words: str) -> None:
    test = {"data": "digits", "result": "demo", "row": "DSB-CE", "against": "CE"}
    entry = {"claim": "DSB helps", "paper": "section 4", "changes": "more seeds", "tests": [test], **change}
    file = tmp_path / "claims.yaml"
    file.write_text(yaml.safe_dump({"claims": [entry]}))
    with pytest.raises(ValueError, match="Expected") as caught:
        load_claims(file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_expectations_are_the_known_ones() -> None:
    assert {claim.expects for claim in CLAIMS} <= set(EXPECTATIONS)


def test_a_wrong_call_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "out=claims.txt"]) == 2
    assert main(["claims", "results=nowhere"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
