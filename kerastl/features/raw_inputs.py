"""The raw inputs beside the features: one more space of the cache, so that a head that looks at both trains from it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kerastl.backbones import Backbone
from kerastl.errors import DataError
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.compute import SEGMENT_ROWS, Features
from kerastl.inputs import floats
from kerastl.model import RAW_BRANCH, raw_branch_of, raw_of

BATCH = 64


def with_raw(features: Features, backbone: Backbone, *, cache_dir: Path) -> Features:
    """The same features with `raw_rows`: what the model's entrance makes of each input, from the cache or computed.

    They are whole numbers, kept as they are: images of at most 64 x 64 in uint8, texts as int32 tokens, filled up
    with 0 to the most length. `computed` counts the rows that were not in the cache, also these. Raises OptionError for
    texts in chunks, DataError for an input that could be read before.
    """
    entrance, raw = raw_branch_of(backbone), raw_of(backbone)
    shape = tuple(int(size or backbone.input.single_spec.shape[1]) for size in raw.shape)
    version = f"{backbone.input.version}, 1"  # raise the number when the same input would give other rows
    space = Space(cache_dir, SpaceKey(RAW_BRANCH, "", version, "", "none", "int", shape,
                                      "uint8" if len(shape) > 1 else "int32"))
    keys = features.keys or features.examples.ids
    first_of = {key: row for row, key in reversed(list(enumerate(keys))) if key not in space}
    todo = sorted(first_of.values())
    items = features.examples.take(todo).items
    refused: dict[int, str] = {}
    pending: list[tuple[list[str], np.ndarray]] = []

    def flush() -> None:
        if pending:
            space.append([key for some, _ in pending for key in some], np.concatenate([rows for _, rows in pending]))
            pending.clear()

    with tqdm(total=len(todo), desc="raw inputs", unit=f" {backbone.spec.modality.nouns}", disable=not todo) as bar:
        for batch in backbone.input.batches(items, BATCH, refused, bar.update):
            rows = np.asarray(entrance(floats(batch.values)))
            rows = np.pad(rows, [(0, 0), (0, shape[0] - rows.shape[1]), *[(0, 0)] * (rows.ndim - 2)])
            pending.append(([keys[todo[place]] for place in batch.places], rows))
            if sum(len(some) for some, _ in pending) >= SEGMENT_ROWS:
                flush()
        flush()
    for place, reason in refused.items():
        raise DataError(f"{items[place]} could be read before and cannot now: {reason}",
                        "inputs that stay while a model trains", "bring it back and run again")
    return replace(features, raw=raw, raw_space=space, computed=features.computed + len(todo))
