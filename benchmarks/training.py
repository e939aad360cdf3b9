"""20 epochs of the `mlp` head: from cached features, pass included, against Keras `fit` through the frozen backbone."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

import kerastl as tl
from benchmarks import images
from benchmarks.figure import Figure, at_least
from kerastl.data.examples import TEST, TRAIN, VALIDATION, Split
from kerastl.data.split import folds
from kerastl.heads import resolve_head
from kerastl.inputs.batches import pixel_batches
from kerastl.model import predict_logits
from kerastl.training.fitters.gradient import descend
from kerastl.training.options import TrainingOptions

EPOCHS, BATCH = 20, 32
SMALL = "efficientnet_lite0"
SAMPLES = Path("samples/stamps")


def halves(examples: tl.Examples) -> tl.Examples:
    """Half of each class trains and half judges."""
    part = np.where(folds(examples, 2) == 0, TRAIN, TEST).astype(np.int8)
    part[np.flatnonzero(part == TRAIN)[:1]] = VALIDATION  # a split has all three sides
    return replace(examples, split=Split("given", "halves", part))


def ours(examples: tl.Examples, seed: int, name: str = SMALL, weights: str = "bundled") -> tuple[float, float]:
    """Seconds and accuracy on the test rows: decode, pass and 20 epochs; an empty cache; no row but training rows
    is timed."""
    backbone, runtime = tl.load_backbone(name, weights), tl.apply_runtime(seed=seed)
    split = examples.split
    assert split is not None
    train = examples.take(split.rows(TRAIN))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        features = tl.compute_features(train, backbone, runtime, cache_dir=Path(folder))
        options = TrainingOptions(class_weights="none", head_batch_size=BATCH)
        rows = np.arange(len(features.examples))
        head = descend(resolve_head("mlp"), features, rows, None, options, epochs=EPOCHS).model
        seconds = time.perf_counter() - start
        judged = examples.take(split.rows(TEST))
        if not len(judged):
            return seconds, float("nan")
        inputs = tl.compute_features(judged, backbone, runtime, cache_dir=Path(folder)).rows(np.arange(len(judged)))
    return seconds, float((predict_logits(head, inputs).argmax(axis=1) == judged.targets).mean())


def through_keras(examples: tl.Examples, seed: int, epochs: int, name: str = SMALL, weights: str = "bundled"
                  ) -> tuple[float, float]:
    """The same with `fit` on the spliced model: pixels decoded once and kept in memory, as the quickest users do."""
    backbone = tl.load_backbone(name, weights)
    split = examples.split
    assert split is not None
    keras.utils.set_random_seed(seed)
    model = tl.splice(backbone, resolve_head("mlp").build(backbone.shape, len(examples.classes)))
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-2), keras.losses.CategoricalCrossentropy(
        from_logits=True))
    train = examples.take(split.rows(TRAIN))
    start = time.perf_counter()
    pixels = np.concatenate([batch for _, batch in pixel_batches(train.items, backbone.input.size, BATCH, {})])
    decoding = time.perf_counter() - start
    model.fit(pixels[:BATCH], train.one_hot()[:BATCH], epochs=1, batch_size=BATCH, verbose=0)  # builds the graph
    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    model.fit(pixels, train.one_hot(), epochs=epochs, batch_size=BATCH, verbose=0)
    seconds = decoding + (time.perf_counter() - start) * EPOCHS / epochs
    judged = examples.take(split.rows(TEST))
    if not len(judged):
        return seconds, float("nan")
    inputs = np.concatenate([batch for _, batch in pixel_batches(judged.items, backbone.input.size, BATCH, {})])
    return seconds, float((predict_logits(model, inputs, BATCH).argmax(axis=1) == judged.targets).mean())


def from_cache() -> list[Figure]:
    """Time on JPEG files: Keras for 2 epochs, times 10."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for i, shape in enumerate(((500, 375), (375, 500), (480, 360), (360, 480))):
            images.write(Path(folder) / str(i), 500, *shape)
        examples = tl.read_images(folder)
        examples = replace(examples, split=Split("given", "all train", np.zeros(len(examples), np.int8)))
        for name, weights, step in ((SMALL, "bundled", 1), ("resnet50", "none", 3)):
            some = examples.take(range(0, len(examples), step))
            mine, theirs = ours(some, 0, name, weights)[0], through_keras(some, 0, 2, name, weights)[0]
            figures.append(at_least(f"20 epochs of `mlp`, {len(some)} images, {name}: Keras `fit` ({theirs:.0f} s, "
                                    f"2 epochs measured and scaled) over ours with the feature pass ({mine:.1f} s)",
                                    theirs / mine, 15))
    return figures


def on_the_samples() -> list[Figure]:
    """Time and accuracy of both on halves of the stamps, all 20 epochs, where the samples are here."""
    if not SAMPLES.exists():
        return [Figure("20 epochs of `mlp` on the stamps", "not measured: run `make quickstart` first")]
    examples = halves(tl.read_images(str(SAMPLES), min_per_class=30))
    assert examples.split is not None
    trained, judged = len(examples.split.rows(TRAIN)), len(examples.split.rows(TEST))
    mine, theirs = [ours(examples, seed) for seed in range(3)], [through_keras(examples, seed, EPOCHS)
                                                                 for seed in range(3)]
    seconds = [np.mean([one[0] for one in side]) for side in (theirs, mine)]
    accuracy = [100 * np.mean([one[1] for one in side]) for side in (theirs, mine)]
    gap = accuracy[1] - accuracy[0]
    return [
        Figure(f"the same on {trained} stamps, {SMALL}, all 20 epochs, 3 seeds ({seconds[0]:.0f} s over "
               f"{seconds[1]:.1f} s)", f"{seconds[0] / seconds[1]:.1f}"),
        Figure(f"accuracy on {judged} other stamps, ours minus Keras' ({accuracy[1]:.1f}% minus {accuracy[0]:.1f}%, "
               "means of 3 seeds)", f"{gap:+.2f} points", "within 0.5", abs(gap) <= 0.5),
    ]
