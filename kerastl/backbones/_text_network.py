"""The network that every text backbone is: token ids in, one row of features out.

Which tokens are padding, and which belong to the second text of a pair, is read from the ids inside the network. So it
has one input, saves like any Keras model, and converts to TFLite with builtin operations.
"""

from typing import Any

from kerastl.backbones import NO_POOLING
from kerastl.errors import OptionError

POOLINGS = ("mean", "cls", "pooled", "last", NO_POOLING)


def network(backbone: Any, *, pad: int, separator: int | None, pooling: str, pooler: bool, name: str = "text",
            layer: str = "") -> Any:
    """A keras.Model: tokens [batch, length] int32 -> features [batch, dim] float32. Any length up to `longest`.

    backbone: one of KerasHub's text backbones, or a plain model of its layers.
    pad: the id of padding, which stands at a row's end only.
    separator: the id that ends each text of a pair; None for a backbone that does not tell the two apart.
    pooling: `mean` of the last states of all tokens that are not padding, the special ones among them, as
    sentence-transformers pools (Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084); `cls`, the first token's
    last state; `pooled`, that through BERT's own dense layer and tanh; `last`, the last token's, which in a causal
    network has seen all others; `none`, all states [batch, length, dim], zero where a token is padding.
    pooler: whether that layer's weights are here. layer: the block whose states are taken, instead of the last.
    Raises OptionError for an unknown pooling, and for `pooled` without a pooler or not from the last block.
    """
    import keras
    from keras import ops

    if pooling not in POOLINGS:
        raise OptionError(f"pooling {pooling!r}", f"one of {', '.join(POOLINGS)}", "choose one of them")
    if pooling == "pooled" and layer:
        raise OptionError("pooling 'pooled' of a tap", "mean or cls", "choose one of them: the pooler is for the last "
                          "block's states")
    if pooling == "pooled" and not pooler:
        raise OptionError(f"pooling 'pooled' on {name}, whose weights have no trained pooler", "mean or cls",
                          "choose one of them")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    mask = ops.cast(ops.not_equal(tokens, pad), "int32")  # [batch, length], 1 where a token is not padding
    given = {"token_ids": tokens, "padding_mask": mask}
    if separator is not None:
        given["segment_ids"] = _segments(tokens, mask, separator, backbone.get_layer("segment_embedding").input_dim)
    if layer:
        backbone = keras.Model(backbone.input, backbone.get_layer(layer).output, name="encoder")
    elif isinstance(backbone.output, dict):  # BERT: only the part that is asked for, so that no weight is without use
        part = "pooled_output" if pooling == "pooled" else "sequence_output"
        backbone = keras.Model(backbone.input, backbone.output[part], name="encoder")
    features = ops.cast(backbone(given), "float32")  # [batch, length, dim], or pooled [batch, dim]
    if pooling != "pooled":
        features = pool(features, mask, pooling)
    return keras.Model(tokens, features, name=name)


def longest(model: Any) -> int:
    """How many tokens a network made here takes at most: the places of its table of positions.

    DeBERTa's positions are relative, without such an end; there it is the length that the network was trained with.
    """
    return max(getattr(layer, "sequence_length", 0) or getattr(layer, "max_position_embeddings", 0)
               for layer in model._flatten_layers())  # also those inside composite layers; Keras has no public walk


def _segments(tokens: Any, mask: Any, separator: int, segments: int) -> Any:
    """[batch, length] int32: 1 after a row's first separator, up to its padding; 0 elsewhere."""
    from keras import ops

    ends = ops.cast(ops.equal(tokens, separator), "int32")
    before = ops.cumsum(ends, axis=1) - ends  # how many separators stand before each token
    return ops.minimum(before, min(1, segments - 1)) * mask


def repooled(model: Any, pad: int, pooling: str) -> Any:
    """The same network, its weights shared, with its token states pooled. model: as `network` makes it for `none`."""
    import keras
    from keras import ops

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    return keras.Model(tokens, pool(model(tokens), ops.not_equal(tokens, pad), pooling), name=model.name)


def pool(states: Any, mask: Any, pooling: str) -> Any:
    """Token states as features, as `network` says. states: [batch, length, dim] float32; mask: [batch, length], 1 where
    a token is not padding."""
    from keras import ops

    if pooling == "cls":
        return states[:, 0]
    mask = ops.cast(mask, "float32")
    if pooling == "last":  # the one with no other after it
        mask = mask * (1 - ops.pad(mask[:, 1:], [[0, 0], [0, 1]]))
    kept = ops.expand_dims(mask, -1)
    if pooling == NO_POOLING:
        return states * kept
    return ops.sum(states * kept, axis=1) / ops.maximum(ops.sum(kept, axis=1), 1.0)
