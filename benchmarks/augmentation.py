"""Fine-tuning with each augmentation, on stamps, on stamps without their letters, and on digits; and the mirror test.

Digits, letters and arrows change when they are mirrored, most stamps do not. A fifth of the rows trains, where
augmentation should help most, and four fifths are held out. The last block and the head are trained, at a higher
learning rate than by default, because there are few steps.
"""

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

import kerastl as tl
from kerastl.data.examples import TEST, TRAIN, VALIDATION, Split
from kerastl.data.split import carve, folds, split_of
from kerastl.training.augmentation import AUTO, LIGHT, NONE, STANDARD, STRONG
from kerastl.training.fine_tuning.mirror import mirror_test

STAMPS = Path("samples/stamps")
DIGITS, EPOCHS, BLOCKS, LEARNING_RATE = 400, 4, 1, 1e-4
SEEDS, PRESETS = (0, 1), (AUTO, NONE, LIGHT, STANDARD, STRONG)
COLUMNS = ("set", "augmentation", "rows: training, held out", "validation loss: frozen, fine-tuned", "kept",
           "accuracy: frozen, exported (range over seeds)", "log loss: frozen, exported", "flip")
MIRROR_COLUMNS = ("set", "training rows", "accuracy: as they are, mirrored (standard error)",
                  "log loss: as they are, change (standard error)", "flip of auto")


@dataclass(frozen=True)
class Result:
    """One run, trained on the fold of its seed. n: training and held-out rows. before, after: the validation loss of
    the frozen backbone and of the best epoch, in nats. accuracy, log_loss: on the held-out rows, of the model that is
    exported, which is the fine-tuned one if it is `kept`; frozen, frozen_loss: of the frozen backbone. Log losses are
    calibrated on the validation rows."""

    name: str
    preset: str
    seed: int
    n: tuple[int, int]
    before: float
    after: float
    kept: bool
    frozen: float
    accuracy: float
    frozen_loss: float
    log_loss: float
    flips: bool
    reason: str


def letters(folder: Path) -> Path:
    """The stamps of the English alphabet: four images a letter, upper and lower case, filled and outlined."""
    for path in sorted((STAMPS / "symbols/alphabets/english").rglob("*.png")):
        if letter := re.fullmatch(r"([A-Za-z])_(filled|outline)", path.stem):
            case = "upper" if letter[1].isupper() else "lower"
            _copy(path, folder / "letters" / letter[1].upper() / f"{case}_{letter[2]}.png")
    return folder / "letters"


def without_letters(folder: Path) -> Path:
    """The stamps, of symbols those that are in no alphabet."""
    for path in sorted(STAMPS.rglob("*.png")):
        if "alphabets" not in path.parts:
            _copy(path, folder / "without_letters" / path.relative_to(STAMPS))
    return folder / "without_letters"


def digits(folder: Path) -> Path:
    """Handwritten digits of scikit-learn, dark on white, eight times as large."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    for i, (image, label) in enumerate(zip(images[:DIGITS], labels, strict=False)):
        grey = tf.image.resize(255 - image.reshape(8, 8, 1) * 15.9, (64, 64), "bicubic")
        target = folder / "digits" / str(label) / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(tf.io.encode_png(tf.cast(tf.clip_by_value(grey, 0, 255), tf.uint8)).numpy())
    return folder / "digits"


def arrows(folder: Path) -> Path:
    """Drawn arrows of any colour and size, to the left and to the right."""
    from PIL import Image, ImageDraw

    generator = np.random.default_rng(0)
    for i in range(160):
        image = Image.new("RGB", (96, 96), tuple(generator.integers(150, 256, 3).tolist()))
        x, y = (48 + generator.integers(-10, 11, 2)).tolist()
        length, side, width = generator.integers(18, 34), 1 if i % 2 else -1, int(generator.integers(3, 8))
        height, colour = int(generator.integers(8, 18)), tuple(generator.integers(0, 120, 3).tolist())
        draw = ImageDraw.Draw(image)
        draw.line([(x - side * length, y), (x + side * length, y)], fill=colour, width=width)
        draw.polygon([(x + side * (length + 6), y), (x + side * (length - height), y - height),
                      (x + side * (length - height), y + height)], fill=colour)
        target = folder / "arrows" / ("right" if i % 2 else "left") / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target)
    return folder / "arrows"


def sets(folder: Path) -> dict[str, Path]:
    """Each set that is trained on, with its folder."""
    return {"stamps": STAMPS, "stamps without letters": without_letters(folder), "digits": digits(folder)}


def read(source: Path) -> tl.Examples:
    """The rows of a set, also of letters, of which there are four each."""
    return tl.find_near_duplicates(tl.read_images(str(source), min_per_class=4))


def trained_on_a_fifth(examples: tl.Examples, seed: int) -> tl.Examples:
    """Fold `seed` of 5 trains, a sixth of it for validation; the others are held out."""
    part = np.full(len(examples), TEST, np.int8)
    rows = np.flatnonzero(folds(examples, 5) == seed)
    part[rows] = np.where(carve(examples, rows), VALIDATION, TRAIN)
    return replace(examples, split=Split("holdout", f"fold {seed + 1} of 5 trains", part))


def measure(name: str, source: Path, preset: str, seed: int) -> Result:
    """Fine-tune with a preset, on the fold of a seed."""
    backbone = tl.load_backbone("efficientnet_lite0")
    runtime = tl.apply_runtime(precision="float32", seed=seed)
    features = tl.compute_features(trained_on_a_fifth(read(source), seed), backbone, runtime)
    options = tl.TrainingOptions(EPOCHS, fine_tuning=tl.TuningOptions(learning_rate=LEARNING_RATE, augment=preset))
    frozen = tl.fit(features, options=options)
    tuned, result = tl.fine_tune(features, tl.splice(backbone, frozen.head), frozen, BLOCKS, options=options)
    before, after = (tl.evaluate(features.examples, fitted.held_out, fitted.validation) for fitted in (frozen, tuned))
    assert result.augmentation is not None
    return Result(name, preset, seed, (len(split_of(features.examples).rows(TRAIN)), after.n), result.loss_before,
                  result.loss_after, result.kept, before.accuracy, after.accuracy, before.log_loss_calibrated,
                  after.log_loss_calibrated, result.augmentation.flips, result.augmentation.reason)


def mirrors() -> list[tuple[str, ...]]:
    """The mirror test on every set, all rows of which train."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, source in (sets(Path(folder)) | {"letters": letters(Path(folder)),
                                                   "arrows": arrows(Path(folder))}).items():
            examples = read(source)
            whole = replace(examples, split=Split("holdout", "all rows train", np.full(len(examples), TRAIN, np.int8)))
            features = tl.compute_features(whole, tl.load_backbone("efficientnet_lite0"), tl.apply_runtime())
            test = mirror_test(features)
            assert test is not None
            rows.append((name, f"{test.n}", f"{test.accuracy:.3f}, {test.mirrored_accuracy:.3f} "
                         f"({test.accuracy_error:.3f})", f"{test.log_loss:.3f}, "
                         f"{test.mirrored_log_loss - test.log_loss:+.3f} ({test.log_loss_error:.3f})",
                         "yes" if test.flips else "no"))
    return rows


def measured() -> Iterator[Result]:
    """Every set with every preset and seed."""
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sets(Path(folder)).items():
            for preset in PRESETS:
                for seed in SEEDS:
                    yield measure(name, source, preset, seed)


def as_rows(results: Iterable[Result]) -> list[tuple[str, ...]]:
    """A row for each set and preset, over the seeds."""
    cells: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        cells.setdefault((result.name, result.preset), []).append(result)
    rows = []
    for (name, preset), runs in cells.items():
        accuracies = [run.accuracy for run in runs]
        sizes = ", ".join(str(round(float(np.mean(sizes)))) for sizes in zip(*(run.n for run in runs), strict=True))
        before, after, frozen, frozen_loss, loss = (np.mean([getattr(run, figure) for run in runs]) for figure in (
            "before", "after", "frozen", "frozen_loss", "log_loss"))
        rows.append((name, preset, sizes, f"{before:.3f}, {after:.3f}",
                     f"{sum(run.kept for run in runs)} of {len(runs)}",
                     f"{frozen:.3f}, {np.mean(accuracies):.3f} ({min(accuracies):.3f} to {max(accuracies):.3f})",
                     f"{frozen_loss:.3f}, {loss:.3f}",
                     f"{sum(run.flips for run in runs)} of {len(runs)}"))
    return rows


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)
