"""A report is one small file that reaches for nothing, runs only its own script, and holds no markup from names."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semscale_pl.figures.style import MISSING, PALETTE
from semscale_pl.measuring.measurement import Measurement, Notice
from semscale_pl.measuring.report import write_report
from semscale_pl.measuring.report.writing import PAGE, SCRIPTS, embedded

Measured = Callable[..., Measurement]
EVIL = ["<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>", "\"quoted' & <b>", "{{script}}", "\u2028"]


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in self.texts:
            self.texts[self._open].append(data)


@pytest.fixture
def page(measured: Measured, tmp_path: Path) -> Page:
    return Page(write_report(measured(4, intervals=True), tmp_path / "deep" / "report.html").read_text())


def test_nothing_outside_the_file_is_asked_for(page: Page) -> None:
    assert not [tag for tag, _ in page.tags if tag in ("link", "img", "iframe", "object", "embed", "base")]
    for tag, attributes in page.tags:
        assert "src" not in attributes, tag
        assert not attributes.get("href", "#") or attributes.get("href", "#").startswith("#")  # type: ignore[union-attr]
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    for text in page.texts["style"] + page.texts["script"][1:]:
        assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|innerHTML|document\.write|eval\(", text)
        assert set(re.findall(r"https?://[^\"'\s]+", text)) <= {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_the_policy_names_the_digests_of_style_and_script_and_nothing_else(page: Page) -> None:
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    digests = {
        kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for kind, text in (("style", page.texts["style"][0]), ("script", page.texts["script"][1]))
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests['style']}'; "
        f"script-src 'sha256-{digests['script']}'; base-uri 'none'"
    )


def test_names_and_notices_stay_text(measure: Measured, tmp_path: Path) -> None:
    import torch

    features, labels = torch.randn(10, 3), torch.arange(5).repeat(2)
    notices = [Notice("evil", EVIL[1], (0,))]
    text = write_report(
        measure(features, labels, EVIL, notices=notices, dataset=EVIL[0]), tmp_path / "r.html"
    ).read_text()
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert json.loads(page.texts["script"][0])["classes"] == EVIL
    assert "".join(page.texts["title"]) == f"Semantic scales of {EVIL[0]}"
    assert "onerror" not in "".join(str(attributes) for _, attributes in page.tags)


@given(st.recursive(st.text() | st.none() | st.integers(), lambda inner: st.lists(inner, max_size=4), max_leaves=8))
def test_embedded_json_reads_back_and_ends_no_element(content: object) -> None:
    text = embedded(content)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == content


def test_every_file_of_the_page_is_used_and_its_colours_are_those_of_the_figures() -> None:
    assert {path.name for path in PAGE.iterdir()} == {"report.html", "report.css", *(f"{name}.js" for name in SCRIPTS)}
    style = (PAGE / "report.css").read_text()
    for name in ("main", "chosen", "third", "warn", "band"):
        colours = {colour.upper() for colour in re.findall(rf"--{name}: (#\w{{6}})", style)}
        assert colours - {"#3F464C"} <= {*PALETTE, MISSING}  # the band's grey on a dark ground
