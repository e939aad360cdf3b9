"""How many tokens a backbone is given: by a rule from the data, or as asked for."""

from dataclasses import replace

import numpy as np

from kerastl.backbones import Backbone
from kerastl.data.examples import TEST, Examples
from kerastl.errors import OptionError
from kerastl.inputs.texts import LONG, Lengths, Texts

STEP = 16


def fit_length(backbone: Backbone, examples: Examples, max_length: int | None = None, long: str = "head") -> Backbone:
    """The backbone with its texts cut at `max_length` tokens. By default that is what holds 99 in 100 rows that do not
    judge, rounded up to 16, and at most what the network can take. No label plays a part.

    long: `head`, `head+tail` (the first half and the last), or `chunks` (windows whose features are averaged).
    Raises OptionError for an unknown `long`, chunks of pairs, or a length that the network cannot take.
    """
    source = backbone.input
    assert isinstance(source, Texts), "only texts have a length"
    pair = isinstance(examples.items[0], tuple)
    if long not in LONG:
        raise OptionError(f"--long {long}", f"one of {', '.join(LONG)}", "leave it out for head")
    if long == "chunks" and pair:
        raise OptionError("--long chunks with pairs of texts", "head or head+tail", "leave it out for head")
    most = source.max_length  # as loaded: the network's positions
    if max_length is not None and not 8 <= max_length <= most:
        raise OptionError(f"--max-length {max_length}", f"from 8 to {most}, what {backbone.name} can take", "change it")
    counts = replace(source, pair=pair).counts(examples.items)
    free = counts[examples.split.part != TEST] if examples.split and examples.split.mode != "cv" else counts
    p99 = int(np.ceil(np.quantile(free, 0.99)))
    length = max_length or min(most, max(STEP, -(-p99 // STEP) * STEP))
    measured = Lengths(int(np.median(free)), p99, int(counts.max()), len(counts), int((counts > length).sum()))
    return backbone.taking(replace(source, max_length=length, long=long, pair=pair, measured=measured))
