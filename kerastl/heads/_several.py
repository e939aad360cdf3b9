"""Several heads asked for at once: to compare them, or to search among them."""

from kerastl.errors import OptionError
from kerastl.heads import ROW, Head, head_of, heads

AUTO = "auto"


def parted(asked: str) -> list[str]:
    """Heads with commas between, one by one: `linear,mlp:hidden=64,dropout=0.2` is of two. A word with a `=` and no
    colon is one more setting of the head before it."""
    found: list[str] = []
    for word in asked.split(","):
        if found and "=" in word and ":" not in word:
            found[-1] += f",{word}"
        else:
            found.append(word)
    return found


def heads_of(asked: str) -> tuple[Head, ...]:
    """One head, several with commas between, or `auto`: all that take pooled features and nothing beside.

    Raises OptionError as `head_of` does, and for heads that take different features.
    """
    if asked == AUTO:
        return tuple(head for head in heads().values() if head.takes == ROW and head.side is None)
    found = tuple(head_of(one) for one in parted(asked))
    if len({head.takes for head in found}) > 1:
        raise OptionError(f"--head {asked}: some take pooled features and some do not", "heads that take the same",
                          "search them in two runs")
    return found


def free(head: Head) -> list[str]:
    """The settings that were not given, so that a search may choose them."""
    return [name for name in head.known() if name not in dict(head.given)]


def to_search(asked: str, trials: int) -> tuple[Head, ...]:
    """The heads that a search tries. Raises OptionError when there is nothing to choose, or fewer trials than heads."""
    found = heads_of(asked)
    if len(found) == 1 and not free(found[0]):
        raise OptionError(f"--search {trials} with --head {asked}: it has no setting left to search",
                          "a head with settings, several heads, or auto",
                          "give --head auto (the strength of linear's penalty is chosen in any case)")
    if trials < len(found):
        raise OptionError(f"--search {trials} for {len(found)} heads", f"{len(found)} or more: each is tried as it is "
                          "first", "give more trials, or fewer heads")
    return found
