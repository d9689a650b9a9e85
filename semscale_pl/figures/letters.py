"""Words of any script in a figure: drawn in an installed font that has their letters, else spelled and said so."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOG = logging.getLogger(__name__)
# Fonts of boxes, and fonts of coloured pictures, which matplotlib cannot draw.
_UNUSABLE = re.compile(r"last ?resort|color|colour|emojione", re.IGNORECASE)
# How Unicode names a letter: its script, what kind of letter it is, and its sound.
_SOUND = re.compile(r"(?:LETTER|SYLLABLE|VOWEL SIGN) (?:SMALL |CAPITAL |INDEPENDENT )*([A-Z ]+)$")
_told: set[str] = set()


def make_readable(figure: Figure) -> None:
    """Give every text of a figure fonts that have all its letters, and spell the letters that none has.

    What had to be spelled is one warning in the log, once for the same letters.
    """
    names = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    for axis in names:
        axis.get_ticklabels()  # the names along an axis are written when they are asked for
    letters = {letter for text in _texts(figure) for letter in text.get_text()}
    foreign = {letter for letter in letters if not letter.isascii() or not letter.isprintable()} - {"\n"}
    missing = foreign - _letters_of(_base_font())
    if not missing:
        return
    families, missing = fonts_for(missing)
    if families:
        _use(figure, [_base_family(), *families])
    if missing:
        table = str.maketrans({letter: spelled(letter) for letter in missing})
        for axis in names:
            words = [label.get_text() for label in axis.get_ticklabels()]
            if not missing.isdisjoint("".join(words)):
                axis.set_ticklabels([word.translate(table) for word in words])
        for text in _texts(figure):
            if not missing.isdisjoint(text.get_text()):
                text.set_text(text.get_text().translate(table))
        _tell(missing)


def fonts_for(letters: set[str]) -> tuple[list[str], set[str]]:
    """Return names of installed fonts that have some letters, the most useful first, and the letters that none has."""
    from matplotlib.font_manager import fontManager

    left, families = set(letters), []
    useful: dict[str, set[str]] = {}
    for entry in fontManager.ttflist:
        found = left & _letters_of(entry.fname) if not _UNUSABLE.search(entry.name) else set()
        if found and len(found) > len(useful.get(entry.name, ())):
            useful[entry.name] = found
    while left and useful:
        name = max(sorted(useful), key=lambda one: len(useful[one] & left))
        if not useful[name] & left:
            break
        families.append(name)
        left -= useful.pop(name)
    return families, left


def spelled(letter: str) -> str:
    """Return a letter in ASCII: its sound, its name, or its number in Unicode; nothing for a mark without a sound.

    Example:
        >>> [spelled(letter) for letter in "か한त🐕猫"]
        ['ka', 'han', 'ta', '(dog)', '(U+732B)']
    """
    name, kind = unicodedata.name(letter, ""), unicodedata.category(letter)
    sound = _SOUND.search(name)
    if sound:
        return sound.group(1).replace(" ", "").lower()
    if kind in ("Mn", "Cf"):
        return ""
    if kind == "So" and name:
        return f"({name.lower()})"
    return " " if kind in ("Cc", "Zs", "Zl", "Zp") else f"(U+{ord(letter):04X})"


def _tell(missing: set[str]) -> None:
    fresh = "".join(sorted(missing - _told, key=ord))
    if fresh.strip():
        _told.update(fresh)
        shown = ", ".join(f"{letter!r} as {spelled(letter)!r}" for letter in fresh[:5]) + (", ..." if fresh[5:] else "")
        _LOG.warning(
            "No installed font has %d letters of the names in a picture, which spells them: %s. A font such as Noto "
            "(fonts-noto-cjk for Chinese, Japanese and Korean) draws them.", len(fresh), ascii_of(shown),
        )  # fmt: skip


def ascii_of(text: str) -> str:
    """Return a text that any terminal can show."""
    return text.encode("ascii", "backslashreplace").decode()


def _texts(figure: Figure) -> list[Any]:
    from matplotlib.text import Text

    return figure.findobj(Text)


def _use(figure: Figure, families: list[str]) -> None:
    for text in _texts(figure):
        text.set_fontfamily(families)
    for ax in figure.axes:
        ax.tick_params(axis="both", labelfontfamily=families)


def _base_font() -> str:
    from matplotlib.font_manager import FontProperties, findfont

    return str(findfont(FontProperties()))


def _base_family() -> str:
    from matplotlib.font_manager import get_font

    return str(get_font(_base_font()).family_name)


@cache
def _letters_of(path: str) -> frozenset[str]:
    from matplotlib.font_manager import get_font

    try:
        numbers: Iterable[int] = get_font(path).get_charmap()
    except (OSError, RuntimeError, ValueError):  # a damaged font is as good as none
        return frozenset()
    return frozenset(map(chr, numbers))
