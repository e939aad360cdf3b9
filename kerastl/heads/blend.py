"""Pretrained features mixed with those of a small side network, which learns the task from the raw input:

    f_pre  <- theta * f_pre  + lambda * f_side        at the features
    f_flow <- theta * f_flow + lambda * f_side        at the hidden layer of the inner head (of `linear`: its logits)

f_pre are the backbone's features, standardised; f_side is the side network's output, projected to the width of its
place by one Dense layer. An inner linear head is solved first and stays fixed, so the blend starts as the linear head
and learns what the side network adds. theta=1,lambda=0 is the inner head alone, theta=0,lambda=1 the side network
alone. The side network sees what the model's raw input branch gives it: an image of at most 64 x 64, or the tokens,
truncated as for the backbone.

Trained from random weights instead, a blend was worse than the solved head by 1.4 points on stamps and 1.8 on movie
snippets (3 seeds); trained from the solved head it is 0.2 worse (-1.3 to +0.8) and 1.4 better (+0.1 to +2.8).
"""

from collections.abc import Callable, Iterable
from typing import Any

from kerastl.errors import OptionError
from kerastl.heads import ConfiguredHead, Head, Raw, Setting, Shape, linear, mlp

IMAGES, TEXTS = ("conv",), ("ngrams", "words", "gru")  # `auto` is the first
INNER = {"linear": (linear.build, "logits"), "mlp": (mlp.build, "hidden")}  # and the layer whose output is mixed
WORDS = 2**15  # embeddings at most; larger vocabularies share them
WIDTH, NGRAMS_WIDTH = 64, 16  # of f_side
LAMBDA = 0.5
DROPOUT = 0.3  # of f_side
ANNEALED, FROM = 10, 1.0  # a scheduled lambda falls from 1 to its value in 10 epochs


def build(shape: Shape, outputs: int, raw: Raw, side: str = "auto", at: str = "both", mix: str = "learned",
          theta: float = 1.0, inner: str = "linear", dropout: float = DROPOUT, **more: float) -> Any:
    """features: [batch, dim] float32, and raw rows as `heads.Raw` describes -> logits: [batch, outputs] float32.

    more: `lambda`, which is a keyword in Python. Raises OptionError for a side network of another modality, and for a
    learned share that starts at an end of its range."""
    import keras
    from keras import layers

    from kerastl.heads.layers.blending import LEARNED, Mix, Standard

    shares = (theta, more.get("lambda", LAMBDA))
    if mix in LEARNED and not all(0 < share < 2 for share in shares):
        raise OptionError(f"`head` is 'blend:mix={mix},theta={shares[0]:g},lambda={shares[1]:g}'",
                          "both above 0 and below 2, where they can be learned", "change them, or use mix=fixed")
    build_inner, flow = INNER[inner]
    features = keras.Input(shape, name="features")
    raw_rows = keras.Input(raw.shape, dtype="int32" if raw.symbols else "float32", name="raw")
    side_network = _side(side, raw)
    row = layers.Dropout(dropout, name="dropout_side")(side_network(raw_rows, raw))

    def mixed(x: Any, where: str) -> Any:
        if at not in (where, "both"):
            return x
        # zeros, so that the blend starts as its inner head; the n-grams' own table starts at zero already
        initializer = "glorot_uniform" if side_network is _ngrams else "zeros"
        projected = layers.Dense(x.shape[-1], kernel_initializer=initializer, dtype="float32", name=f"to_{where}")(row)
        return Mix(mix, *shares, dtype="float32", name=f"mix_{where}")([x, projected])

    x = mixed(Standard(dtype="float32", name="standard")(features), "features")
    for layer in build_inner(shape, outputs).layers:
        if isinstance(layer, layers.InputLayer):
            continue
        x = layer(x)
        x = mixed(x, "flow") if layer.name == flow else x
    return keras.Model([features, raw_rows], x, name="blend")


def _side(name: str, raw: Raw) -> Callable[[Any, Raw], Any]:
    names, inputs = (TEXTS, "texts") if raw.symbols else (IMAGES, "images")
    if name not in ("auto", *names):
        raise OptionError(f"`head` is 'blend:side={name}' for {inputs}", f"one of {', '.join(names)}", "omit side")
    return {"conv": _conv, "words": _words, "gru": _gru, "ngrams": _ngrams}[names[0] if name == "auto" else name]


def _conv(pixels: Any, raw: Raw) -> Any:
    """[batch, side, side, 3] in [0, 255] -> [batch, 64]: three convolutions of stride 2, then the mean."""
    from keras import layers

    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="pixels")(pixels)
    for i, filters in enumerate((16, 32, WIDTH), 1):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu", name=f"conv_{i}")(x)
    return layers.GlobalAveragePooling2D(name="side")(x)


def _words(tokens: Any, raw: Raw) -> Any:
    """[batch, length] int32 -> [batch, 64]: the maximum of each of 64 filters over three words (Kim 2014,
    "Convolutional Neural Networks for Sentence Classification")."""
    from keras import layers, ops

    words, present = _embedded(tokens, raw)
    x = layers.Conv1D(WIDTH, 3, padding="same", activation="relu", name="conv")(words)
    return ops.max(x * present, axis=1)  # ReLU is never below 0, so padding, 0, is never the maximum


def _gru(tokens: Any, raw: Raw) -> Any:
    """[batch, length] int32 -> [batch, 64]: the last state of a GRU, which skips padding."""
    from keras import layers, ops

    words, _ = _embedded(tokens, raw)
    return layers.GRU(WIDTH, name="side")(words, mask=ops.not_equal(tokens, 0))


def _ngrams(tokens: Any, raw: Raw) -> Any:
    """[batch, length] int32 -> [batch, 16]: linear in the hashed TF-IDF of tokens and pairs."""
    from kerastl.heads.layers.blending import Ngrams

    return Ngrams(NGRAMS_WIDTH, dtype="float32", name="ngrams")(tokens)


def _embedded(tokens: Any, raw: Raw) -> tuple[Any, Any]:
    """Embeddings [batch, length, 64], zero where there is padding, and a mask of what is not, [batch, length, 1]."""
    from keras import layers, ops

    present = ops.cast(ops.expand_dims(ops.not_equal(tokens, 0), -1), "float32")
    return layers.Embedding(min(raw.symbols + 1, WORDS), WIDTH, name="words")(tokens % WORDS) * present, present


def starts_solved(head: ConfiguredHead) -> bool:
    """Whether the inner head is solved before the blend is trained: a linear one is, because solved it is better than
    trained; not where the features have no share."""
    return bool(head.setting("inner") == "linear" and head.setting("theta") > 0)


def prepare(model: Any, mean: Any, scale: Any, raw_blocks: Iterable[Any], solved: tuple[Any, Any] | None) -> None:
    """Set what comes from the training rows, before the blend is trained: how features are standardised, how frequent
    n-grams are, and the inner head where it is solved. That one stays fixed, so that what trains is what the side
    network adds to it.

    mean, scale: of the training rows' features, [dim] each. raw_blocks: their raw rows, block by block. solved: kernel
    [dim, outputs] and bias [outputs] of the solved linear head, for features as they are."""
    standard = model.get_layer("standard")
    standard.centre.assign(mean)
    standard.scale.assign(scale)
    if solved is not None:
        kernel, bias = solved
        model.get_layer("logits").set_weights([kernel * scale[:, None], bias + mean @ kernel])
        model.get_layer("logits").trainable = False
    for layer in model.layers:
        if layer.name == "ngrams":
            layer.count(raw_blocks)


def schedule_shares(model: Any, epoch: int) -> None:
    """Before each epoch, from 0: a scheduled lambda falls linearly from 1 to its value."""
    from kerastl.heads.layers.blending import Mix

    for layer in model.layers:
        if isinstance(layer, Mix) and layer.how == "scheduled":
            left = max(0.0, 1 - epoch / ANNEALED)
            layer.side.assign(layer.start[1] + left * (FROM - layer.start[1]))


def learned_shares(model: Any) -> dict[str, float]:
    """theta and lambda at each place after training, for the run record; where each channel has its own, their mean and
    range."""
    from kerastl.heads.layers.blending import shares_of

    values = {}
    for name, value in shares_of(model).items():
        values[name] = float(value.mean())
        if value.ndim:
            values |= {f"{name}_low": float(value.min()), f"{name}_high": float(value.max())}
    return values


HEAD = Head("blend", "features mixed with those of a small network on the raw input, in learned shares", build,
            fitter="blend", takes_raw=True, settings={
                "side": Setting("auto", choices=("auto", *IMAGES, *TEXTS)),
                "at": Setting("both", choices=("features", "flow", "both")),
                "mix": Setting("learned", choices=("fixed", "learned", "channel", "scheduled")),
                "theta": Setting(1.0, 0.0, 2.0), "lambda": Setting(LAMBDA, 0.0, 2.0),
                "inner": Setting("linear", choices=tuple(INNER)), "dropout": Setting(DROPOUT, 0.0, 0.9)})
