"""The features of a fused backbone, part by part. Each part is normalised by itself, so that a part with larger values
does not count for more.

parts: the number of features of each part, in order; () where all features are one part."""

from typing import Any


def normalised_parts(features: Any, parts: tuple[int, ...]) -> list[Any]:
    """[batch, dim] -> for each part [batch, its dim], with mean 0 and variance 1 in each row."""
    from keras import layers

    normalised, start = [], 0
    for number, size in enumerate(parts or (features.shape[-1],), 1):
        normal = layers.LayerNormalization(center=False, scale=False, name=f"normal_{number}")
        normalised.append(normal(features[:, start:start + size] if parts else features))
        start += size
    return normalised


def projected_parts(features: Any, parts: tuple[int, ...], width: int, dropout: float) -> Any:
    """[batch, dim] -> [batch, parts, width]: each part projected to the same width, in (-1, 1)."""
    from keras import layers, ops

    projected = []
    for number, part in enumerate(normalised_parts(features, parts), 1):
        part = layers.Dropout(dropout, name=f"dropout_{number}")(part)
        projected.append(layers.Dense(width, activation="tanh", name=f"part_{number}")(part))
    return ops.stack(projected, axis=1)
