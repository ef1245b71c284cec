"""Render pages from the templates of this folder; each page is one HTML file with its style and scripts inside.

The content security policy of a page lets only these very scripts and styles run (by their SHA-256) and, unless
`images` or `connect` say so, loads and sends nothing. Style attributes are refused, too: use classes.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from engine.core.colours import COLOURS, colour_number

if TYPE_CHECKING:
    from jinja2 import Environment

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http%3A//www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='4' fill='%231558c0'/%3E"
    "%3Ccircle cx='8' cy='8' r='3.4' fill='%23fff'/%3E%3C/svg%3E"
)


def render_page(
    template: str,
    *,
    mark: str,
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
    data: Mapping[str, object] | None = None,
    images: str = "data:",
    connect: bool = False,
    files_beside: bool = False,
    **values: object,
) -> str:
    """Return a page as HTML.

    template: a file of this folder that extends `base.html.j2`. mark: which command made it. scripts, styles: files of
    this folder, after those that all pages have. data: for the scripts, which read it from `#data`. images: where
    pictures come from, as `img-src` of the policy. connect: whether scripts may ask the server of the page.
    files_beside: whether scripts in files beside the page may run, which hold data. values: what the template needs.
    """
    from markupsafe import Markup

    style = "\n".join((_read("style.css"), _concept_colours(), *map(_read, styles)))
    code = [_read(name) for name in scripts]
    policy = content_policy(style, code, images=images, connect=connect, files_beside=files_beside)
    return (
        environment()
        .get_template(template)
        .render(
            mark=mark,
            icon=ICON,
            policy=policy,
            style=Markup(style),  # files of this package
            scripts=[Markup(c) for c in code],
            data=data,
            **values,
        )
    )


def content_policy(
    style: str, scripts: Sequence[str], *, images: str, connect: bool, files_beside: bool = False
) -> str:
    """Return the content security policy of a page: its own style and scripts, and nothing else.

    For files beside a page that was opened from disk, `'self'` means nothing in some browsers: `file:` is needed, too.
    """
    sources = [*map(_source, scripts), *(("'self'", "file:") if files_beside else ())]
    allowed = {
        "default-src": "'none'",
        "style-src": _source(style),
        "script-src": " ".join(sources) or "'none'",
        "img-src": images if "data:" in images else f"data: {images}",
        "connect-src": "'self'" if connect else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def environment() -> "Environment":
    """Return the templates of this folder: values are escaped, and one that is missing is an error."""
    from jinja2 import DictLoader, Environment, StrictUndefined

    names = [f.name for f in files(__package__).iterdir() if f.name.endswith(".j2")]
    env = Environment(
        loader=DictLoader({name: _read(name) for name in names}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["colour_class"] = colour_class
    return env


@cache
def _read(name: str) -> str:
    """Return a file of this package."""
    return files(__package__).joinpath(name).read_text("utf-8")


def colour_class(name: str) -> str:
    """Return the class that gives an element a concept's colour as `--concept`."""
    return f"colour-{colour_number(name)}"


def _concept_colours() -> str:
    return "\n".join(f".colour-{n} {{ --concept: {colour}; }}" for n, colour in enumerate(COLOURS))


def plain_text(name: Any) -> str:
    """Return a name or path for display; bytes that are not UTF-8 appear as escapes."""
    return str(name).encode("utf-8", "backslashreplace").decode()
