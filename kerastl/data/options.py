"""How a source is read: which column has which role, and how labels are understood."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from kerastl.errors import OptionError, broken, one_of
from kerastl.files import source_path

NONE = "none"  # the value of a column argument that ignores that role
MULTI_LABEL = ("auto", "on", "off")
COLUMNS = ("text_column", "label_column", "path_column", "group_column", "split_column")


@dataclass(frozen=True)
class ReadOptions:
    """How a source is read. The fields are the arguments and flags of the same names.

    text_column: `a`, or `a,b` for pairs. label_column: `a`, or `a,b,c` for one column of 0 and 1 per label.
    path_column: of image files. group_column, split_column: default: the columns named `group` and `split`; `none`
    ignores them. For a folder, `split_column=none` takes folders named like splits as classes. multi_label: whether a
    row may have several labels: `on`, `off`, or `auto`. no_label: labels that mean "not labelled", separated by commas.
    strict: whether a large or one-sided loss of rows raises CheckFailed. relabel: a table of corrected labels, applied
    right after reading, see `data.relabel`.
    """

    text_column: str | None = None
    label_column: str | None = None
    path_column: str | None = None
    group_column: str | None = None
    split_column: str | None = None
    multi_label: str = "auto"
    no_label: str | None = None
    strict: bool = False
    relabel: str | None = None

    def __post_init__(self) -> None:
        """Raises OptionError for an unknown value of `multi_label`."""
        for fault in broken((one_of("multi_label", MULTI_LABEL),), asdict(self)):
            raise OptionError(fault.got, fault.expected, fault.hint)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "ReadOptions":
        """Those of a mapping's values that are options of reading, such as the flags of a recipe."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names and value is not None})

    def with_columns(self, **columns: str | None) -> "ReadOptions":
        """The same, with these columns where they are not None."""
        return self._with({name: value for name, value in columns.items() if value is not None})

    def over(self, other: "ReadOptions") -> "ReadOptions":
        """These options, with those of `other` where these have their defaults."""
        usual = asdict(READ_AS_USUAL)
        return other._with({name: value for name, value in asdict(self).items() if value != usual[name]})

    def for_source(self, source: str) -> "ReadOptions":
        """These options, taken over from other data: without columns where the source is a folder."""
        if not source_path(source).is_dir():
            return self
        return self._with({name: None for name, value in self.columns.items() if value != NONE})

    def _with(self, values: Mapping[str, Any]) -> "ReadOptions":
        return replace(self, **values)

    @property
    def columns(self) -> dict[str, str]:
        """The column arguments that are set."""
        return {name: value for name in COLUMNS if (value := getattr(self, name)) is not None}


READ_AS_USUAL = ReadOptions()
