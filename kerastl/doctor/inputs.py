"""Checks of what enters the backbone: the range of pixels, the ids of tokens."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.doctor import Diagnosis
from kerastl.doctor.watch import layers_of, watched
from kerastl.inputs import floats
from kerastl.inputs.tokenizer import Tokenizer

# The input of the first BatchNorm of EfficientNet-Lite0 on 32 images: its variance relative to the stored one, and how
# far its mean is from the stored one in stored standard deviations; each the median over channels. Five samples of
# stamps: 1.1 to 1.9, 0.17 to 0.38; as BGR, grey or negatives, noise, plain colours: 0.46 to 1.7, up to 0.43; with a
# tenth of the contrast 0.015, 0.13. The same stamps scaled to [0, 1] first: 2.4e-5, 0.3; to [-1, 1], or scaled twice:
# 9.6e-5, 0.3; not scaled: 2.5e4, 56; with only a mean subtracted: 2.5e4, 46. The limits lie in the gaps.
MOST_RATIO, MOST_SHIFT = 1000.0, 5.0
LEAST_CONTRAST = 8.0  # standard deviation of pixels in [0, 255]: blank images have no variance to compare
RANGE, TOKENS = "input range", "input tokens"
TOLERANCE = 1e-3  # of features, relative to their size: padding changes the order of sums


def input_range(backbone: Any, images: NDArray[Any]) -> Diagnosis:
    """Whether images reach the backbone in the range that it was trained with: then the input of its first BatchNorm
    has the mean and variance that this layer stored.

    images: [n, size, size, 3] in [0, 255], real ones. This detects a scale that is off by a large factor; it does not
    detect an offset, a factor of two, or BGR instead of RGB.
    """
    import keras

    norms = [layer for layer in layers_of(backbone) if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return Diagnosis(RANGE, None, "the backbone has no BatchNorm layer to compare with")
    if float(np.std(images)) < LEAST_CONTRAST:
        return Diagnosis(RANGE, None, f"the images are blank (standard deviation {np.std(images):.1f} of 255)")
    entered: list[tuple[Any, Any]] = []
    with watched(norms, lambda layer, inputs, outputs: entered.append((layer, inputs))):
        backbone(floats(images), training=False)
    layer, inputs = entered[0]
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    if not mean.any() and (variance == 1).all():
        return Diagnosis(RANGE, None, f"{layer.name} has no stored statistics: the weights are random")
    values = _inner(np.moveaxis(np.asarray(inputs, np.float64), layer.axis, -1)).reshape(-1, len(mean))
    spread = variance + layer.epsilon
    shift = float(np.median(np.abs(values.mean(axis=0) - mean) / np.sqrt(spread)))
    ratio = float(np.median(values.var(axis=0) / spread))
    measured = (f"variance x{ratio:.2g}, mean off by {shift:.2g} SD; limits: x{1 / MOST_RATIO:g} to x{MOST_RATIO:g}, "
                f"{MOST_SHIFT:g} SD")
    if shift <= MOST_SHIFT and 1 / MOST_RATIO <= ratio <= MOST_RATIO:
        return Diagnosis(RANGE, True, f"input to {layer.name} matches its statistics ({measured})")
    cause = "scaled twice, or given in [0, 1] or [-1, 1]" if ratio < 1 else "not scaled"
    return Diagnosis(RANGE, False, f"input to {layer.name} does not match its statistics ({measured}): images are "
                     f"{cause}", "scale once: the backbone takes [0, 255] and scales inside")


def _inner(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Maps without an eighth at each edge, where zero padding would give even a blank image some variance.
    [n, height, width, channels]."""
    if maps.ndim != 4:
        return maps
    edges = [size // 8 for size in maps.shape[1:3]]
    return maps[:, edges[0]:maps.shape[1] - edges[0], edges[1]:maps.shape[2] - edges[1]]


def input_tokens(backbone: Any, tokens: NDArray[Any], tokenizer: Tokenizer, expected: str | None, longest: int
                 ) -> Diagnosis:
    """Whether token ids are those that the backbone was trained with: they lie within the embedding, more padding does
    not change the features, and the tokenizer is the backbone's own.

    tokens: [n, length] int32, of real texts. expected: the fingerprint of the backbone's own tokenizer, where that is
    known. longest: the most tokens that the network takes.
    """
    rows = _embedding_rows(backbone)
    if rows is None:
        return Diagnosis(TOKENS, None, "the network has no layer named token_embedding")
    most = max(int(tokens.max()), tokenizer.size - 1)
    if most >= rows or int(tokens.min()) < 0:
        return Diagnosis(TOKENS, False, f"ids range from {tokens.min()} to {most}, but the embedding has {rows} rows",
                         "take the vocabulary and the weights from the same model")
    if expected is not None and expected != tokenizer.fingerprint:
        return Diagnosis(TOKENS, False, f"the vocabulary ({tokenizer.fingerprint[:8]}) is not that of the backbone "
                         f"({expected[:8]})", "use the tokenizer from the backbone's own folder")
    short = tokens[:, : max(1, longest - 1)]
    features = np.asarray(backbone(short, training=False))
    padded = np.asarray(backbone(np.pad(short, ((0, 0), (0, min(8, longest - short.shape[1]))),
                                        constant_values=tokenizer.pad), training=False))
    change = float(np.abs(features - padded).max() / max(np.abs(features).max(), 1e-12))
    if not change <= TOLERANCE:
        return Diagnosis(TOKENS, False, f"padding (id {tokenizer.pad}) is not masked: it changes the features by "
                         f"{change:.2g} of their size", "mask the id that the tokenizer pads with")
    actual = tokens != tokenizer.pad  # some vocabularies use one id for padding and for unknown tokens
    unknown = float((actual & (tokens == tokenizer.unknown)).sum() / max(1, actual.sum()))
    known = "" if expected is not None else "; the backbone's own vocabulary was not available to compare with"
    return Diagnosis(TOKENS, True, f"ids below {rows}, padding is masked, {unknown:.1%} unknown tokens{known}")


def _embedding_rows(backbone: Any) -> int | None:
    """The rows of the token embedding, which has the same name in every family of KerasHub."""
    return next((int(layer.input_dim) for layer in backbone._flatten_layers()
                 if hasattr(layer, "input_dim") and layer.name == "token_embedding"), None)
