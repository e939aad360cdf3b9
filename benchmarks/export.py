"""Export of EfficientNet-Lite0 in four TFLite kinds, in seconds: over those of an older checkout, the ratio."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import kerastl as tl
from benchmarks.figure import Figure
from kerastl.decision import Calibration
from kerastl.export.export import export_model
from kerastl.export.tflite import convert
from kerastl.heads import resolve_head
from kerastl.modality import TFLITE_KINDS
from kerastl.tasks import task_named
from kerastl.versions.folder import new_version

ROWS, CLASSES = 260, 4


def in_four_kinds() -> list[Figure]:
    """The whole export of 260 images, comparison included, and the files alone."""
    backbone = tl.load_backbone("efficientnet_lite0")
    model = tl.splice(backbone, resolve_head("linear").build(backbone.shape, CLASSES))
    with tempfile.TemporaryDirectory() as folder:
        examples = tl.split(tl.read_images(str(_images(Path(folder) / "data"))))
        with new_version(folder, "m") as version:
            export = _seconds(lambda: export_model(version, model, backbone.input, examples, Calibration(1.0),
                                                   kinds=TFLITE_KINDS))
            version.manifest.update(kind="image")
    rows = list(np.random.default_rng(0).integers(0, 256, (100, 1, 224, 224, 3)).astype(np.uint8))
    spec, activation = backbone.input.single_spec, task_named("single_label").activation
    once = _seconds(lambda: list(convert(model, spec, Calibration(1.0), activation, TFLITE_KINDS, rows)))
    return [Figure(f"export of EfficientNet-Lite0 in four kinds, {ROWS} images", f"{export:.1f} s"),
            Figure("of that, its four TFLite files", f"{once:.1f} s")]


def _images(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for row in range(ROWS):
        path = folder / f"class{row % CLASSES}" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = tf.constant(generator.integers(0, 256, (1, 8, 8, 3)), tf.float32)
        pixels = tf.cast(tf.image.resize(coarse, [320, 320])[0], tf.uint8)
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    return folder


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
