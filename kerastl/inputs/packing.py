"""From token ids to what a network takes: special tokens added, truncated, padded to the longest in the batch."""

from typing import Any

import tensorflow as tf

from kerastl.errors import OptionError
from kerastl.inputs.tokenizer import Tokenizer

Ids = Any  # a tf.RaggedTensor [n, None], or a tuple of two


def lengths(ids: Ids, tokenizer: Tokenizer) -> tf.Tensor:
    """The tokens of each text or pair before truncation, special ones included. [n] int32."""
    pair = isinstance(ids, tuple)
    parts = ids if pair else (ids,)
    return tf.add_n([tf.cast(part.row_lengths(), tf.int32) for part in parts]) + special(tokenizer, pair)


def special(tokenizer: Tokenizer, pair: bool = False) -> int:
    """The number of special tokens in a row."""
    return len(tokenizer.start) + (len(tokenizer.between) if pair else 0) + len(_end(tokenizer, pair))


def pack(ids: Ids, tokenizer: Tokenizer, max_length: int, long: str = "head") -> tuple[tf.Tensor, tf.Tensor]:
    """Pack texts into rows, in the graph. ids: [n, None], or two of them for pairs.

    Returns tokens, [w, longest] int32 padded with `pad`, and owners, [w] int32 ascending: the text of each row. A text
    that does not fit is truncated to its "head"; to "head+tail", as many tokens from its beginning as from its end (one
    more if the number is odd; Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?"); or split into
    "chunks", consecutive rows that contain every token, at least one per text. Of a pair that does not fit, the longer
    text is truncated first, then both equally, like Hugging Face's `longest_first`; each keeps its head, or head and
    tail. Raises OptionError if no token of text would fit, and for chunks of pairs.
    """
    pair = isinstance(ids, tuple)
    room = max_length - special(tokenizer, pair)
    end = _end(tokenizer, pair)
    if room < 1:
        raise OptionError(f"`max_length` is {max_length}", f"{max_length - room + 1} or more, because "
                          f"{max_length - room} tokens are special", "increase `max_length`")
    if long not in ("head", "head+tail", "chunks") or (long == "chunks" and pair):
        raise OptionError(f"`long` is {long}{' for pairs of texts' if pair else ''}",
                          "head or head+tail; for single texts also chunks", "choose one of them")
    if isinstance(ids, tuple):
        first, second = _fitted(ids[0], ids[1], room, long)
        rows, owners = _joined(tokenizer.start, first, tokenizer.between, second, end), None
    elif long == "chunks":
        windows, owners = _windows(ids, room)
        rows = _joined(tokenizer.start, windows, end)
    else:
        rows, owners = _joined(tokenizer.start, _cut(ids, room, long), end), None
    tokens = rows.to_tensor(tokenizer.pad)
    return tokens, tf.range(tf.shape(tokens)[0]) if owners is None else owners


def rest(ids: Ids, tokenizer: Tokenizer, max_length: int, long: str, beyond: int) -> tf.Tensor:
    """The tokens that `pack` leaves out of texts truncated to their head, or to head and tail: in order, at most
    `beyond` of each. [n, most of a row] int32 padded with `pad`; of pairs, those of the first text come first."""
    room = max_length - special(tokenizer, isinstance(ids, tuple))
    if isinstance(ids, tuple):
        rooms = _rooms(ids[0], ids[1], room)
        parts = [_cut(part, size, long, kept=False) for part, size in zip(ids, rooms, strict=True)]
        left = tf.concat(parts, 1)
    else:
        left = _cut(ids, room, long, kept=False)
    return left[:, :beyond].to_tensor(tokenizer.pad)


def _end(tokenizer: Tokenizer, pair: bool) -> tuple[int, ...]:
    return tokenizer.pair_end if pair and tokenizer.pair_end is not None else tokenizer.end


def _joined(*parts: Any) -> tf.RaggedTensor:
    """Concatenate along the row: ragged parts as they are, ids repeated for every row."""
    rows = next(part for part in parts if isinstance(part, tf.RaggedTensor)).nrows()
    return tf.concat([part if isinstance(part, tf.RaggedTensor) else tf.tile([part], [rows, 1]) for part in parts
                      if isinstance(part, tf.RaggedTensor) or part], 1)


def _cut(ids: tf.RaggedTensor, room: Any, long: str, kept: bool = True) -> tf.RaggedTensor:
    """At most `room` tokens of each row, or the others. room: a number, or [n]."""
    sizes, rows = ids.row_lengths(), ids.value_rowids()
    room = tf.broadcast_to(tf.cast(room, sizes.dtype), tf.shape(sizes))
    tail = room // 2 if long == "head+tail" else tf.zeros_like(room)
    places = tf.range(tf.size(ids.values, sizes.dtype)) - tf.gather(ids.row_splits, rows)
    fits = (places < tf.gather(room - tail, rows)) | (places >= tf.gather(sizes - tail, rows))
    lengths = tf.minimum(sizes, room)
    mask, lengths = (fits, lengths) if kept else (~fits, sizes - lengths)
    return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(ids.values, mask), lengths, validate=False)


def _fitted(first: tf.RaggedTensor, second: tf.RaggedTensor, room: int, long: str
            ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Two texts truncated to fit in `room` together."""
    of_first, of_second = _rooms(first, second, room)
    return _cut(first, of_first, long), _cut(second, of_second, long)


def _rooms(first: tf.RaggedTensor, second: tf.RaggedTensor, room: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The room of each of two texts, [n] each. The shorter one stays whole if it takes at most half the room."""
    a, b = first.row_lengths(), second.row_lengths()
    shorter = tf.minimum(a, b)
    longer = tf.maximum(shorter, room - shorter)
    half = tf.cast(room // 2, a.dtype)
    both = shorter + longer > room
    shorter, longer = tf.where(both, half, shorter), tf.where(both, room - half, longer)
    return tf.where(a > b, longer, shorter), tf.where(a > b, shorter, longer)


def _windows(ids: tf.RaggedTensor, room: int) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Rows of `room` tokens, of which the last of a text may be shorter, and their owners."""
    counts = tf.maximum(-(-ids.row_lengths() // room), 1)
    owners = tf.repeat(tf.range(ids.nrows(), dtype=counts.dtype), counts)
    before = tf.gather(tf.cumsum(counts, exclusive=True), owners)  # windows of earlier texts
    starts = tf.gather(ids.row_splits, owners) + room * (tf.range(tf.size(owners, counts.dtype)) - before)
    splits = tf.concat([starts, ids.row_splits[-1:]], 0)
    return tf.RaggedTensor.from_row_splits(ids.values, splits, validate=False), tf.cast(owners, tf.int32)
