"""Pretrained features mixed with those of a small network that learns the task from the raw input:

    f_pre  <- theta * f_pre  + lambda * f_H        at the features
    f_flow <- theta * f_flow + lambda * f_H        at the hidden flow of the inner head (of `linear`: its logits)

f_pre are the backbone's features, standardised; f_H is the side network's row, led to the width of its place by one
Dense layer. An inner linear head is solved first and stays, so the blend starts as that and learns what the side adds.
theta=1,lambda=0 is the inner head alone, theta=0,lambda=1 the side network alone. The side network sees
what the model's entrance gives it: an image of at most 64 x 64, or tokens; of texts that are cut, what is left.
Trained from random weights instead, a blend was worse than the solved head, by 1.4 points on stamps and 1.8 on movie
snippets (3 seeds); from the solved head on it is 0.2 worse (-1.3 to +0.8) and 1.4 better (+0.1 to +2.8).
"""

from collections.abc import Callable, Iterable
from typing import Any

from kerastl.errors import OptionError
from kerastl.heads import Head, Raw, Setting, Shape, Side, linear, mlp

IMAGES, TEXTS = ("conv",), ("ngrams", "words", "gru")  # the first is what `auto` takes
INNER = {"linear": (linear.build, "logits"), "mlp": (mlp.build, "hidden")}  # and the layer whose output is its flow
WORDS = 2**15  # embeddings at most; larger vocabularies share them
WIDTH, NGRAMS_WIDTH = 64, 16  # of f_H
LAMBDA = 0.5
DROPOUT = 0.3  # of f_H
ANNEALED, FROM = 10, 1.0  # a scheduled lambda falls from this to its value in so many epochs


def build(shape: Shape, outputs: int, raw: Raw, side: str = "auto", at: str = "both", mix: str = "learned",
          theta: float = 1.0, inner: str = "linear", dropout: float = DROPOUT, **more: float) -> Any:
    """features: [batch, dim] float32, and raw rows as `heads.Raw` says -> logits: [batch, outputs] float32.

    more: `lambda`, which Python has taken. Raises OptionError for a side network of the other kind of input, and for a
    learned share that begins at an end of its range."""
    import keras
    from keras import layers

    from kerastl.heads._blend import LEARNED, Mix, Standard

    shares = (theta, more.get("lambda", LAMBDA))
    if mix in LEARNED and not all(0 < share < 2 for share in shares):
        raise OptionError(f"--head blend:mix={mix},theta={shares[0]:g},lambda={shares[1]:g}",
                          "both above 0 and below 2, where they can be learned", "change them, or give mix=fixed")
    place, flow = INNER[inner]
    features = keras.Input(shape, name="features")
    seen = keras.Input(raw.shape, dtype="int32" if raw.symbols else "float32", name="raw")
    row_of = _side(side, raw)
    row = layers.Dropout(dropout, name="dropout_side")(row_of(seen, raw))

    def mixed(x: Any, where: str) -> Any:
        if at not in (where, "both"):
            return x
        # where it starts at zero the blend starts as its inner head; the n-grams' own weights do
        first = "zeros" if row_of.__name__ != "_ngrams" else "glorot_uniform"
        led = layers.Dense(x.shape[-1], kernel_initializer=first, dtype="float32", name=f"to_{where}")(row)
        return Mix(mix, *shares, dtype="float32", name=f"mix_{where}")([x, led])

    x = mixed(Standard(dtype="float32", name="standard")(features), "features")
    for layer in place(shape, outputs).layers:
        if isinstance(layer, layers.InputLayer):
            continue
        x = layer(x)
        x = mixed(x, "flow") if layer.name == flow else x
    return keras.Model([features, seen], x, name="blend")


def _side(name: str, raw: Raw) -> Callable[[Any, Raw], Any]:
    fitting, thing = (TEXTS, "texts") if raw.symbols else (IMAGES, "images")
    if name not in ("auto", *fitting):
        raise OptionError(f"--head blend:side={name} for {thing}", f"one of {', '.join(fitting)}", "leave it out")
    return {"conv": _conv, "words": _words, "gru": _gru, "ngrams": _ngrams}[fitting[0] if name == "auto" else name]


def _conv(pixels: Any, raw: Raw) -> Any:
    """[batch, side, side, 3] in [0, 255] -> [batch, 64]: three convolutions that halve the sides, averaged."""
    from keras import layers

    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="pixels")(pixels)
    for i, filters in enumerate((16, 32, WIDTH), 1):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu", name=f"conv_{i}")(x)
    return layers.GlobalAveragePooling2D(name="side")(x)


def _words(tokens: Any, raw: Raw) -> Any:
    """[batch, length] int32 -> [batch, 64]: the strongest answer to each of 64 patterns of three words (Kim 2014,
    "Convolutional Neural Networks for Sentence Classification")."""
    from keras import layers, ops

    words, there = _embedded(tokens, raw)
    x = layers.Conv1D(WIDTH, 3, padding="same", activation="relu", name="conv")(words)
    return ops.max(x * there, axis=1)  # none is below 0, so that padding, 0, is never the strongest


def _gru(tokens: Any, raw: Raw) -> Any:
    """[batch, length] int32 -> [batch, 64]: the last state of a GRU, which passes over padding."""
    from keras import layers, ops

    words, _ = _embedded(tokens, raw)
    return layers.GRU(WIDTH, name="side")(words, mask=ops.not_equal(tokens, 0))


def _ngrams(tokens: Any, raw: Raw) -> Any:
    """[batch, length] int32 -> [batch, 16]: linear on hashed TF-IDF of tokens and pairs."""
    from kerastl.heads._blend import Ngrams

    return Ngrams(NGRAMS_WIDTH, dtype="float32", name="ngrams")(tokens)


def _embedded(tokens: Any, raw: Raw) -> tuple[Any, Any]:
    """[batch, length, 64], zeros where there is padding, and where there is none, [batch, length, 1]."""
    from keras import layers, ops

    there = ops.cast(ops.expand_dims(ops.not_equal(tokens, 0), -1), "float32")
    return layers.Embedding(min(raw.symbols + 1, WORDS), WIDTH, name="words")(tokens % WORDS) * there, there


def solved(head: Head) -> bool:
    """See `Side`: an inner linear head is, for solved it is better than trained; not where it is not to see the
    features."""
    return bool(head.value("inner") == "linear" and head.value("theta") > 0)


def prepare(model: Any, moments: tuple[Any, Any], blocks: Callable[[], Iterable[Any]], start: tuple[Any, Any] | None
            ) -> None:
    """See `Side`: how features are standardised, and how frequent n-grams are, from the training rows alone. A solved
    inner head stays as it is, so that what trains is what the side network adds to it."""
    mean, scale = moments
    standard = model.get_layer("standard")
    standard.centre.assign(mean)
    standard.scale.assign(scale)
    if start is not None:
        kernel, bias = start
        model.get_layer("logits").set_weights([kernel * scale[:, None], bias + mean @ kernel])
        model.get_layer("logits").trainable = False
    for layer in model.layers:
        if layer.name == "ngrams":
            layer.count(blocks())


def at_epoch(model: Any, epoch: int) -> None:
    """See `Side`: a scheduled lambda falls in a line."""
    from kerastl.heads._blend import Mix

    for layer in model.layers:
        if isinstance(layer, Mix) and layer.how == "scheduled":
            left = max(0.0, 1 - epoch / ANNEALED)
            layer.side.assign(layer.start[1] + left * (FROM - layer.start[1]))


def found(model: Any) -> dict[str, float]:
    """See `Side`: theta and lambda of each place; where each channel has its own, their mean and range."""
    from kerastl.heads._blend import shares_of

    values = {}
    for name, value in shares_of(model).items():
        values[name] = float(value.mean())
        if value.ndim:
            values |= {f"{name}_low": float(value.min()), f"{name}_high": float(value.max())}
    return values


HEAD = Head("blend", "features mixed with those of a small network on the raw input, in shares it learns", build,
            side=Side(solved, prepare, at_epoch, found), settings={
                "side": Setting("auto", choices=("auto", *IMAGES, *TEXTS)),
                "at": Setting("both", choices=("features", "flow", "both")),
                "mix": Setting("learned", choices=("fixed", "learned", "channel", "scheduled")),
                "theta": Setting(1.0, 0.0, 2.0), "lambda": Setting(LAMBDA, 0.0, 2.0),
                "inner": Setting("linear", choices=tuple(INNER)), "dropout": Setting(DROPOUT, 0.0, 0.9)})
