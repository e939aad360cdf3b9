"""Named entities in BIO: which spans of words a sequence of tags stands for."""

import re
from collections.abc import Iterable, Sequence

BIO = re.compile(r"O|[BI]-.+")
Span = tuple[int, int, str]  # first word, the word after the last, type


def is_bio(tags: Iterable[str]) -> bool:
    """Whether tags are those of spans: O, and B-TYPE or I-TYPE of at least one type."""
    names = set(tags)
    return all(BIO.fullmatch(name) for name in names) and names != {"O"} and bool(names)


def spans(tags: Sequence[str]) -> set[Span]:
    """The spans of a sentence, as CoNLL's evaluation reads them: I-TYPE without a span of its type before it begins one
    (Tjong Kim Sang and De Meulder 2003)."""
    found: set[Span] = set()
    start, kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        position, _, own = tag.partition("-")
        if kind and not (position == "I" and own == kind):
            found.add((start, place, kind))
            kind = ""
        if position != "O" and not kind:
            start, kind = place, own
    return found
