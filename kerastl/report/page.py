"""The HTML pages: a template beside this file, filled in. Whatever comes from data or flags is escaped."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2


def page(template: str, **values: Any) -> str:
    """A page, with the date as `made`. Raises jinja2.UndefinedError for a value that the template lacks."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(made=datetime.now(UTC).strftime("%d %B %Y"), **values)
