"""Tables as pandas DataFrames, if pandas is installed; kerastl itself does not need it."""

from collections.abc import Mapping, Sequence
from typing import Any

from kerastl.errors import OptionError


def data_frame(columns: Any, index: Sequence[Any] | None = None, columns_instead: str = "") -> Any:
    """A pandas.DataFrame. columns: the values of each name, or a square matrix with `index` as row and column labels.

    columns_instead: the alternative without pandas, for the message. Raises OptionError if pandas is not installed.
    """
    try:
        import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise OptionError("pandas is not installed", "pandas, for a DataFrame",
                          "pip install pandas" + (f", or use {columns_instead}" if columns_instead else "")) from error
    if isinstance(columns, Mapping):
        return pandas.DataFrame(dict(columns), index=index)
    return pandas.DataFrame(columns, index=index, columns=index)
