"""What enters the backbone: the range of images, the ids of texts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.doctor import Diagnosis
from kerastl.doctor.watch import layers_of, watched
from kerastl.inputs import floats
from kerastl.inputs.tokenizer import Tokenizer

# What enters the first BatchNorm of EfficientNet-Lite0, on 32 images: its variance over the stored one, and how far
# its mean lies from the stored one in stored standard deviations; each the median over channels. Five draws of stamps:
# 1.1 to 1.9, 0.17 to 0.38; as BGR, grey or negatives, noise, plain colours: 0.46 to 1.7, up to 0.43; with a tenth of
# the contrast 0.015, 0.13. The same stamps in [0, 1] before they are scaled: 2.4e-5, 0.3; in [-1, 1], or scaled twice:
# 9.6e-5, 0.3; not scaled: 2.5e4, 56; with only a mean taken off: 2.5e4, 46. So these limits lie in the gaps.
MOST_RATIO, MOST_SHIFT = 1000.0, 5.0
LEAST_CONTRAST = 8.0  # standard deviation of pixels, of 255: blank images have no variance to compare
RANGE, TOKENS = "input range", "input tokens"
TOLERANCE = 1e-3  # of features, to their size: padding changes the order of sums


def input_range(backbone: Any, images: NDArray[Any]) -> Diagnosis:
    """Whether images reach the backbone in the range that it was trained with: in it, what enters its first
    BatchNorm has the mean and variance which that layer learnt.

    images: [n, size, size, 3] in [0, 255], real ones. It tells a scale that is off by multiples; an offset, a factor of
    two, or BGR for RGB it cannot tell.
    """
    import keras

    norms = [layer for layer in layers_of(backbone) if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return Diagnosis(RANGE, None, "the backbone has no BatchNorm, whose statistics would tell its range")
    if float(np.std(images)) < LEAST_CONTRAST:
        return Diagnosis(RANGE, None, f"the images are blank (standard deviation {np.std(images):.1f} of 255)")
    entered: list[tuple[Any, Any]] = []
    with watched(norms, lambda layer, given, gave: entered.append((layer, given))):
        backbone(floats(images), training=False)
    layer, given = entered[0]
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    if not mean.any() and (variance == 1).all():
        return Diagnosis(RANGE, None, f"{layer.name} never learnt statistics: the weights are random")
    values = _inner(np.moveaxis(np.asarray(given, np.float64), layer.axis, -1)).reshape(-1, len(mean))
    spread = variance + layer.epsilon
    shift = float(np.median(np.abs(values.mean(axis=0) - mean) / np.sqrt(spread)))
    ratio = float(np.median(values.var(axis=0) / spread))
    said = (f"what enters {layer.name} has {ratio:.2g} times the variance that it learnt, its mean is {shift:.2g} "
            "standard deviations off")
    if shift <= MOST_SHIFT and 1 / MOST_RATIO <= ratio <= MOST_RATIO:
        return Diagnosis(RANGE, True, said)
    cause = "scaled twice, or given in [0, 1] or [-1, 1]" if ratio < 1 else "not scaled"
    return Diagnosis(RANGE, False, f"{said}: images are {cause}",
                   "scale once: the backbone takes [0, 255] and has the scaling inside")


def _inner(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without an eighth on each side, where the zeros around an image give variance to a blank one. [n, h, w, c]."""
    if maps.ndim != 4:
        return maps
    edges = [size // 8 for size in maps.shape[1:3]]
    return maps[:, edges[0]:maps.shape[1] - edges[0], edges[1]:maps.shape[2] - edges[1]]


def input_tokens(backbone: Any, tokens: NDArray[Any], tokenizer: Tokenizer, wanted: str | None, longest: int
                 ) -> Diagnosis:
    """Whether token ids are those the backbone was trained with. tokens: [n, length] int32, of real texts.

    Ids lie within the embedding; more padding changes no features; the tokenizer is `wanted`, the fingerprint of the
    backbone's own, where that is known. longest: the most tokens the network takes.
    """
    rows = _embedding_rows(backbone)
    if rows is None:
        return Diagnosis(TOKENS, None, "the network has no layer named token_embedding")
    most = max(int(tokens.max()), tokenizer.size - 1)
    if most >= rows or int(tokens.min()) < 0:
        return Diagnosis(TOKENS, False, f"ids reach from {tokens.min()} to {most}, the embedding has {rows} rows",
                       "take vocabulary and weights from one model")
    if wanted is not None and wanted != tokenizer.fingerprint:
        return Diagnosis(TOKENS, False, f"the vocabulary ({tokenizer.fingerprint[:8]}) is not the one of the backbone "
                                      f"({wanted[:8]})", "take the tokenizer of the backbone's own folder")
    short = tokens[:, : max(1, longest - 1)]
    features = np.asarray(backbone(short, training=False))
    padded = np.asarray(backbone(np.pad(short, ((0, 0), (0, min(8, longest - short.shape[1]))),
                                        constant_values=tokenizer.pad), training=False))
    off = float(np.abs(features - padded).max() / max(np.abs(features).max(), 1e-12))
    if not off <= TOLERANCE:
        return Diagnosis(TOKENS, False, f"padding (id {tokenizer.pad}) changes the features by {off:.2g} of their "
                         "size: "
                                      "the mask does not know it", "mask the id that the tokenizer pads with")
    said = tokens != tokenizer.pad  # which in some vocabularies is what is unknown, too
    unknown = float((said & (tokens == tokenizer.unknown)).sum() / max(1, said.sum()))
    known = "" if wanted is not None else ", its own vocabulary not at hand to compare"
    return Diagnosis(TOKENS, True, f"ids below {rows}, padding is masked, {unknown:.1%} unknown tokens{known}")


def _embedding_rows(backbone: Any) -> int | None:
    """The rows of the table of tokens, which KerasHub names alike in every family."""
    return next((int(layer.input_dim) for layer in backbone._flatten_layers()
                 if hasattr(layer, "input_dim") and layer.name == "token_embedding"), None)
