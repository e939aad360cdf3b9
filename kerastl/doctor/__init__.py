"""Diagnosis of common mistakes in a transfer-learning model: `kerastl doctor`.

Each check is a function of real objects (networks, arrays) that returns one Diagnosis and leaves them unchanged.
"""

from dataclasses import dataclass

from kerastl.fields import Section, key


@dataclass(frozen=True)
class Diagnosis(Section):
    """What one check found. ok: None where it was skipped or cannot tell; `finding` says why. advice: how to fix it;
    empty if nothing is wrong."""

    name: str
    ok: bool | None
    finding: str = key("word")
    advice: str = key("do", default="")


def skipped(name: str, why: str) -> Diagnosis:
    """The diagnosis of a check that lacks what it needs."""
    return Diagnosis(name, None, f"skipped: {why}")


def first_few(names: list[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
