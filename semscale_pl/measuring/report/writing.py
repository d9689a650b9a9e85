"""Put a measurement, the page's text, its style and its scripts into one file."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path

from semscale_pl.files import strict_json, write_text
from semscale_pl.measuring.measurement import Measurement
from semscale_pl.measuring.report.content import page_data, title_of

PAGE = Path(__file__).resolve().parent / "page"
# In the order in which they are joined: what a script uses stands before it.
SCRIPTS = ("format", "svg", "table", "bars", "scatter", "radar", "spectra", "neighbours", "main")


def write_report(measurement: Measurement, path: Path) -> Path:
    """Write one HTML file that shows a measurement and needs nothing else: no network, no second file.

    The file's content security policy allows its own style and scripts, by their digests, and nothing besides, so that
    neither a class name nor a notice can load or run anything.

    Args:
        measurement: what to show.
        path: of the file, which is returned; missing folders are made, an old file is replaced in one step.
    """
    style = (PAGE / "report.css").read_text(encoding="utf-8")
    script = joined_scripts()
    parts = {
        "title": html.escape(title_of(measurement)),
        "policy": f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; base-uri 'none'",
        "style": style,
        "data": embedded(page_data(measurement)),
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
