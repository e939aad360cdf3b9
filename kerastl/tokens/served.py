"""From strings to the states of words in the graph of an exported model: what models of any task on tokens share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kerastl.inputs.tokenizer import WHITESPACE, clean
from kerastl.tokens.align import Aligner, word_states
from kerastl.tokens.states import TokenEncoder


@dataclass(frozen=True)
class Read:
    """Sentences in the graph. words: [n, longest] string, "" beyond a sentence's end. mask: [n, longest] float32, 1 for
    a word. states: [n, longest, layers, dim] float32."""

    words: tf.Tensor
    mask: tf.Tensor
    states: tf.Tensor


class SentenceReader(tf.Module):
    """An encoder with its tokenizer, in the graph. It must be an attribute of the object that is saved."""

    def __init__(self, encoder: TokenEncoder) -> None:
        super().__init__()
        model, self._shape = encoder.backbone.model, encoder.shape
        self.weights = [variable.value for variable in model.variables]
        self.aligner: Aligner = encoder.aligner
        # Not an attribute of its own: what Keras tracks of a model would be saved a second time.
        self._features: Callable[[Any], Any] = lambda tokens: tf.cast(model(tokens, training=False), tf.float32)

    def of_texts(self, texts: tf.Tensor) -> Read:
        """Texts whose words are separated by whitespace, [n] string: the same words as of `sentences.words_of`."""
        return self._read(split_words(texts))

    def of_words(self, words: tf.Tensor) -> Read:
        """Sentences that are words already, [n, longest] string, "" beyond a sentence's end. An empty word before the
        end stays a word, which has no state."""
        sizes = tf.where(words == "", 0, tf.range(1, tf.shape(words)[1] + 1)[tf.newaxis])
        lengths = tf.reduce_max(tf.concat([tf.zeros_like(sizes[:, :1]), sizes], 1), axis=1)
        return self._read(tf.RaggedTensor.from_tensor(words, lengths=lengths))

    def states(self, tokens: tf.Tensor, owners: tf.Tensor, longest: tf.Tensor) -> tf.Tensor:
        """The states of the words of encoded sentences, see `align`. [n, longest, layers, dim] float32."""
        states = word_states(self._features(tokens), owners, longest)
        return tf.reshape(states, [tf.shape(tokens)[0], longest, *self._shape])

    def _read(self, words: tf.RaggedTensor) -> Read:
        lengths = tf.cast(words.row_lengths(), tf.int32)
        longest = tf.reduce_max(tf.concat([lengths, [1]], 0))  # a batch of empty texts has one empty word
        encoded = self.aligner(words)
        dense = words.to_tensor("", shape=[None, None])
        dense = tf.pad(dense, [[0, 0], [0, longest - tf.shape(dense)[1]]], constant_values="")
        mask = tf.sequence_mask(lengths, longest, tf.float32)
        return Read(dense, mask, self.states(encoded.tokens, encoded.owners, longest))


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """[n] string -> [n, None]."""
    return tf.strings.split(tf.strings.regex_replace(clean(texts), f"[{WHITESPACE}]", " "))


def numbers(mask: tf.Tensor) -> Any:
    """The words of each sentence, [n] int32, from their mask."""
    return tf.cast(tf.reduce_sum(mask, axis=1), tf.int32)
