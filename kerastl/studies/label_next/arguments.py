"""Checks of the arguments, before anything is read. Nothing here imports TensorFlow."""

from kerastl.errors import OptionError, all_of, at_least, broken


def check_arguments(source: str | None, unlabelled: str | None, n: int, simulate: bool, repeats: int) -> None:
    """Raises one OptionError for all that is wrong with the arguments of `label_next`."""
    faults = broken((*at_least(1, "n", "repeats"),), {"n": n, "repeats": repeats})
    if source is None and simulate:
        faults.append(OptionError("`simulate` needs labels, and there is no labelled source", "a labelled source",
                                  "name it, or omit `simulate`"))
    if unlabelled is None and not simulate:
        faults.append(OptionError("there is nothing to choose from: `unlabelled` is missing",
                                  "a folder or a table of what has no label yet",
                                  "name it, or set `simulate` to try the choice on known labels"))
    if faults:
        raise all_of(faults)
