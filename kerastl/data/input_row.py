"""One input of a prediction: what is predicted on, or the reason why not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kerastl.data.rows import printable
from kerastl.errors import DataError


@dataclass(frozen=True)
class InputRow:
    """One input. name: how it is shown, a path or a text. item: the path of an image; a text or a pair of texts. error:
    why there is nothing to predict on; empty if there is. origin: what its source calls it. cells: of a row of a table,
    by column, where they are kept."""

    name: str
    item: Any = None
    error: str = ""
    origin: str = ""
    cells: Mapping[str, Any] = field(default_factory=dict, hash=False)


def broken_input(name: str, error: DataError | OSError, hint: str = "") -> InputRow:
    """The row of an input that cannot be opened. hint: what else to do, in words."""
    reason = error.line if isinstance(error, DataError) else f"{name}: {error.strerror or error}"
    reason += f"; {hint}" * (hint not in reason)
    return InputRow(printable(name), error=printable(reason))
