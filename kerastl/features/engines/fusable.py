"""A text network rewritten in operations that OpenVINO's compiler fuses, and that TensorFlow computes faster too. The
weights are shared, and the states are the same but for rounding.

KerasHub's encoder layers compute their products with `einsum`, whose reshapes hide the attention from the compiler. So
each of them, and each layer normalization, is replaced by a layer of the same name that uses plain matrix products.
Other layers, DeBERTa's disentangled attention among them, stay as they are.
"""

import math
from typing import Any

import keras
import tensorflow as tf
from keras_hub.layers import TransformerEncoder

Tensor = Any

MASKED = -1e9  # added to the attention scores of padding


def fusable(model: Any) -> Any:
    """The same network with its encoder layers and layer normalizations replaced; the network itself where it has none,
    as those for images. model: a keras.Model as `backbones.Network` describes it; it does not change."""
    if not _rewritable(model):
        return model

    def rewritten(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return fusable(layer)
        kind = _kind_of(layer)
        return layer if kind is None else kind(layer, name=layer.name)

    return keras.models.clone_model(model, clone_function=rewritten)


def _rewritable(model: Any) -> bool:
    return any(_rewritable(layer) if isinstance(layer, keras.Model) else _kind_of(layer) is not None
               for layer in model.layers)


def _kind_of(layer: Any) -> Any:
    """What replaces a layer; None for one that stays as it is, as do normalizations of another form."""
    kind = REWRITTEN.get(type(layer))
    if kind is _Normalization and not (layer.center and layer.scale and layer.axis in (-1, [-1], (-1,))):
        return None
    return kind


class _Rewritten(keras.layers.Layer):
    """A layer that computes what `original` does, with its weights."""

    def __init__(self, original: Any, name: str) -> None:
        super().__init__(name=name, trainable=False)
        self.original = original

    def compute_output_shape(self, shape: Any, *others: Any, **named: Any) -> Any:
        """That of the input."""
        return shape


class _Normalization(_Rewritten):
    """A layer normalization over the last axis."""

    def call(self, x: Tensor) -> Tensor:
        """[batch, length, dim] -> the same shape."""
        return _normalized(x, self.original)


class _Encoder(_Rewritten):
    """A Transformer block: attention and feed-forward layer, each with a residual connection and normalization."""

    def call(self, x: Tensor, padding_mask: Tensor = None, attention_mask: Tensor = None) -> Tensor:
        """x: [batch, length, dim]; padding_mask: [batch, length], 0 at padding; attention_mask: of a network of the
        user's, for which the block computes itself -> [batch, length, dim]."""
        block = self.original
        if attention_mask is not None:
            return block(x, padding_mask=padding_mask, attention_mask=attention_mask)
        first = block.normalize_first
        attended = x + self._attention(_normalized(x, block._self_attention_layer_norm) if first else x, padding_mask)
        x = attended if first else _normalized(attended, block._self_attention_layer_norm)
        inner = _product(_normalized(x, block._feedforward_layer_norm) if first else x,
                         block._feedforward_intermediate_dense)
        out = x + _product(_activated(inner, block.activation), block._feedforward_output_dense)
        return out if first else _normalized(out, block._feedforward_layer_norm)

    def _attention(self, x: Tensor, padding_mask: Tensor) -> Tensor:
        layer = self.original._self_attention_layer
        heads, size = self.original.num_heads, layer.key_dim
        shape = tf.shape(x)

        def of_heads(dense: Any) -> Tensor:  # [batch, heads, length, size]
            split = tf.reshape(_product(x, dense), [shape[0], shape[1], heads, size])
            return tf.transpose(split, [0, 2, 1, 3])

        query, key, value = map(of_heads, (layer._query_dense, layer._key_dense, layer._value_dense))
        scores = tf.matmul(query, key, transpose_b=True) * size**-0.5
        if padding_mask is not None:
            scores += (1 - tf.cast(padding_mask, scores.dtype))[:, tf.newaxis, tf.newaxis, :] * MASKED
        mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
        return _product(tf.reshape(mixed, [shape[0], shape[1], heads * size]), layer._output_dense)


def _product(x: Tensor, dense: Any) -> Tensor:
    """A dense layer, or one that splits or joins heads, as one matrix product. [.., n] -> [.., m]."""
    kernel, bias = dense.kernel, dense.bias
    outputs = math.prod(bias.shape)
    return tf.matmul(x, tf.reshape(kernel, [-1, outputs])) + tf.reshape(bias, [outputs])


def _activated(x: Tensor, activation: Any) -> Tensor:
    """An activation; GELU in the form that the compiler recognises."""
    return 0.5 * x * (1 + tf.math.erf(x / math.sqrt(2))) if activation is keras.activations.gelu else activation(x)


def _normalized(x: Tensor, layer: Any) -> Tensor:
    """Layer normalization, in the form that the compiler recognises."""
    centred = x - tf.reduce_mean(x, [-1], keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), [-1], keepdims=True)
    return centred / tf.sqrt(variance + layer.epsilon) * layer.gamma + layer.beta


REWRITTEN = {TransformerEncoder: _Encoder, keras.layers.LayerNormalization: _Normalization}
