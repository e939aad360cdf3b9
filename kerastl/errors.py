"""Every error that a user can cause, as one tree. The shell prints the message and exits with `exit_code`.

    KerastlError                2   bad usage or bad input
    ├── DataError                   the source: no such path, one class, nothing can be decoded, too few rows
    ├── WeightsError                the backbone's weights: unknown name, failed download, wrong file
    ├── ModelError                  a model folder: not written by kerastl, damaged, or for another modality
    ├── OptionError                 the value of an argument, a head that does not fit, an unknown name
    └── CheckFailed             1   the work was done and failed a check of its own: parity, verify, doctor

A message names arguments in backquotes: "`max_length` must be at least 8 (got 3)". In Python it is printed as it is;
the shell prints the flag, --max-length.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kerastl.display import visible


class KerastlError(Exception):
    """One message in up to three parts: what was received, what was expected, and how to fix it. Control characters
    that come from names are escaped."""

    exit_code = 2

    def __init__(self, got: str, expected: str = "", hint: str = "") -> None:
        self.got, self.expected, self.hint = got, expected, hint
        parts = (("expected", expected), ("to fix", hint))
        super().__init__(visible("\n".join([got, *(f"  {name}: {text}" for name, text in parts if text)])))

    @property
    def line(self) -> str:
        """The message in one line, for a list of several."""
        more = [f"expected {self.expected}"] * bool(self.expected) + [self.hint] * bool(self.hint)
        return "; ".join([self.got, *more])


class DataError(KerastlError):
    """The source cannot be used as it is."""


class WeightsError(KerastlError):
    """The backbone's weights are missing, or are not what they should be."""


class ModelError(KerastlError):
    """A folder is not a model that kerastl wrote, or is damaged."""


class OptionError(KerastlError):
    """The value of an argument is unknown or does not fit the others."""


class CheckFailed(KerastlError):
    """The work ran to its end and failed a check of its own."""

    exit_code = 1


def all_of(faults: Sequence[KerastlError]) -> OptionError:
    """One error for everything that is wrong with the arguments: a line for each fault. faults: one or more."""
    if len(faults) == 1:
        fault = faults[0]
        return OptionError(fault.got, fault.expected, fault.hint)
    return OptionError("\n".join([f"{len(faults)} options cannot be used", *(f"  - {fault.line}" for fault in faults)]))


def unknown(what: str, name: str, known: Iterable[str], where: str = "") -> OptionError:
    """The error for an unknown name, with the closest known one. where: the command or page that lists the known ones,
    if the message does not list them all."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"list them: {where}" if where else "choose one of them"
    listed = ", ".join(known) if len(known) <= 20 else f"{len(known)} names, among them {', '.join(known[:5])}"
    return OptionError(f"unknown {what} {name!r}", f"one of {listed}", hint)


def one_line(value: Any) -> str:
    """A value as a message shows it: its repr, in one line of at most 60 characters, and its type if that is long.
    Control characters and marks of direction in it are escaped."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}... ({type(value).__name__})"


def expect(kind: type | tuple[type, ...], what: str, **values: object) -> None:
    """Raises OptionError for the first argument that is not of this type, such as one in another's place. what: the
    type in words, and where such a value comes from."""
    for name, value in values.items():
        if not isinstance(value, kind):
            raise OptionError(f"`{name}` is {one_line(value)}", what, "check the order and the names of the arguments")


Rule = tuple[str, str, Callable[[Any], bool]]  # an argument, what it must be, and whether a value is that


def one_of(name: str, choices: Iterable[str]) -> Rule:
    """The rule that an argument is one of these names."""
    names = tuple(choices)
    return name, f"one of {', '.join(names)}", lambda value: value in names


def at_least(number: int, *names: str) -> tuple[Rule, ...]:
    """The rules that arguments are None or not below a number."""
    return tuple((name, f"at least {number}", lambda value: value is None or value >= number) for name in names)


def broken(rules: Iterable[Rule], values: Mapping[str, Any]) -> list[KerastlError]:
    """An error for each rule that a value breaks. An argument without a value is not checked."""
    return [OptionError(f"`{name}` must be {what} (got {values[name]})") for name, what, holds in rules
            if name in values and not holds(values[name])]
