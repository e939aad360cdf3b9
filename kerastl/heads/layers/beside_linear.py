"""A head as what it adds to the linear head: logits = linear(mean of the features) + head(standardised features).

Made of Keras' own layers, so that a saved model loads without kerastl."""

from typing import Any

from kerastl.heads.layers.places import as_sequence

STANDARD, LINEAR, LAST = "standard", "linear_start", "logits"


def beside_linear(head: Any) -> Any:
    """The sum of a head and of the linear head of its pooled features, as one model of the same name.

    head: a keras.Model with new weights, whose last layer is a Dense layer named `logits`. That layer is set to zero,
    and the linear head is still zero: see `start`. Neither it nor the scaling is trained.
    """
    import keras
    from keras import layers, ops

    features = keras.Input(head.input_shape[1:], name="features")
    standard = layers.BatchNormalization(center=False, scale=False, epsilon=0.0, trainable=False, dtype="float32",
                                         name=STANDARD)(features)
    row, present = pooled(features)
    last = head.get_layer(LAST)
    last.set_weights([ops.zeros_like(weight) for weight in last.weights])
    added = head(standard if present is None else standard * present)
    linear = layers.Dense(last.units, dtype="float32", kernel_initializer="zeros", trainable=False, name=LINEAR)(row)
    return keras.Model(features, layers.Add(dtype="float32", name="with_linear")([linear, added]), name=head.name)


def pooled(features: Any) -> tuple[Any, Any]:
    """The mean over places, [batch, dim]; and which tokens are no padding, [batch, length, 1] float32 of 0 and 1, None
    where there is no padding: for pooled features and maps."""
    from keras import ops

    if len(features.shape) == 2:
        return features, None
    places, hidden = as_sequence(features)
    if len(features.shape) == 4:
        return ops.mean(places, axis=1), None
    present = ops.cast(hidden < 1.0, "float32")
    return ops.sum(places * present, axis=1) / ops.maximum(ops.sum(present, axis=1), 1.0), present


def start(model: Any, mean: Any, scale: Any, kernel: Any, bias: Any) -> None:
    """Set what is computed from the training rows. mean, scale: of each feature, [dim]. kernel, bias: of the solved
    linear head of the pooled features as they are, [dim, outputs] and [outputs]."""
    model.get_layer(STANDARD).set_weights([mean, scale**2])
    model.get_layer(LINEAR).set_weights([kernel, bias])
