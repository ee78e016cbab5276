"""Pages that people open from a folder: strict templates, one look, and a policy that lets nothing in from outside."""

from __future__ import annotations

import base64
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(folder: Path, *, html: bool) -> Environment:
    """Return jinja2's environment for the templates in ``folder``; a name that the context lacks is an error.

    With ``html`` every value is escaped; Markdown is left as it is.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=html,
    )


def style_of(sheet: Path) -> str:
    """Return the style sheet of a page: the look that all pages share, then the page's own."""
    return "".join(path.read_text(encoding="utf-8") for path in (Path(__file__).with_name("page.css"), sheet))


def content_policy(style: str, script: str | None = None) -> str:
    """Return a content security policy that allows this very style and script, embedded pictures, nothing else."""
    rules = ["default-src 'none'", f"style-src {_source(style)}"]
    if script is not None:
        rules.append(f"script-src {_source(script)}")
    return "; ".join([*rules, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"
