"""What backbone files use to load weights, choose the feature layer and pool."""

import hashlib
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kerastl.backbones._spec import NO_POOLING, BuildOptions, FeatureLayer, Network, Weights
from kerastl.errors import WeightsError
from kerastl.files import in_home


def weights_hash(model: Any) -> str:
    """A hash of every value in a model's weights: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for value in (weight.numpy() for weight in model.weights):  # one at a time: a second copy of all may not fit
        digest.update(str((value.shape, value.dtype)).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def maps_of(network: Any, options: BuildOptions, layers: tuple[FeatureLayer, ...]) -> Any:
    """The network up to the requested feature layer, or the whole network. It returns maps."""
    import keras

    name = next((layer.layer for layer in layers if layer.name == options.layer), None)
    return keras.Model(network.input, network.get_layer(name).output, name=network.name) if name else network


def pooled(maps: Any, options: BuildOptions) -> Any:
    """Global average pooling, [batch, height, width, channels] -> [batch, channels], unless pooling is `none`."""
    import keras

    return maps if options.pooling == NO_POOLING else keras.layers.GlobalAveragePooling2D(name="pool")(maps)


def keras_download(build: Callable[[str | None], Any], weights: str, file: Weights) -> Any:
    """Build a `keras.applications` network with the weights that Keras downloads, with a file, or with random weights.

    Raises WeightsError, with the file's address and hash, if the download fails or the file does not fit.
    """
    if weights == "imagenet":
        try:
            return build("imagenet")
        except Exception as error:  # Keras raises a bare Exception when a download fails
            raise WeightsError(
                f"Keras could not download {file.origin}: {_download_reason(error)}",
                "a network connection, or the file", "download the file on another machine and pass its path as "
                "`weights`, or use the backbone efficientnet_lite0, whose weights come with a package") from error
    model = build(None)
    if weights != "none":
        fill(model, weights, f"a Keras weights file like {file.origin}")
    return model


def _download_reason(error: BaseException) -> str:
    """Why a download failed, without the address, which Keras repeats."""
    return re.sub(r"^URL fetch failure on \S+: (None -- )?", "", first_line(error))


def keras_application(name: str, application: Callable[..., Any], size: int, scale: Callable[[Any], Any],
                      options: BuildOptions, file: Weights, layers: tuple[FeatureLayer, ...]) -> Network:
    """A network of `keras.applications`: images [batch, size, size, 3] float32 in [0, 255] -> features [batch, dim]
    float32, or maps of the requested feature layer. scale: in the graph, from such images to what the network was
    trained with. Raises WeightsError as `keras_download` does."""
    import keras

    shape = (size, size, 3)
    network = keras_download(lambda weights: application(include_top=False, weights=weights, input_shape=shape),
                             options.weights, file)
    images = keras.Input(shape, name="images")
    maps = maps_of(network, options, layers)(scale(images))
    return Network(keras.Model(images, pooled(maps, options), name=name))


def fill(model: Any, path: str, expected: str) -> None:
    """Load a weights file into a model. Raises WeightsError if it does not fit."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns about layers that it leaves random
            model.load_weights(path)
    except (OSError, ValueError, KeyError, UserWarning) as error:
        raise WeightsError(f"{path} does not fit the network: {first_line(error)}", expected,
                           "check that the file was saved from this network without its classification layer"
                           ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def in_keras_cache(file: str) -> Path | None:
    """A file that Keras has downloaded before, or None."""
    home = in_home(lambda: os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    path = home and home / "models" / file
    return path if path is not None and path.exists() else None
