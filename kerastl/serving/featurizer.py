"""Of a head that ships alone: its backbone, run in this process, turns texts into the features that the head takes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.features.compute import BATCH
from kerastl.features.engines.tensorflow import large_engine
from kerastl.features.layout import as_stored, row_shape
from kerastl.features.resources import fitting_batch
from kerastl.inputs import Batch
from kerastl.versions.large import backbone_of


class Featurizer:
    """The backbone of a version, in this process: texts in UTF-8 to the rows that the version's head takes."""

    def __init__(self, run: dict[str, Any]) -> None:
        self._backbone = backbone_of(run)
        self._batch_size = fitting_batch(self._backbone, BATCH)
        self._engine = large_engine(self._backbone.model, self._backbone.large)
        self._shape = row_shape(self._backbone)

    @property
    def at_once(self) -> int:
        """How many texts to ask for at a time: of a network that is streamed, which reads all its weights each time,
        as many as 1 GiB of their features is."""
        return BATCH if self._engine.stream is None else max(BATCH, 2**30 // (4 * math.prod(self._shape)))

    def __call__(self, contents: Sequence[Any]) -> NDArray[np.float32]:
        """[len(contents), *shape] float32, rounded as the cache rounds what trained the head."""
        step = self._batch_size
        batches = [self._batch(contents[start:start + step]) for start in range(0, len(contents), step)]
        found = [as_stored(batch.merged(pieces), self._shape) for batch, pieces in
                 zip(batches, self._engine.through(batch.values for batch in batches), strict=True)]
        return np.concatenate(found).astype(np.float32)

    def _batch(self, contents: Sequence[Any]) -> Batch:
        tokens, owners = self._backbone.input.decode(tf.constant(list(contents)))
        return Batch([*range(len(contents))], tokens.numpy(), None if owners is None else owners.numpy())
