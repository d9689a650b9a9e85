"""The settings of a row: as many as every other's, as even as can be, the same each time."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import pytest

from semscale_pl.tables.grids import Axes, Tuning, edges_of, parse_axes, parse_tuning, settings_of

GRID: Axes = (("lr", ("1", "2", "3")), ("wd", ("1", "2")), ("epochs", ("5", "6")))
CONTENT: dict[str, Any] = {
    "grid": {"lr": [0.1, 0.2], "wd": ["1e-3", 0.01]},
    "seeds": [8, 9],
    "base": ["dataset.validation_fraction=0.2"],
}


def tuning(trials: int, grid: Axes = GRID) -> Tuning:
    return Tuning(grid, trials, (9,), ("held=out",))


def counts(settings: tuple[Any, ...], key: str) -> list[int]:
    return sorted(Counter(dict(setting)[key] for setting in settings).values())


def test_all_trials_are_the_whole_grid_and_the_first_is_the_first_of_all() -> None:
    found = settings_of(tuning(12))
    assert set(found) == {tuple(zip(("lr", "wd", "epochs"), one, strict=True)) for one in product("123", "12", "56")}
    assert dict(found[0]) == {"lr": "1", "wd": "1", "epochs": "5"}


def test_values_occur_equally_often_where_that_divides() -> None:
    found = settings_of(tuning(6))
    assert len(set(found)) == 6
    assert (counts(found, "lr"), counts(found, "wd"), counts(found, "epochs")) == ([2, 2, 2], [3, 3], [3, 3])


def test_keys_of_a_row_do_not_add_trials_and_leave_the_common_settings_as_they_are() -> None:
    plain, own = settings_of(tuning(6)), settings_of(tuning(6), (("tau", ("a", "b", "c")),))
    assert {setting[:3] for setting in own} == set(plain)
    assert (len(own), counts(own, "tau")) == (6, [2, 2, 2])


def test_a_row_may_replace_a_key_or_leave_it_out() -> None:
    assert counts(settings_of(tuning(6), (("lr", ("7", "8")),)), "lr") == [3, 3]
    fewer = settings_of(tuning(6), (("lr", ()), ("epochs", ())))
    assert fewer == ((("wd", "1"),), (("wd", "2"),))
    assert settings_of(tuning(6), (("lr", ()), ("wd", ()), ("epochs", ()))) == ((),)


def test_the_rule_is_stated_by_its_result() -> None:
    found = ["".join(value for _, value in setting) for setting in settings_of(tuning(4))]
    assert found == ["115", "226", "316", "325"]


def test_numbers_at_an_end_are_an_edge_and_words_are_not() -> None:
    axes: Axes = (("lr", ("0.1", "0.01", "1")), ("kind", ("a", "b")), ("wd", ("1e-3",)))
    assert edges_of((("lr", "0.01"), ("kind", "a"), ("wd", "1e-3")), axes) == ["lr=0.01 (of 0.01 to 1)"]
    assert edges_of((("lr", "0.1"), ("kind", "a"), ("wd", "1e-3")), axes) == []


def test_trials_are_the_whole_grid_unless_said_otherwise() -> None:
    found = parse_tuning(CONTENT)
    assert (found.grid[1], found.trials, found.per) == (("wd", ("1e-3", "0.01")), 4, "table")
    assert parse_axes({"flag": [True], "gone": None}, "here") == (("flag", ("true",)), ("gone", ()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": 5}, "`tune.trials` to be at most 4, .*got 5"),
        ({"trials": 0}, "`trials` to be an integer of at least 1, but got 0"),
        ({"per": "row"}, "`per` to be one of table, column, but got 'row'"),
        ({"base": []}, "`tune.base` .* holds out a validation part"),
        ({"seeds": 7}, "`tune.seeds` to be a list"),
        ({"grid": {}}, "`tune.grid` to list values"),
        ({"grid": {"lr": None}}, "`tune.grid` to list values"),
        ({"grid": {"lr": 0.1}}, r"`tune.grid.lr` to be a list .*got 0.1"),
        ({"grid": {"lr": [1, 1]}}, "different plain numbers or words"),
        ({"grid": {"lr": ["a,b"]}}, "different plain numbers or words"),
        ({"budget": 3}, "`tune` to have grid, seeds and base"),
    ],
)
def test_wrong_blocks_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_tuning({**CONTENT, **change})


def test_a_product_too_large_to_choose_from_is_refused() -> None:
    grid = tuple((key, tuple("12345678")) for key in "abcde")
    with pytest.raises(ValueError, match="at most 4096 settings, but got 32768"):
        settings_of(tuning(6, grid))
