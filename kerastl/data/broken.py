"""Records that cannot be used, with what is known of them, so that their loss can be counted by class."""

from collections.abc import Mapping, Sequence
from typing import Any


class Broken(str):
    """Why a record is broken. first, last: its cells by column, in the order of the columns, counted from the first and
    from the last cell. They differ if there are too many cells, most often because of delimiters in a text."""

    first: Mapping[str, Any]
    last: Mapping[str, Any]

    def __new__(cls, reason: str, first: Mapping[str, Any] | None = None, last: Mapping[str, Any] | None = None
                ) -> "Broken":
        """The reason, and the cells as far as they are known."""
        broken = super().__new__(cls, reason)
        broken.first = first or {}
        broken.last = broken.first if last is None else last
        return broken


def broken_cells(reason: str, names: Sequence[str], cells: Sequence[str], width: int) -> Broken:
    """A broken record of cells. width: how many it should have, which may be more than there are names."""
    missing = [None] * (width - len(cells))
    first = dict(zip(names, [*cells, *missing], strict=False))
    if len(cells) <= width:
        return Broken(reason, first)
    return Broken(reason, first, dict(zip(names, cells[len(cells) - width:], strict=False)))


def value_in(broken: Broken, name: str, items: Sequence[str]) -> Any:
    """The probable value of a column: before the columns `items` counted from the first cell, behind them from the
    last."""
    order = list(broken.first)
    if name not in order:
        return None
    before = all(order.index(name) < order.index(item) for item in items if item in order)
    return (broken.first if before else broken.last).get(name)
