"""Logistic regression on plain features of the raw input, without transfer: of texts the TF-IDF of hashed word pieces
and pairs of them, all of the text's and not only those that the backbone takes; of images colours and directions of
gradients. The backbone's features are not used. It is the simple model that transfer has to be better than."""

from typing import Any

from kerastl.heads import Head, Raw, Shape


def build(shape: Shape, outputs: int, raw: Raw) -> Any:
    """features: [batch, dim] float32, which have no effect, and raw rows as `heads.Raw` describes -> logits: [batch,
    outputs] float32."""
    import keras

    features = keras.Input(shape, name="features")
    raw_rows = keras.Input(raw.shape, dtype="int32" if raw.symbols else "float32", name="raw")
    return keras.Model([features, raw_rows], plain_logits(raw_rows, outputs, raw), name="plain")


def plain_logits(raw_rows: Any, outputs: int, raw: Raw) -> Any:
    """[batch, *raw.shape] -> [batch, outputs] float32, by a layer named `plain`."""
    from keras import layers

    from kerastl.heads.layers.plain_features import Histograms, Tfidf

    if raw.symbols:
        return Tfidf(outputs, dtype="float32", name="plain")(raw_rows)
    histograms = Histograms(dtype="float32", name="histograms")(raw_rows)
    return layers.Dense(outputs, dtype="float32", name="plain")(histograms)


HEAD = Head("plain", "without transfer: TF-IDF of all word pieces, or colours and gradients; solved", build,
            fitter="plain", takes_raw=True, all_tokens=True, training={})
