"""The nearest class mean (Snell et al. 2017, "Prototypical Networks for Few-shot Learning",
https://arxiv.org/abs/1703.05175). It is computed in one pass over the rows, not trained, and needs few of them.

Minus the squared distance to a mean m is 2 x.m - |m|^2, up to a term that all classes share: one Dense layer. The
weights come from `training/fitters/class_means.py`.
"""

from typing import Any

from kerastl.heads import Head, Shape


def build(shape: Shape, outputs: int) -> Any:
    """features: [batch, dim] float32 -> logits: [batch, outputs] float32."""
    import keras

    return keras.Sequential(
        [keras.Input(shape, name="features"), keras.layers.Dense(outputs, dtype="float32", name="logits")],
        name="prototype",
    )


HEAD = Head("prototype", "nearest class mean, computed in one pass; for few rows or very many classes", build,
            fitter="class_means", training={})
