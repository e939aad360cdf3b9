"""Words and the pieces of a tokenizer, in the TensorFlow graph, for cached states and for an exported model alike."""

from dataclasses import dataclass

import tensorflow as tf

from kerastl.errors import OptionError
from kerastl.inputs.tokenizer import TokenIds, Tokenizer

PIECES = ("first", "mean")  # what stands for a word: the state of its first piece, or the mean over its pieces


@dataclass(frozen=True)
class Encoded:
    """Sentences as an encoder takes them. tokens: [n, length] int32, padded. owners: [n, length] int32, of each token
    the number of the word that it stands for, counted from 0 in its sentence; -1 for special tokens, for padding and
    for pieces that do not count."""

    tokens: tf.Tensor
    owners: tf.Tensor


class Aligner(tf.Module):
    """Tokenizes word by word. It must be an attribute of the object that is saved.

    max_length: tokens of a sentence, special ones included; pieces beyond are cut, so words may have none. pieces: one
    of PIECES. Raises OptionError for another one.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int, pieces: str = "first") -> None:
        super().__init__()
        if pieces not in PIECES:
            raise OptionError(f"`pieces` is {pieces}", f"one of {', '.join(PIECES)}", "omit `pieces` for first")
        self.tokenizer, self.max_length, self.pieces = tokenizer, max_length, pieces
        self._room = max_length - len(tokenizer.start) - len(tokenizer.end)
        self._ids = TokenIds(tokenizer)

    def __call__(self, words: tf.RaggedTensor) -> Encoded:
        """words: [n, None] string."""
        splits = tf.cast(words.row_splits, tf.int64)
        place = tf.range(tf.size(words.values, tf.int64)) - tf.gather(splits, tf.cast(words.value_rowids(), tf.int64))
        texts = words.values
        if self.tokenizer.kind == "bpe":  # its pieces contain the space before a word
            texts = tf.where(place > 0, tf.strings.join([" ", texts]), texts)
        pieces = self._ids(texts)  # [words, None]
        of_word = tf.cast(pieces.row_splits, tf.int64)
        rows = tf.cast(pieces.value_rowids(), tf.int64)
        owners = tf.cast(tf.gather(place, rows), tf.int32)
        if self.pieces == "first":
            number = tf.range(tf.size(pieces.values, tf.int64)) - tf.gather(of_word, rows)
            owners = tf.where(number == 0, owners, -1)
        sentences = tf.gather(of_word, splits)

        def packed(values: tf.Tensor, before: int | tuple[int, ...], after: int | tuple[int, ...], pad: int
                   ) -> tf.Tensor:
            ragged = tf.RaggedTensor.from_row_splits(values, sentences, validate=False)[:, :self._room]
            ends = [tf.tile([tf.constant(ids, tf.int32)], [ragged.nrows(), 1]) for ids in (before, after)]
            return tf.concat([ends[0], ragged, ends[1]], 1).to_tensor(pad)

        start, end = self.tokenizer.start, self.tokenizer.end
        tokens = packed(tf.cast(pieces.values, tf.int32), start, end, self.tokenizer.pad)
        return Encoded(tokens, packed(owners, (-1,) * len(start), (-1,) * len(end), -1))


def word_states(states: tf.Tensor, owners: tf.Tensor, longest: tf.Tensor) -> tf.Tensor:
    """The state of each word: the mean over the tokens that stand for it; zero for a word without any. states: [n,
    length, dim]; owners: [n, length] int32, see `Encoded`; longest: the words of the longest sentence. -> [n, longest,
    dim]."""
    n, dim = tf.shape(states)[0], states.shape[-1]
    if dim is None:  # in a graph that is shared by encoders of several sizes
        dim = tf.shape(states)[2]
    offsets = longest * tf.range(n)[:, tf.newaxis]
    ids = tf.reshape(tf.where(owners < 0, -1, owners + offsets), [-1])
    flat, segments = tf.reshape(states, [-1, dim]), n * longest
    sums = tf.math.unsorted_segment_sum(flat, ids, segments)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(ids, flat.dtype), ids, segments)
    return tf.reshape(sums / tf.maximum(counts, 1)[:, tf.newaxis], [n, longest, dim])
