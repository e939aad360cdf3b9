"""The cosine similarity between a row and a learned vector for each class, times a learned scale (Gidaris and Komodakis
2018, "Dynamic Few-Shot Visual Learning without Forgetting", https://arxiv.org/abs/1804.09458). The norm of a row has no
influence.

Made of Keras' own layers, so that a saved model loads without kerastl: the vectors are a kernel of unit columns."""

from typing import Any

from kerastl.heads import GRADIENT_SETTINGS, Head, Setting, Shape

SCALE = 30.0  # at the start; from the paper's 10, validation loss on the stamps stopped at 0.74 nats, from 30 at 0.43
LEAST = 1e-12  # of the squared norm; Keras' own


def build(shape: Shape, outputs: int, scale: float = SCALE) -> Any:
    """features: [batch, dim] float32 -> logits: [batch, outputs] float32, in [-s, s] of the learned scale s."""
    import keras
    from keras import layers, ops

    features = keras.Input(shape, name="features")
    # not UnitNormalization: LiteRT makes NaN of its inverse square root where all features are zero
    squares = ops.sum(ops.square(features), axis=-1, keepdims=True)
    x = features / ops.sqrt(ops.maximum(squares, LEAST))
    cosines = layers.Dense(outputs, use_bias=False, kernel_constraint=keras.constraints.UnitNorm(axis=0),
                           dtype="float32", name="cosines")(x)
    x = layers.Reshape((outputs, 1), name="each")(cosines)
    x = layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(scale), dtype="float32",
                     name="scale")(x)
    model = keras.Model(features, layers.Reshape((outputs,), name="logits")(x), name="cosine")
    kernel = model.get_layer("cosines").kernel
    kernel.assign(kernel / keras.ops.norm(kernel, axis=0))  # Keras applies the constraint only after a step
    return model


HEAD = Head("cosine", "cosine similarity to a learned vector per class; ignores the norm of the features", build,
            settings={"scale": Setting(SCALE, 1.0, 100.0, log=True)},
            training={**GRADIENT_SETTINGS, "learning_rate": Setting(3e-3, 1e-6, 1.0, log=True)})
