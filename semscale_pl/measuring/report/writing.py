"""Put a measurement, the page's text, its style and its scripts into one file."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from pathlib import Path

from semscale_pl.files import strict_json, write_text
from semscale_pl.measuring.measurement import Measurement
from semscale_pl.measuring.report.content import page_data, shown_part, title_of
from semscale_pl.measuring.report.sample_strips import samples_data
from semscale_pl.measuring.report.thumbnails import Gallery, Picture, sizes_in_words

PAGE = Path(__file__).resolve().parent / "page"
MOST_BYTES = 4_900_000
# Set aside for row numbers and names of the samples beside their pictures.
_NAMES_BYTES = 300_000
# In the order in which they are joined: what a script uses stands before it.
SCRIPTS = ("format", "svg", "table", "bars", "scatter", "radar", "spectra", "neighbours", "samples", "download", "main")


def write_report(
    measurement: Measurement,
    path: Path,
    *,
    picture: Picture | None = None,
    names: Mapping[int, str] | None = None,
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write one HTML file below 5 MB that shows a measurement and needs nothing else: no network, no second file.

    The file's content security policy allows its own style and scripts, by their digests, and pictures that it holds
    itself, and nothing besides, so that neither a class name nor a notice can load or run anything.

    Args:
        measurement: what to show.
        path: of the file, which is returned; missing folders are made, an old file is replaced in one step.
        picture: gives the picture of a sample by its row number; without, samples are shown by their numbers.
        names: what samples are called, by row number.
        about: further lines of the page's head.
    """
    measurement = shown_part(measurement)
    data = page_data(measurement)
    gallery = Gallery(picture) if picture else None
    left = MOST_BYTES - len(embedded(data)) - sum(file.stat().st_size for file in PAGE.iterdir())
    data["samples"] = samples_data(measurement, gallery, names or {}, max(0, left - _NAMES_BYTES))
    data["about"] += [[key, text] for key, text in (about or {}).items()]
    if gallery and gallery.sizes:
        data["about"].append(["images as read", sizes_in_words(gallery.sizes)])
    style = (PAGE / "report.css").read_text(encoding="utf-8")
    script = joined_scripts()
    own = f"style-src {_digest(style)}; script-src {_digest(script)}"
    parts = {
        "title": html.escape(title_of(measurement)),
        "policy": f"default-src 'none'; img-src data:; {own}; base-uri 'none'",
        "style": style,
        "data": embedded(data),
        "script": script,
    }
    page = (PAGE / "report.html").read_text(encoding="utf-8")
    # One pass over the page alone, so that nothing inside the data is taken for a place to fill.
    return write_text(path, re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found.group(1)], page))


def joined_scripts() -> str:
    """Return all scripts in one function, so that they share names with each other and with nothing else."""
    texts = [(PAGE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join(['(() => {\n"use strict";', *texts, "})();"])


def embedded(content: object) -> str:
    r"""Return strict JSON that cannot end the element it stands in, whatever strings it holds.

    Example:
        >>> embedded(["</script>", float("nan")])
        '["\\u003c/script\\u003e",null]'
    """
    text = strict_json(content, ascii_only=True)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
