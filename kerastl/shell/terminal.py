"""Tables for the terminal."""

from collections.abc import Sequence

from kerastl.display import visible_cell


def count_of(number: int, noun: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number} {noun}" + "s" * (number != 1)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first of which is the heading, as aligned text. Control characters in a cell are escaped."""
    rows = [[visible_cell(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in rows)
