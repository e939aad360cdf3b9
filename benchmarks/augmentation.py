"""Fine-tuning with each augmentation, on stamps, on stamps without their letters, on the letters, and on digits.

Letters and digits change when they are mirrored, most stamps do not. The last block and the head are trained, at ten
times the default learning rate, because there are few steps.
"""

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

import kerastl as tl
from kerastl.studies.compare.folds import hold_out
from kerastl.training.augmentation import AUTO, LIGHT, NONE, STANDARD, STRONG

STAMPS = Path("samples/stamps")
ROWS, EPOCHS, BLOCKS, LEARNING_RATE = 240, 4, 1, 3e-4
SEEDS, PRESETS = (0, 1, 2), (AUTO, NONE, LIGHT, STANDARD, STRONG)
COLUMNS = ("set", "augmentation", "rows, training and held out", "frozen", "accuracy (range over seeds)", "log loss",
           "flips")


@dataclass(frozen=True)
class Result:
    """One run on the fold of its seed. n: training and held-out rows. frozen, accuracy: in [0, 1], of the frozen and of
    the fine-tuned model; log_loss: of the latter in nats, calibrated on the validation rows."""

    name: str
    preset: str
    seed: int
    n: tuple[int, int]
    frozen: float
    accuracy: float
    log_loss: float
    kept: bool
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
    for i, (image, label) in enumerate(zip(images[:ROWS], labels, strict=False)):
        grey = tf.image.resize(255 - image.reshape(8, 8, 1) * 15.9, (64, 64), "bicubic")
        target = folder / "digits" / str(label) / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(tf.io.encode_png(tf.cast(tf.clip_by_value(grey, 0, 255), tf.uint8)).numpy())
    return folder / "digits"


def sets(folder: Path) -> dict[str, Path]:
    """Each set with its folder."""
    return {"stamps": STAMPS, "stamps without letters": without_letters(folder), "letters": letters(folder),
            "digits": digits(folder)}


def measure(name: str, source: Path, preset: str, seed: int) -> Result:
    """Fine-tune with a preset, on the fold of a seed."""
    examples = tl.find_near_duplicates(tl.read_images(str(source), limit=ROWS, min_per_class=4))
    backbone = tl.load_backbone("efficientnet_lite0")
    features = tl.compute_features(hold_out(examples, seed), backbone, tl.apply_runtime(seed=seed))
    options = tl.TrainingOptions(EPOCHS, fine_tuning=tl.TuningOptions(learning_rate=LEARNING_RATE, augment=preset))
    frozen = tl.fit(features, options=options)
    tuned, result = tl.fine_tune(features, tl.splice(backbone, frozen.head), frozen, BLOCKS, options=options)
    before, after = (tl.evaluate(features.examples, fitted.held_out, fitted.validation) for fitted in (frozen, tuned))
    assert result.augmentation is not None and features.examples.split is not None
    return Result(name, preset, seed, (int((features.examples.split.part == 0).sum()), after.n), before.accuracy,
                  after.accuracy, after.log_loss_calibrated, result.kept, result.augmentation.flips,
                  result.augmentation.reason)


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
        rows.append((name, preset, sizes, f"{np.mean([run.frozen for run in runs]):.3f}",
                     f"{np.mean(accuracies):.3f} ({min(accuracies):.3f} to {max(accuracies):.3f})",
                     f"{np.mean([run.log_loss for run in runs]):.3f}",
                     f"{sum(run.flips for run in runs)} of {len(runs)}"))
    return rows


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)
