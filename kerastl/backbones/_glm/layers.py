"""The layers of a GLM network. A frozen network may store its weights in fewer bits than it computes in.

Shapes: states [batch, length, dim] float32, the residual stream; dense layers multiply in the layer's compute type.
Stored kernels are [inputs, outputs].
"""

import math
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

GROUP = 64  # inputs that share an int4 scale
PACKAGE = "kerastl"
BLOCK = "transformer_layer_{}"  # name of a block, counted from 0


def group_of(inputs: int) -> int:
    """The number of inputs of a kernel that share an int4 scale."""
    return math.gcd(inputs // 2, GROUP)


@keras.saving.register_keras_serializable(PACKAGE)
class KeptDense(layers.Layer):
    """x @ kernel + bias, with the kernel stored in `bfloat16`, `int8` (one scale per output) or `int4` (one scale per
    output and group of inputs; two values per byte, the second half of the inputs in the upper bits). Not trainable."""

    def __init__(self, units: int, kept: str, use_bias: bool = False, **more: Any) -> None:
        super().__init__(**{**more, "trainable": False})
        self.units, self.kept, self.use_bias = units, kept, use_bias

    def build(self, shape: Any) -> None:
        """Create the weights as zeros, to be filled later."""
        inputs = int(shape[-1])
        add = self.add_weight
        if self.kept == "int4":
            self.kernel = add((inputs // 2, self.units), "zeros", "uint8", name="kernel")
            self.scale = add((inputs // group_of(inputs), self.units), "zeros", "float16", name="scale")
        else:
            self.kernel = add((inputs, self.units), "zeros", self.kept, name="kernel")
            if self.kept == "int8":
                self.scale = add((self.units,), "zeros", "float32", name="scale")
        if self.use_bias:
            self.bias = add((self.units,), "zeros", "float32", name="bias")
        self.built = True

    def call(self, x: Any) -> Any:
        """[..., inputs] -> [..., units], in the compute type."""
        with tf.control_dependencies([x]):  # otherwise a graph unpacks the kernels of all layers first
            kernel = self._kernel()
        y = ops.matmul(x, kernel)
        if self.kept == "int8":
            y = y * ops.cast(self.scale, y.dtype)
        return y + ops.cast(self.bias, y.dtype) if self.use_bias else y

    def _kernel(self) -> Any:
        if self.kept != "int4":
            return ops.cast(self.kernel, self.compute_dtype)
        groups, units = self.scale.shape
        halves = (ops.bitwise_and(self.kernel, 15), ops.right_shift(self.kernel, 4))
        whole = ops.concatenate([ops.cast(half, self.compute_dtype) for half in halves]) - 8
        scaled = ops.reshape(whole, (groups, -1, units)) * ops.expand_dims(ops.cast(self.scale, whole.dtype), 1)
        return ops.reshape(scaled, (-1, units))

    def compute_output_shape(self, shape: Any) -> Any:
        """Like that of a dense layer."""
        return (*shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """The arguments, to build it again without weights."""
        return {**super().get_config(), "units": self.units, "kept": self.kept, "use_bias": self.use_bias}


@keras.saving.register_keras_serializable(PACKAGE)
class KeptEmbedding(layers.Layer):
    """An embedding stored in `bfloat16`; for `int8` and `int4` in int8 with one scale per row."""

    def __init__(self, input_dim: int, output_dim: int, kept: str, **more: Any) -> None:
        super().__init__(**{**more, "trainable": False})
        self.input_dim, self.output_dim, self.kept = input_dim, output_dim, kept

    def build(self, shape: Any) -> None:
        """Create the weights as zeros, to be filled later."""
        size = (self.input_dim, self.output_dim)
        small = self.kept != "bfloat16"
        self.kernel = self.add_weight(size, "zeros", "int8" if small else "bfloat16", name="kernel")
        if small:
            self.scale = self.add_weight((self.input_dim, 1), "zeros", "float32", name="scale")
        self.built = True

    def call(self, tokens: Any) -> Any:
        """[batch, length] int32 -> [batch, length, output_dim] float32."""
        rows = ops.cast(ops.take(self.kernel, tokens, axis=0), "float32")
        return rows if self.kept == "bfloat16" else rows * ops.take(self.scale, tokens, axis=0)

    def compute_output_spec(self, tokens: Any) -> Any:
        """Float32, whatever the dtype of the layer."""
        return keras.KerasTensor((*tokens.shape, self.output_dim), "float32")

    def get_config(self) -> dict[str, Any]:
        """The arguments, to build it again without weights."""
        return {**super().get_config(), "input_dim": self.input_dim, "output_dim": self.output_dim, "kept": self.kept}


@keras.saving.register_keras_serializable(PACKAGE)
class GlmPlaces(layers.Layer):
    """The rotary angles and the causal attention mask, derived from the padding mask, so padding may be on either side.

    Positions count the tokens that are not padding; a token attends to itself and to earlier tokens except padding.
    """

    def __init__(self, rotary: int, base: float, **more: Any) -> None:
        super().__init__(**{**more, "dtype": "float32", "autocast": False})
        self.rotary, self.base = rotary, base

    def call(self, mask: Any) -> Any:
        """mask: [batch, length] int32, 1 where a token is not padding -> angles [batch, length, rotary / 2] float32,
        and bias [batch, 1, 1, length, length] float32: 0 where the row attends to the column, else a large negative
        number."""
        position = ops.cast(ops.maximum(ops.cumsum(mask, axis=1) - 1, 0), "float32")
        rates = self.base ** (-ops.arange(0, self.rotary, 2, dtype="float32") / self.rotary)
        place = ops.arange(ops.shape(mask)[1])
        seen = ops.logical_and(place[None, :, None] >= place[None, None, :], ops.cast(mask, "bool")[:, None, :])
        bias = ops.where(seen, 0.0, -1e9)
        return position[..., None] * rates, bias[:, None, None]

    def compute_output_spec(self, mask: Any) -> Any:
        """The shapes that `call` returns."""
        batch, length = mask.shape
        return (keras.KerasTensor((batch, length, self.rotary // 2), "float32"),
                keras.KerasTensor((batch, 1, 1, length, length), "float32"))

    def get_config(self) -> dict[str, Any]:
        """The arguments, to build it again."""
        return {**super().get_config(), "rotary": self.rotary, "base": self.base}


@keras.saving.register_keras_serializable(PACKAGE)
class GlmBlock(layers.Layer):
    """Attention, then SwiGLU; each takes normalized states, and its output is added to the states."""

    def __init__(self, heads: int, head_dim: int, groups: int, inner: int, epsilon: float, kept: str = "float32",
                 **more: Any) -> None:
        super().__init__(**{**more, "autocast": False})  # the states stay float32
        self.heads, self.head_dim, self.groups = heads, head_dim, groups
        self.inner, self.epsilon, self.kept = inner, epsilon, kept

    def build(self, states_shape: Any, angles_shape: Any = None, bias_shape: Any = None) -> None:
        """Create the inner layers."""
        dim, rows = int(states_shape[-1]), self.heads * self.head_dim
        self.attention_norm = self._norm("attention_norm", dim)
        self.query = self._dense("query", dim, rows, True)
        self.key = self._dense("key", dim, self.groups * self.head_dim, True)
        self.value = self._dense("value", dim, self.groups * self.head_dim, True)
        self.attention_output = self._dense("attention_output", rows, dim)
        self.feedforward_norm = self._norm("feedforward_norm", dim)
        self.gate_up = self._dense("gate_up", dim, 2 * self.inner)
        self.down = self._dense("down", self.inner, dim)
        self.built = True

    def _norm(self, name: str, dim: int) -> Any:
        layer = layers.RMSNormalization(epsilon=self.epsilon, dtype="float32", name=name)
        layer.build((None, None, dim))
        return layer

    def _dense(self, name: str, inputs: int, units: int, use_bias: bool = False) -> Any:
        more = {"use_bias": use_bias, "dtype": self.dtype_policy, "name": name}
        layer = layers.Dense(units, **more) if self.kept == "float32" else KeptDense(units, self.kept, **more)
        layer.build((None, None, inputs))
        return layer

    def call(self, states: Any, angles: Any, bias: Any) -> Any:
        """states: [batch, length, dim] float32; angles and bias from `GlmPlaces` -> states of the same shape."""
        x = self.attention_norm(states)
        heads = self.heads // self.groups  # that share a key and value
        rotation = (ops.cos(angles)[:, :, None], ops.sin(angles)[:, :, None])
        query = self._rotated(self._split(self.query(x), self.heads), rotation) * self.head_dim**-0.5
        key = self._rotated(self._split(self.key(x), self.groups), rotation)
        value = self._split(self.value(x), self.groups)
        batch, length = ops.shape(states)[0], ops.shape(states)[1]
        query = ops.reshape(query, (batch, length, self.groups, heads, self.head_dim))
        scores = ops.cast(ops.einsum("blgrh,bmgh->bgrlm", query, key), "float32") + bias
        single = scores.shape[-1] == 1  # Keras warns about a softmax over one value
        attention = ops.cast(ops.ones_like(scores) if single else ops.softmax(scores, axis=-1), value.dtype)
        context = ops.reshape(ops.einsum("bgrlm,bmgh->blgrh", attention, value), (batch, length, -1))
        states = states + ops.cast(self.attention_output(context), "float32")
        gate, up = ops.split(self.gate_up(self.feedforward_norm(states)), 2, axis=-1)
        return states + ops.cast(self.down(ops.silu(gate) * up), "float32")

    def _split(self, x: Any, heads: int) -> Any:
        return ops.reshape(x, (*ops.shape(x)[:2], heads, self.head_dim))

    def _rotated(self, x: Any, rotation: tuple[Any, Any]) -> Any:
        """Rotary position embedding of the first dimensions, in neighbouring pairs (Su et al. 2021,
        https://arxiv.org/abs/2104.09864)."""
        cos, sin = rotation
        rotary = 2 * int(cos.shape[-1])
        first, rest = ops.cast(x[..., :rotary], "float32"), x[..., rotary:]
        a, b = first[..., 0::2], first[..., 1::2]
        rotated = ops.stack([a * cos - b * sin, b * cos + a * sin], axis=-1)
        rotated = ops.reshape(rotated, (*ops.shape(x)[:3], rotary))
        return ops.concatenate([ops.cast(rotated, x.dtype), rest], axis=-1)

    def compute_output_spec(self, states: Any, angles: Any, bias: Any) -> Any:
        """The shape of the states."""
        return keras.KerasTensor(states.shape, "float32")

    def get_config(self) -> dict[str, Any]:
        """The arguments, to build it again without weights."""
        return {**super().get_config(), "heads": self.heads, "head_dim": self.head_dim, "groups": self.groups,
                "inner": self.inner, "epsilon": self.epsilon, "kept": self.kept}
