"""The maximum number of tokens per text: from the data by a rule, or as requested."""

from dataclasses import replace

import numpy as np

from kerastl.backbones import BACKBONE, Backbone
from kerastl.data.examples import EXAMPLES, TEST, Examples
from kerastl.errors import OptionError, expect
from kerastl.inputs import TokenLengths
from kerastl.inputs.texts import LONG, Texts

STEP = 16
USUAL = 128  # tokens, where the length may not depend on the data


def fit_length(backbone: Backbone, examples: Examples, max_length: int | None = None, long: str = "head") -> Backbone:
    """The backbone with its texts truncated at `max_length` tokens. Default: the 99th percentile of token counts over
    the rows that are not test rows, rounded up to 16, and at most what the network can take. Labels are not used.

    long: `head`, `head+tail` (the first half and the last), or `chunks` (windows whose features are averaged).
    Raises OptionError for an unknown `long`, chunks of pairs, a length that the network cannot take, or a backbone that
    is not for texts.
    """
    expect(Backbone, BACKBONE, backbone=backbone)
    expect(Examples, EXAMPLES, examples=examples)
    expect((int, type(None)), "a number of tokens", max_length=max_length)
    source = backbone.input
    if not isinstance(source, Texts):
        raise OptionError(f"{backbone.name} takes {backbone.spec.modality.nouns}, which have no length",
                          "a backbone for texts", "omit this step")
    pair = isinstance(examples.items[0], tuple)
    if long not in LONG:
        raise OptionError(f"`long` is {long!r}", f"one of {', '.join(LONG)}", "head is the default")
    if long == "chunks" and pair:
        raise OptionError("`long` is 'chunks', with pairs of texts", "head or head+tail", "head is the default")
    most = source.max_length  # as loaded: the network's positions
    if max_length is not None and not 8 <= max_length <= most:
        raise OptionError(f"`max_length` must be from 8 to {most}, the limit of {backbone.name} (got {max_length})", "",
                          "omit it for a length that fits the data")
    counts = replace(source, pair=pair).counts(examples.items)
    free = counts[examples.split.part != TEST] if examples.split and examples.split.mode != "cv" else counts
    p99 = int(np.ceil(np.quantile(free, 0.99)))
    length = max_length or min(most, max(STEP, -(-p99 // STEP) * STEP))
    measured = TokenLengths(int(np.median(free)), p99, int(counts.max()), len(counts), int((counts > length).sum()))
    return backbone.taking(replace(source, max_length=length, long=long, pair=pair, measured=measured))


def fixed_length(backbone: Backbone, pair: bool, max_length: int | None = None, long: str = "head") -> Backbone:
    """As `fit_length`, without looking at the texts: `max_length`, default USUAL, at most what the network can take.
    pair: whether an input is a pair of texts. Raises OptionError as `fit_length`."""
    source = backbone.input
    if not isinstance(source, Texts):
        raise OptionError(f"{backbone.name} takes {backbone.spec.modality.nouns}, which have no length",
                          "a backbone for texts", "omit this step")
    most = source.max_length
    if long not in LONG or (long == "chunks" and pair):
        raise OptionError(f"`long` is {long!r}", f"one of {', '.join(LONG)}; chunks not for pairs",
                          "head is the default")
    if max_length is not None and not 8 <= max_length <= most:
        raise OptionError(f"`max_length` must be from 8 to {most}, the limit of {backbone.name} (got {max_length})")
    return backbone.taking(replace(source, max_length=max_length or min(most, USUAL), long=long, pair=pair))
