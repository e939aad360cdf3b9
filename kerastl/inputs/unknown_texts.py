"""Texts that a model cannot classify: empty ones, and those of which its vocabulary contains nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.inputs import EMPTY_TEXT, is_empty_text

UNKNOWN = "no known token: the model's vocabulary contains nothing of this text"
_SPACES = " \u2581\u0120"  # a space, as SentencePiece and byte-level BPE write it


class TextCheck:
    """Finds out why texts cannot be classified. source: the input of a model of texts."""

    def __init__(self, source: Any) -> None:
        tokenizer, tokens = source.tokenizer, source.tables()
        informative = np.array([i != tokenizer.unknown and bool(piece.strip(_SPACES))
                                for i, piece in enumerate(tokenizer.pieces)])

        def known(texts: tf.Tensor) -> tf.Tensor:
            ids = tokens(texts)
            found = tf.gather(tf.constant(informative), ids.values)
            return tf.reduce_any(tf.RaggedTensor.from_row_splits(found, ids.row_splits, validate=False), axis=1)

        self._known = tf.function(known, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    def __call__(self, contents: Sequence[bytes | list[bytes]]) -> list[str]:
        """For each text or pair, in UTF-8, why it cannot be classified; empty if it can."""
        pairs = [content if isinstance(content, list) else [content] for content in contents]
        parts = [part for pair in pairs for part in pair]
        if not parts:
            return []
        known = self._known(tf.constant(parts)).numpy().tolist()
        reasons = iter([_reason(part, is_known) for part, is_known in zip(parts, known, strict=True)])
        return [next(filter(None, [next(reasons) for _ in pair]), "") for pair in pairs]


def _reason(text: bytes, known: bool) -> str:
    if is_empty_text(text.decode("utf-8", "replace")):
        return EMPTY_TEXT
    return "" if known else UNKNOWN
