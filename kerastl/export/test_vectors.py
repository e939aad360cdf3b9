"""Test vectors for clients that decode and resize images themselves, as on phones: images that are made here, the
pixels that the model takes of them, and its answers. No image of the training data is among them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.export.tflite import Interpreter
from kerastl.files import write_file
from kerastl.inputs import Input
from kerastl.versions.folder import write_json

FOLDER, LIST = "test_vectors", "vectors.json"
HOW = ("Decode `input` and resize it to the size of `expected`, without keeping the aspect ratio: along a side that "
       "shrinks, average over exact areas (a pixel that is cut counts in part); along one that grows, interpolate "
       "linearly between the centres of pixels; then round, ties to even. `pixels_sha256` is of the uint8 pixels, row "
       "by row, RGB. A client that differs from `expected` by at most 1 in each value is right.")


def write(folder: Path, source: Input, files: Mapping[str, bytes], classes: tuple[str, ...]) -> None:
    """Write the vectors into a folder of TFLite files. files: the TFLite files by kind; without one, or where they do
    not take pixels, which clients decode and resize themselves, nothing is written."""
    if not files or source.single_spec.dtype.name != "uint8":
        return
    target = folder / FOLDER
    target.mkdir()
    names = []
    for name, image in _images().items():
        write_file(target / f"{name}.png", tf.io.encode_png(image).numpy())
        names.append(name)
    runs = {kind: Interpreter(content) for kind, content in files.items()}
    vectors = []
    (batch,) = source.batches([str(target / f"{name}.png") for name in names], len(names), {}, in_order=True)
    for name, pixels in zip(names, batch.values, strict=True):
        write_file(target / f"{name}_expected.png", tf.io.encode_png(pixels).numpy())
        answers = {kind: run(source.fixed(pixels))["probabilities"] for kind, run in runs.items()}
        vectors.append({
            "input": f"{name}.png", "expected": f"{name}_expected.png",
            "pixels_sha256": hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest(),
            "probabilities": {kind: [round(float(p), 6) for p in values] for kind, values in answers.items()},
            "label": {kind: classes[int(values.argmax())] for kind, values in answers.items()}})
    write_json(target / LIST, {"how": HOW, "classes": list(classes), "vectors": vectors})


def _images() -> dict[str, NDArray[np.uint8]]:
    """One that shrinks, one that grows, one that does both, and one that is partly transparent."""
    return {"shrinks": _drawn(640, 480), "grows": _drawn(37, 53), "wide": _drawn(700, 90),
            "transparent": np.concatenate([_drawn(320, 300), _alpha(320, 300)], axis=2)}


def _drawn(width: int, height: int) -> NDArray[np.uint8]:
    """A gradient in each channel, a disc and stripes: low and high frequencies, with edges that fall between pixels."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    u, v = x / width, y / height
    disc = (u - 0.4) ** 2 + (v - 0.6) ** 2 < 0.06
    stripes = (np.floor(17 * u + 5 * v) % 2).astype(bool) & (v < 0.3)
    image = np.stack([255 * u, 255 * v, 255 * (1 - u)], axis=2)
    image[disc] = (230, 40, 60)
    image[stripes] = (20, 120, 40)
    return np.asarray(np.rint(image), np.uint8)


def _alpha(width: int, height: int) -> NDArray[np.uint8]:
    ramp = np.linspace(0, 255, width)[None, :, None].repeat(height, axis=0)
    return np.asarray(np.rint(ramp), np.uint8)
