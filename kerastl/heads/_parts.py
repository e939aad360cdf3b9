"""A fused backbone's row taken apart again: each part normalised by itself, so that the louder one does not count more.

parts: how many of the features each gives, in order; (), all are one part."""

from typing import Any


def normalised(features: Any, parts: tuple[int, ...]) -> list[Any]:
    """[batch, dim] -> of each part [batch, its dim], of mean 0 and variance 1 row by row."""
    from keras import layers

    rows, start = [], 0
    for number, size in enumerate(parts or (features.shape[-1],), 1):
        normal = layers.LayerNormalization(center=False, scale=False, name=f"normal_{number}")
        rows.append(normal(features[:, start:start + size] if parts else features))
        start += size
    return rows


def alike(features: Any, parts: tuple[int, ...], width: int, dropout: float) -> Any:
    """[batch, dim] -> [batch, parts, width], each part projected, in (-1, 1)."""
    from keras import layers, ops

    rows = []
    for number, part in enumerate(normalised(features, parts), 1):
        part = layers.Dropout(dropout, name=f"dropout_{number}")(part)
        rows.append(layers.Dense(width, activation="tanh", name=f"part_{number}")(part))
    return ops.stack(rows, axis=1)
