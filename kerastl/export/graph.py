"""From what a client sends to logits or features: the steps that the signatures of a SavedModel share."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kerastl.evaluation.rejection import Detector
from kerastl.explanation.exact import ActivationMaps, activation_maps
from kerastl.export.chunks import checked_shape, in_chunks
from kerastl.export.explained import exact_parts
from kerastl.export.unknown import unknown_score
from kerastl.features.engines.fusable import fusable
from kerastl.inputs import Input, floats
from kerastl.model import Parts


class ServedGraph:
    """The graph of a spliced model. parts: of a model that takes what `source` decodes to. detector: of inputs of no
    known class; with it, `unknown_score` is one more column of what `answers` and `sent` return.

    values: one row for each input, or for a text in pieces one row for each piece; owners then names the text of each.
    """

    def __init__(self, parts: Parts, source: Input, detector: Detector | None) -> None:
        self.parts, self.source, self.detector = parts, source, detector
        self.maps = activation_maps(parts)
        backbone = fusable(parts.backbone) if self.maps is None else self.maps.network

        # Functions of their own, so that the graph of each is stored once, however many signatures call it.
        @tf.function(input_signature=[source.raw_spec], autograph=False)
        def values_of(sent: tf.Tensor) -> list[tf.Tensor]:
            return [part for part in source.decode(sent) if part is not None]

        @tf.function(input_signature=[source.spec], autograph=False)
        def places(values: tf.Tensor) -> tf.Tensor:
            return tf.cast(backbone(floats(values), training=False), tf.float32)

        self._values_of, self._places = values_of, places

    def features(self, values: tf.Tensor, *owners: tf.Tensor) -> tf.Tensor:
        """What the backbone returns, [batch, dim]; of a text in pieces, the mean of its pieces."""
        pieces = in_chunks(self._network, values)
        return tf.math.segment_mean(pieces, *owners) if owners else pieces

    def answers(self, values: tf.Tensor, *owners: tf.Tensor) -> tf.Tensor:
        """Logits, [batch, outputs]."""
        if owners:
            return self._head(self.features(values, *owners), values)
        return in_chunks(self._answers, values)

    def sent(self, sent: tf.Tensor, with_head: bool) -> tf.Tensor:
        """`answers`, or `features`, of what a client sends."""
        raw = checked_shape(sent, self.source.raw_spec)
        if self.source.spec.shape[1:].is_fully_defined():
            return in_chunks(self._of_values(self._answers if with_head else self._network), raw)
        values = self._values_of(raw)  # all rows at once: they have to be padded to one length first
        return self.answers(*values) if with_head else self.features(*values)

    def explanations(self, maps: ActivationMaps, sent: tf.Tensor) -> tf.Tensor:
        """What `exact_parts` returns of what a client sends. maps: `self.maps`."""
        run = self._of_values(lambda values: exact_parts(maps, self.parts, self._places(values), values))
        return in_chunks(run, checked_shape(sent, self.source.raw_spec))

    def _of_values(self, run: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], Any]:
        def decoded(sent: tf.Tensor) -> tf.Tensor:
            (values,) = self._values_of(sent)
            return run(values)

        return decoded

    def _network(self, values: tf.Tensor) -> tf.Tensor:
        return self._places(values) if self.maps is None else tf.reduce_mean(self._places(values), [1, 2])

    def _answers(self, values: tf.Tensor) -> tf.Tensor:
        return self._head(self._network(values), values)

    def _head(self, features: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(self.parts.logits(features, floats(values)), tf.float32)
        if self.detector is None:
            return logits
        return tf.concat([logits, unknown_score(self.detector, features, logits)[:, None]], axis=1)
