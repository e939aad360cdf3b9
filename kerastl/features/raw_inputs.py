"""The raw inputs beside the features: one more space of the cache, for heads that look at both."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import Backbone
from kerastl.data.examples import Examples
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.compute import Features
from kerastl.features.fill import fill
from kerastl.inputs import check_unchanged, floats
from kerastl.inputs.texts import Texts
from kerastl.model import RAW_BRANCH, raw_branch_of, raw_of

BATCH = 64
MOST_TOKENS = 4096  # that a head takes, those of the network included
STEP = 16


def with_raw(features: Features, *, all_tokens: bool = False) -> Features:
    """The same features with `raw_rows`: what the model's raw branch makes of each input, from the cache or computed.
    all_tokens: for a head that also takes the tokens of a text which the network does not; then the backbone's input
    has them too, as many as the longest text needs, at most 4,096 in all.

    These are integers: images of at most 64 x 64 in uint8, texts as int32 tokens, padded with 0 to the maximum length.
    `computed` then counts these rows too. Raises OptionError for texts in chunks, DataError for an input that could be
    decoded before.
    """
    backbone = _with_all_tokens(features) if all_tokens else features.backbone
    branch, raw = raw_branch_of(backbone), raw_of(backbone)
    shape = tuple(int(size or backbone.input.single_spec.shape[1]) for size in raw.shape)
    version = f"{backbone.input.version}, 1"  # raise the number when the same input would give other rows
    space = Space(features.cache_dir, SpaceKey(RAW_BRANCH, "", version, "", "none", "int", shape,
                                      "uint8" if len(shape) > 1 else "int32"))

    def computed(some: Examples, refused: dict[int, str], progress: Any
                 ) -> Iterator[tuple[Sequence[int], NDArray[Any]]]:
        for batch in backbone.input.batches(some.items, BATCH, refused, progress, ids=some.ids):
            rows = np.asarray(branch(floats(batch.values)))
            yield batch.places, np.pad(rows, [(0, 0), (0, shape[0] - rows.shape[1]), *[(0, 0)] * (rows.ndim - 2)])

    examples = features.examples
    filled = fill(space, examples, features.keys or examples.ids, range(len(examples)), computed,
                  description="raw inputs")
    check_unchanged(examples.items, filled.refused)
    return replace(features, backbone=backbone, raw=raw, raw_space=space, computed=features.computed + filled.computed)


def _with_all_tokens(features: Features) -> Backbone:
    backbone, source = features.backbone, features.backbone.input
    if not isinstance(source, Texts) or source.long == "chunks":
        return backbone
    longest = source.measured.longest if source.measured else int(source.counts(features.examples.items).max())
    beyond = min(-(-longest // STEP) * STEP, MOST_TOKENS) - source.max_length
    return backbone.taking(replace(source, beyond=max(0, beyond)))
