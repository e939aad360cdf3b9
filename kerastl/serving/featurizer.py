"""The backbone of a head that was exported alone: run in this process, it turns texts into the features that the head
takes."""

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
from kerastl.versions.record import RunRecord


class Featurizer:
    """The backbone of a version, in this process: texts in UTF-8 to the rows that the version's head takes."""

    def __init__(self, record: RunRecord) -> None:
        self._backbone = backbone_of(record)
        self._step = fitting_batch(self._backbone, BATCH)
        self._engine = large_engine(self._backbone.model, self._backbone.large)
        self._shape = row_shape(self._backbone)

    @property
    def input(self) -> Any:
        """The input of the backbone: its tokenizer, and how texts are truncated."""
        return self._backbone.input

    @property
    def batch_size(self) -> int:
        """The best number of texts per call. A network that is streamed reads all its weights each time, so for
        that one it is as many as have 1 GiB of features."""
        return BATCH if self._engine.stream is None else max(BATCH, 2**30 // (4 * math.prod(self._shape)))

    def __call__(self, contents: Sequence[Any]) -> NDArray[np.float32]:
        """[len(contents), *shape] float32, rounded as the cached features that the head was trained on."""
        batches = [self._batch(contents[start:start + self._step]) for start in range(0, len(contents), self._step)]
        rows = [as_stored(batch.merged(pieces), self._shape) for batch, pieces in
                zip(batches, self._engine.through(batch.values for batch in batches), strict=True)]
        return np.concatenate(rows).astype(np.float32)

    def _batch(self, contents: Sequence[Any]) -> Batch:
        tokens, owners = self._backbone.input.decode(tf.constant(list(contents)))
        return Batch([*range(len(contents))], tokens.numpy(), None if owners is None else owners.numpy())
