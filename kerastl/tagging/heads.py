"""Heads that tag words: from the states of a sentence's words to a score of each tag."""

from collections.abc import Callable
from typing import Any

from kerastl.errors import unknown

DROPOUT = 0.33
LSTM, WIDTH, ATTENTION_HEADS = 128, 256, 8


def build_head(name: str, shape: tuple[int, int], tags: int) -> Any:
    """A keras.Model of [states [n, words, layers, dim], mask [n, words]] -> logits [n, words, tags] float32.

    name: one of HEADS. shape: of a word's states, (layers, dim). Raises OptionError for another name.
    """
    import keras

    from kerastl.tokens.layers import ScalarMix

    check_head(name)
    states = keras.Input((None, *shape), name="states")
    mask = keras.Input((None,), name="mask")
    x = ScalarMix(name="mix")(states)
    x = keras.layers.Dropout(DROPOUT)(x)
    x = HEADS[name](x, mask)
    logits = keras.layers.Dense(tags, name="tags")(x)
    return keras.Model([states, mask], logits, name=name)


def check_head(name: str) -> None:
    """Raises OptionError for an unknown head."""
    if name not in HEADS:
        raise unknown("head", name, HEADS)


def _linear(x: Any, mask: Any) -> Any:
    """Each word by itself: its state has seen the sentence in the encoder."""
    return x


def _bilstm(x: Any, mask: Any) -> Any:
    """A bidirectional LSTM over the words (Graves and Schmidhuber 2005)."""
    import keras
    from keras import ops

    lstm = keras.layers.Bidirectional(keras.layers.LSTM(LSTM, return_sequences=True), name="bilstm")
    return keras.layers.Dropout(DROPOUT)(lstm(x, mask=ops.cast(mask, "bool")))


def _transformer(x: Any, mask: Any) -> Any:
    """One Transformer block over the words; their order is in the states already."""
    import keras
    import keras_hub

    x = keras.layers.Dense(WIDTH, name="narrow")(x)
    block = keras_hub.layers.TransformerEncoder(2 * WIDTH, ATTENTION_HEADS, dropout=0.1, name="block")
    return block(x, padding_mask=mask)


HEADS: dict[str, Callable[[Any, Any], Any]] = {"linear": _linear, "bilstm": _bilstm, "transformer": _transformer}
