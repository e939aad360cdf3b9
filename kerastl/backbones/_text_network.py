"""The network of every text backbone: token ids in, one row of features out.

The network itself derives from the ids which tokens are padding and which belong to the second text of a pair. So it
has one input, can be saved like any Keras model, and converts to TFLite with builtin operations.
"""

from collections.abc import Sequence
from typing import Any

from kerastl.backbones import NO_POOLING
from kerastl.errors import OptionError

POOLINGS = ("mean", "cls", "pooled", "last", NO_POOLING)


def network(backbone: Any, *, pad: int, separator: int | None, pooling: str, pooler: bool, name: str = "text",
            layers: Sequence[str] = ("",)) -> Any:
    """A keras.Model: tokens [batch, length] int32 -> features [batch, dim] float32, for any length up to `longest`.

    backbone: one of KerasHub's text backbones, or a plain model of its layers.
    pad: the id of padding, which occurs only at the end of a row.
    separator: the id that ends each text of a pair; None for a backbone that does not distinguish the two.
    pooling: `mean` of the last states of all tokens except padding, including the special ones, as in
    sentence-transformers (Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084); `cls`, the last state of the
    first token; `pooled`, the same passed through BERT's own dense layer and tanh; `last`, the last state of the last
    token, which in a causal network depends on all others; `none`, all states [batch, length, dim], zero at padding.
    pooler: whether the weights of BERT's dense layer are available. layers: the names of the blocks whose states are
    taken, side by side in the last axis where there are several; "" stands for the last block.
    Raises OptionError for an unknown pooling, and for `pooled` without a pooler or with other layers than the last.
    """
    import keras
    from keras import ops

    if pooling not in POOLINGS:
        raise OptionError(f"`pooling` is {pooling}", f"one of {', '.join(POOLINGS)}", "choose one of them")
    if pooling == "pooled" and tuple(layers) != ("",):
        raise OptionError("`pooling` is pooled and `layer` is not top", "mean or cls",
                          "choose one of them: BERT's pooler was trained on the states of the last block")
    if pooling == "pooled" and not pooler:
        raise OptionError(f"`pooling` is pooled, but the weights of {name} have no trained pooler", "mean or cls",
                          "choose one of them")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    mask = ops.cast(ops.not_equal(tokens, pad), "int32")  # [batch, length], 1 where a token is not padding
    inputs = {"token_ids": tokens, "padding_mask": mask}
    if separator is not None:
        inputs["segment_ids"] = _segments(tokens, mask, separator, backbone.get_layer("segment_embedding").input_dim)
    top = backbone.output
    if isinstance(top, dict):  # BERT: only the requested output, so that every weight is used
        top = top["pooled_output" if pooling == "pooled" else "sequence_output"]
    outputs = [backbone.get_layer(layer).output if layer else top for layer in layers]
    joined = outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, axis=-1)
    if joined is not backbone.output:
        backbone = keras.Model(backbone.input, joined, name="encoder")
    features = ops.cast(backbone(inputs), "float32")  # [batch, length, dim], or pooled [batch, dim]
    if pooling != "pooled":
        features = pool(features, mask, pooling)
    return keras.Model(tokens, features, name=name)


def longest(model: Any) -> int:
    """The most tokens that a network built here takes: the size of its position embedding.

    DeBERTa's positions are relative and have no such limit; for it, this is the length that it was trained with.
    """
    return max(getattr(layer, "sequence_length", 0) or getattr(layer, "max_position_embeddings", 0)
               for layer in model._flatten_layers())  # also those inside composite layers; Keras has no public walk


def _segments(tokens: Any, mask: Any, separator: int, segments: int) -> Any:
    """[batch, length] int32: 1 after a row's first separator up to its padding, 0 elsewhere."""
    from keras import ops

    ends = ops.cast(ops.equal(tokens, separator), "int32")
    before = ops.cumsum(ends, axis=1) - ends  # separators before each token
    return ops.minimum(before, min(1, segments - 1)) * mask


def repooled(model: Any, pad: int, pooling: str) -> Any:
    """The same network with shared weights and pooled token states. model: from `network` with the pooling `none`."""
    import keras
    from keras import ops

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    return keras.Model(tokens, pool(model(tokens), ops.not_equal(tokens, pad), pooling), name=model.name)


def pool(states: Any, mask: Any, pooling: str) -> Any:
    """Pool token states as `network` describes. states: [batch, length, dim] float32; mask: [batch, length], 1 where a
    token is not padding."""
    from keras import ops

    if pooling == "cls":
        return states[:, 0]
    mask = ops.cast(mask, "float32")
    if pooling == "last":  # the token that no other follows
        mask = mask * (1 - ops.pad(mask[:, 1:], [[0, 0], [0, 1]]))
    weight = ops.expand_dims(mask, -1)
    if pooling == NO_POOLING:
        return states * weight
    return ops.sum(states * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), 1.0)
