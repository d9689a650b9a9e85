"""Tables on terminals of 40 to 120 columns: whole names, unbroken numbers, no line too long, also in wide scripts."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from semscale_pl.text_table import print_table

HEAD = ["method", "balanced accuracy (%)", "balanced accuracy - CE", "p", "tail accuracy (%)", "bias", "n"]
NAMES = [
    "CE",
    "DSB-Balanced-Softmax",
    "Square-root inverse frequency, deferred to the last fifth",
    "长尾识别中的语义尺度失衡与类别重加权方法的比较",
    "ネコ と イヌ",
    "Entwicklungszusammenarbeitsministerialbürokratieabteilungsleiter",
    "[red]not markup[/]",
]
NUMBERS = ["79.6 ± 4.0", "+12.4 [+9.5, +15.4]", "< 0.001", "40.8 ± 10.6", "11.20 ± 20.20", "5"]
ROWS = [[name, *NUMBERS] for name in NAMES]
WIDTHS = (40, 60, 80, 120)


def printed(width: int, *arguments: Any, **options: Any) -> str:
    file = io.StringIO()
    print_table(Console(file=file, width=width, highlight=False), *arguments, **options)
    return file.getvalue()


def without_frame(text: str) -> str:
    return re.sub(r"[^\S ]|[│┃ ]", "", text)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_name_is_cut_and_no_number_broken(width: int) -> None:
    text = printed(width, HEAD, ROWS, "a table")
    assert "…" not in text
    assert max(map(cell_len, text.splitlines())) <= width
    for part in ("79.6", "± 4.0", "+12.4", "[+9.5, +15.4]", "< 0.001", "± 20.20"):
        assert text.count(part) == len(ROWS)
    for name in NAMES:
        whole = without_frame(printed(width, ["method"], [[name]]))
        assert name.replace(" ", "") in whole


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_each_name_stands_whole_in_its_column(width: int, name: str) -> None:
    lines = printed(width, HEAD, [[name, *NUMBERS]]).splitlines()
    first = "".join(re.split("[│┃]", line)[1] if re.search("[│┃]", line) else line for line in lines)
    assert name.replace(" ", "") in first.replace(" ", "")


def test_headings_are_wrapped_first_then_values_before_their_interval_then_names() -> None:
    wide, narrow, narrowest = (printed(width, HEAD, ROWS[:2]) for width in (140, 105, 80))
    assert all(title in wide for title in HEAD)
    assert "balanced accuracy - CE" not in narrow
    assert "│ DSB-Balanced-Softmax │" in narrow
    assert "│ +12.4 [+9.5, +15.4] │" in narrow
    assert "│ DSB-Balanced- " in narrowest
    assert "│         +12.4 │" in narrowest
    assert "│ [+9.5, +15.4] │" in narrowest


def test_an_interval_is_broken_between_its_ends_before_rows_are_stacked() -> None:
    text = printed(40, ["class", "last batch", "n"], [["long_class_name", "205.21 % [184.41 %, 239.64 %]", "14"]])
    assert "│ [184.41 %, 239.64 %] │" not in text
    assert all(part in text for part in ("long_class_name", "205.21 %", "[184.41 %,", "239.64 %]"))
    assert "┃" in text


def test_rows_are_stacked_where_a_table_is_too_wide() -> None:
    assert printed(40, HEAD, [["DSB-CE", *NUMBERS[:-1], ""]], "demo").splitlines() == [
        "demo",
        "",
        "DSB-CE",
        "  balanced accuracy (%): 79.6 ± 4.0",
        "  balanced accuracy - CE:",
        "    +12.4 [+9.5, +15.4]",
        "  p: < 0.001",
        "  tail accuracy (%): 40.8 ± 10.6",
        "  bias: 11.20 ± 20.20",
    ]


def test_a_name_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in printed(80, ["class"], [["a\x1b[31mb\nc"]])


def test_a_table_without_rows_is_its_head() -> None:
    assert "method" in printed(80, HEAD, [])
