"""One self-contained page: headings, tables and inline figures, no link out.

The page is light or dark as its reader's system is, and needs no mouse. Its one script,
if it has any, is named by its hash in the page's own security policy.
"""

import base64
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Section:
    """One heading of a page and what stands under it; `body` is HTML."""

    name: str  # its anchor, unlike all others of the page
    title: str
    body: str


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """Returns a whole page; `title` and `lead` are plain text."""
    shown = [dataclasses.replace(s, body=markup(s.body)) for s in sections]
    return render("page.html", title=title, lead=lead, sections=shown)


def render(template: str, *, script: str = "", **values: object) -> str:
    """Returns a template filled in; what is no markup is escaped.

    Args:
      script: a file beside the templates; the page's policy allows it and no other.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    code = policy = ""
    if script:
        code = (_FOLDER / script).read_text("utf-8")
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        policy = f"; script-src 'sha256-{digest}'"
    return environment.get_template(template).render(
        script=markup(code), policy=markup(policy), **values
    )


def markup(text: str) -> Any:
    """Returns HTML that a template takes as it is."""
    from markupsafe import Markup

    return Markup(text)


def figure(svg: str, caption: str) -> str:
    """Returns a figure with its caption in plain text; wide ones scroll by keyboard."""
    return (
        f'<figure>\n<div class="wide" tabindex="0" role="group" '
        f'aria-label="Figure, scrolls sideways">\n{svg}\n</div>\n'
        f"<figcaption>{escape(caption)}</figcaption>\n</figure>"
    )


def table(caption: str, rows: Sequence[Mapping[str, object]]) -> str:
    """Returns a table with a column for each key of the first row."""
    return _wide(f"<table>\n<caption>{escape(caption)}</caption>{_rows(rows)}</table>")


def note(text: str) -> str:
    """Returns a paragraph of plain text."""
    return f"<p>{escape(text)}</p>\n"


def folded_table(caption: str, rows: Sequence[Mapping[str, object]]) -> str:
    """Returns the same under a summary that opens it, by mouse or by keyboard."""
    return folded(caption, _wide(f"<table>{_rows(rows)}</table>"))


def folded(summary: str, inner: str) -> str:
    """Returns HTML under a summary that opens it; `summary` is plain text."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n{inner}\n</details>"


def facts(caption: str, named: Mapping[str, object]) -> str:
    """Returns a table of two columns: names and their values."""
    body = "\n".join(
        f'<tr><th scope="row">{_words(name)}</th><td>{escape(str(value))}</td></tr>'
        for name, value in named.items()
    )
    return _wide(
        f"<table>\n<caption>{escape(caption)}</caption>\n<tbody>\n{body}\n</tbody>\n"
        "</table>"
    )


def _rows(rows: Sequence[Mapping[str, object]]) -> str:
    head = "".join(f'<th scope="col">{_words(name)}</th>' for name in rows[0])
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row.values()) + "</tr>"
        for row in rows
    )
    return f"\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"


def _words(name: str) -> str:
    return escape(name.replace("_", " "))


def _wide(content: str) -> str:
    return f'<div class="wide">\n{content}\n</div>'
