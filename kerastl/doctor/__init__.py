"""What is commonly wrong in a transfer-learning model, found and named: `kerastl doctor`.

Each check is a function of real objects (networks, numbers) that gives one Finding, and leaves them as they were.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnosis:
    """What one check found. ok: None where it cannot tell; `word` says why. do: what helps, "" where nothing is wrong.
    """

    name: str
    ok: bool | None
    word: str
    do: str = ""


def not_looked_at(name: str, why: str) -> Diagnosis:
    """The finding of a check that lacks what it needs."""
    return Diagnosis(name, None, f"not looked at: {why}")


def some(names: list[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
