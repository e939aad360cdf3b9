"""The HTML pages: a template beside this file, filled in. Whatever comes from data or flags is escaped, also control
characters and marks that reverse the direction of text."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from kerastl.display import visible
from kerastl.errors import OptionError
from kerastl.files import check_writable, is_mirrored, local_path


def page(template: str, **values: Any) -> str:
    """A page, with the date as `made`. Raises jinja2.UndefinedError for a value that the template lacks."""
    return _filled(template, made=datetime.now(UTC).strftime("%d %B %Y"), **values)


def fragment(template: str, **values: Any) -> Markup:
    """A part of a page, escaped as the page is."""
    return Markup(_filled(template, **values))


def page_file(path: str, argument: str = "html") -> Path:
    """The file of a page, checked before the work begins. Raises OptionError, which names the argument, if it cannot be
    written there."""
    file = local_path(path)
    if file.suffix.lower() not in (".html", ".htm") or not (is_mirrored(file) or file.parent.is_dir()):
        raise OptionError(f"`{argument}` is {path}", "a file that ends in .html, in a folder that exists",
                          "choose another")
    check_writable(file, argument)
    return file


def _filled(template: str, **values: Any) -> str:
    return _templates().get_template(template).render(**values)


@cache
def _templates() -> jinja2.Environment:
    """The templates, each of which is compiled once."""
    return jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                              undefined=jinja2.StrictUndefined, trim_blocks=True, finalize=_shown)


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
