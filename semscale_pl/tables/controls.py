"""What `controls:` asks for: for a row with semantic-scale weights, rows that differ from it in what they know of S."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semscale_pl.tables.grids import Axes, Tuning

# Control to the re-weighting that it is, in the place of the row's.
CONTROLS: dict[str, tuple[str, ...]] = {
    "count_matched": ("reweighting=count_matched",),
    "shuffled_residual": ("reweighting=shuffled_residual",),
    "frozen_scale": ("reweighting=frozen_scale",),
    "power_of_count": ("reweighting=power_of_count",),
    "strength_matched": ("reweighting=power_of_count", "reweighting.match=semantic_scale"),
}
# Re-weightings that have controls, and what of theirs the controls do not have by themselves.
_CONTROLLED: dict[str, tuple[str, ...]] = {
    "semantic_scale": (),
    "scale_only": ("reweighting.interclass=false",),
}
# Where a table is tuned, a power of the count is tuned as well: S gives way to the best power, not to any.
POWER_GRID = ("reweighting.p", ("0.5", "0.25", "0.75", "1.0"))
# What a power of the count shares with the row that it controls; all else of the row's weights is about S.
_SHARED = ("reweighting.start_epoch", "reweighting.ramp_epochs", "reweighting.normalization")
_GROUP = "reweighting="


def parse_controls(content: Any, where: str) -> tuple[str, ...] | None:
    """Read the names of controls; None where there is no such key.

    Raises:
        ValueError: it is not a list of different controls.

    Example:
        >>> parse_controls(["count_matched"], "controls")
        ('count_matched',)
    """
    if content is None:
        return None
    if not isinstance(content, list) or not all(isinstance(one, str) and one in CONTROLS for one in content):
        raise ValueError(f"Expected `{where}` to be a list of some of {', '.join(CONTROLS)}, but got {content!r}.")
    if len(set(content)) != len(content):
        raise ValueError(f"Expected `{where}` to name each control once, but got {content!r}.")
    return tuple(content)


def name_of(row: str, control: str) -> str:
    """Return the name of the row that controls another one.

    Example:
        >>> name_of("DSB-BS", "count_matched")
        'DSB-BS: count matched'
    """
    return f"{row}: {control.replace('_', ' ')}"


def has_scale(overrides: Sequence[str]) -> bool:
    """Tell whether overrides, the last of a kind counting, make weights that have controls."""
    return _reweighting(overrides) in _CONTROLLED


def check_has_scale(overrides: Sequence[str], row: str) -> None:
    """Raise ValueError where a row that asks for controls has no weights that could be controlled."""
    if not has_scale(overrides):
        found, known = _reweighting(overrides), " or ".join(map(_group, _CONTROLLED))
        raise ValueError(
            f"Expected the row {row!r}, which asks for `controls`, to have {known} among its overrides, but got "
            f"{_group(found) if found else 'no reweighting'}. Give it one, or leave `controls` out."
        )


def overrides_of(control: str, overrides: Sequence[str], base: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the overrides of a row's control: the row's own with another re-weighting and the same options.

    Args:
        overrides: of the row.
        base: those before, where the row itself names no re-weighting.

    Example:
        >>> overrides_of("count_matched", ["loss=ce", "reweighting=scale_only", "reweighting.power=2"])
        ('loss=ce', 'reweighting=count_matched', 'reweighting.interclass=false', 'reweighting.power=2')
    """
    own = [place for place, entry in enumerate(overrides) if entry.startswith(_GROUP)]
    replacing = (*CONTROLS[control], *_CONTROLLED[_reweighting((*base, *overrides))])
    if not own:
        return (*replacing, *overrides)
    before, after = overrides[: own[-1]], overrides[own[-1] + 1 :]
    return (*(entry for entry in before if not entry.startswith(_GROUP)), *replacing, *after)


def axes_of_control(control: str, own: Axes, tuning: Tuning | None) -> Axes:
    """Return the keys that a control tunes of its own: those of its row, and for a power of the count the power.

    Of what its row tunes of the weights, such a power has only what is not about S. It is tuned in as many trials.
    """
    if tuning is None or control != "power_of_count":
        return own
    kept = tuple((key, values) for key, values in own if not _is_about_scale(key))
    left_out = tuple((key, ()) for key, _ in tuning.grid if _is_about_scale(key) and key != POWER_GRID[0])
    is_tuned = POWER_GRID[0] in {*dict(tuning.grid), *dict(kept)}
    return (*kept, *left_out, *(() if is_tuned else (POWER_GRID,)))


def _is_about_scale(key: str) -> bool:
    plain = key.lstrip("+")
    return plain.startswith("reweighting.") and plain not in _SHARED


def _reweighting(overrides: Sequence[str]) -> str:
    return next((entry.removeprefix(_GROUP) for entry in reversed(overrides) if entry.startswith(_GROUP)), "")


def _group(name: str) -> str:
    return f"{_GROUP}{name}"
