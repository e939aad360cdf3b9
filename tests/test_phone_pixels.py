"""The pixels of docs/how-to/phones.md: the Kotlin and Swift code there, transcribed line by line, on the test vectors.

`Pixels.kt` itself was compiled and run by hand: 208 of 208 images were equal to the graph's at every pixel."""

import hashlib
import json
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from kerastl.inputs.quick import resized

DOCS = Path(__file__).parent.parent / "docs"
F = np.float32
Floats = NDArray[np.float32]


def on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    value, alpha = rgba[..., :3].astype(int), rgba[..., 3:].astype(int)
    return ((value * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def resize(rgb: NDArray[np.uint8], width: int, height: int, size: int) -> NDArray[np.uint8]:
    """`resize` of Pixels.kt and Pixels.swift. rgb: flat; returns flat pixels. The loops over lines and channels are
    array operations; everything is computed in float32, as there."""
    across = F(width) / F(min(width, size))
    down = F(height) / F(min(height, size))
    image = rgb.astype(F)
    image = sums(image, height, width * 3, 3, width, size, across)
    columns = min(width, size)
    image = sums(image, columns, 3, columns * 3, height, size, down)
    rows = min(height, size)
    share = F(1) / (down * across)
    image = image * share
    if min(width, height) < size:
        image = grown(image, columns, rows, size)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)  # ties to even


def sums(image: Floats, lines: int, line: int, place: int, n: int, size: int, step: Any) -> Floats:
    if n <= size:
        return image
    shorter = np.zeros(lines * size * 3, F)
    new_line = size * 3 if place == 3 else line
    lc = np.arange(lines)[:, None], np.arange(3)[None]
    for i in range(size):
        start = F(i) * step
        end = F(i + 1) * step
        for k in range(floor(start), ceil(end)):
            part = min(F(k + 1), end) - max(F(k), start)
            begin = min(k, n - 1) * place
            shorter[lc[0] * new_line + i * place + lc[1]] += image[lc[0] * line + begin + lc[1]] * part
    return shorter


def grown(image: Floats, width: int, height: int, size: int) -> Floats:
    larger = np.zeros(size * size * 3, F)
    c = np.arange(3)
    for y in range(size):
        v = (F(y) + F(0.5)) * (F(height) / F(size)) - F(0.5)
        top = max(floor(v), 0)
        bottom = min(max(ceil(v), 0), height - 1)
        down = v - F(floor(v))
        for x in range(size):
            u = (F(x) + F(0.5)) * (F(width) / F(size)) - F(0.5)
            left = max(floor(u), 0)
            right = min(max(ceil(u), 0), width - 1)
            across = u - F(floor(u))

            def between(row: int, left: int = left, right: int = right, across: Any = across) -> Floats:
                a = image[(row * width + left) * 3 + c]
                return a + (image[(row * width + right) * 3 + c] - a) * across

            upper = between(top)
            larger[(y * size + x) * 3 + c] = upper + (between(bottom) - upper) * down
    return larger


def test_the_transcription_gives_the_pixels_of_the_test_vectors(trained: Path) -> None:
    folder = trained / "tflite/test_vectors"
    for vector in json.loads((folder / "vectors.json").read_text())["vectors"]:
        image = np.asarray(Image.open(folder / vector["input"]))
        rgb = on_white(image) if image.shape[2] == 4 else image
        size = len(np.asarray(Image.open(folder / vector["expected"])))
        pixels = resize(rgb.ravel(), image.shape[1], image.shape[0], size)
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == vector["pixels_sha256"], vector["input"]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 300), (32, 32), (64, 16), (33, 31), (97, 41), (500, 7)])
def test_it_gives_the_pixels_of_the_graph_for_any_size(width: int, height: int) -> None:
    image = np.random.default_rng(width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    expected = np.asarray(resized(tf.constant(image), 32))
    assert np.array_equal(resize(image.ravel(), width, height, 32).reshape(32, 32, 3), expected)


def test_the_page_shows_the_code_that_is_transcribed_here() -> None:
    page = (DOCS / "how-to/phones.md").read_text()
    kotlin, swift = ((DOCS / "phones" / name).read_text() for name in ("Pixels.kt", "Pixels.swift"))
    assert f"```kotlin\n{kotlin}```" in page and f"```swift\n{swift}```" in page
    assert "import kotlin.math.round\n" in kotlin and "roundToInt" not in kotlin  # the one rounds ties to even
    assert swift.count(".toNearestOrEven") == 1
