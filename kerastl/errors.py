"""Every error a user can cause, as one tree. The shell prints the message and exits with `exit_code`.

    KerastlError                2   bad use or bad input
    ├── DataError                   the source: no such path, one class, nothing decodes, too few rows
    ├── WeightsError                the backbone's weights: unknown name, no download possible, wrong file
    ├── ModelError                  a model folder: not ours, damaged, another kind of input
    ├── OptionError                 a flag's value, a head that does not fit, names close to a known one
    └── CheckFailed             1   the work was done and failed its own test: parity, verify
"""

import difflib
from collections.abc import Iterable


class KerastlError(Exception):
    """One clear message in three parts: what came, what was wanted, what to do."""

    exit_code = 2

    def __init__(self, got: str, wanted: str = "", do: str = "") -> None:
        self.got, self.wanted, self.do = got, wanted, do
        lines = [got] + [f"  {name}: {text}" for name, text in (("wanted", wanted), ("do", do)) if text]
        super().__init__("\n".join(lines))


class DataError(KerastlError):
    """The source cannot be used as it is."""


class WeightsError(KerastlError):
    """The backbone's weights are not here, or not what they should be."""


class ModelError(KerastlError):
    """A folder is not a model of this kit, or is damaged."""


class OptionError(KerastlError):
    """An option's value is unknown or does not fit the others."""


class CheckFailed(KerastlError):
    """The work ran to its end and failed a check of its own."""

    exit_code = 1


def unknown(what: str, name: str, known: Iterable[str], where: str = "") -> OptionError:
    """The error for a name that is not among the known ones, with the closest of them. where: the command that lists
    them, by default the one named after them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"choose one of them: {where or f'kerastl {what}s'}"
    listed = ", ".join(known) if len(known) <= 20 else f"{len(known)} names, among them {', '.join(known[:5])}"
    return OptionError(f"unknown {what} {name!r}", f"one of {listed}", hint)
