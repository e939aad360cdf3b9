"""What is reached without transfer: plain features and logistic regression, on the same rows and the same split.

Texts: TF-IDF of words and pairs of words. Images: histograms of colours and of gradients' directions. The pretrained
network has to beat them, and the report says whether it did.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import TRAIN, VALIDATION, Examples
from kerastl.data.split import carve
from kerastl.evaluation.metrics import Evaluation
from kerastl.inputs.batches import pixel_batches
from kerastl.stats import paired_difference, verdict, wilson_interval

MOST = 20_000  # rows that it is trained on
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # scikit-learn's C; the one with the best accuracy on rows held out inside
SIDE, CELLS, DIRECTIONS, SHADES = 64, 4, 9, 4
NAMES = {"text": "TF-IDF (1-2 grams) + logistic regression", "image": "colours and gradients + logistic regression"}


@dataclass(frozen=True)
class Baseline:
    """How far one gets without the pretrained network, on the `n` rows that judged it. Fractions in [0, 1].

    gain: the model's accuracy less the baseline's; its interval is of the paired difference. verdict: helped | hurt |
    unclear; `word` says it in a sentence.
    """

    name: str
    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    gain: float
    gain_ci95: tuple[float, float]
    verdict: str
    word: str
    trained_on: int
    seconds: float


def baseline(examples: Examples, evaluation: Evaluation) -> Baseline:
    """Fit and judge the baseline on the split of `examples`, and compare it with what a model reached there.

    Its strength is chosen inside the training rows, or on the validation rows; test rows choose nothing.
    """
    start = time.perf_counter()
    assert examples.split is not None, "split the examples first"
    plain = _Words(examples) if examples.modality.name == "text" else _Images(examples)
    split, judged = examples.split, examples.split.held_out
    right, most = np.zeros(len(judged), bool), 0
    if split.mode == "cv":
        for fold in split.folds:
            train = _some(examples, np.flatnonzero(split.part != fold))
            inner = carve(examples, train)
            held_out = np.flatnonzero(split.part == fold)
            right[held_out] = _right(examples, plain, train[~inner], train[inner], train, held_out)
            most = max(most, len(train))
    else:
        train = _some(examples, split.rows(TRAIN))
        right[:] = _right(examples, plain, train, split.rows(VALIDATION), train, judged)
        most = len(train)
    return _compared(examples, right, np.array(evaluation.right), judged, most, time.perf_counter() - start)


def _some(examples: Examples, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    if len(rows) <= MOST:
        return rows
    return np.array(sorted(sorted(rows.tolist(), key=lambda row: examples.ids[row])[:MOST]), dtype=np.intp)


class _Words:
    """Rows as TF-IDF vectors, whose words and weights come from the rows that are fitted on."""

    def __init__(self, examples: Examples) -> None:
        self.items = examples.items

    def __call__(self, fit_on: NDArray[np.intp], *others: NDArray[np.intp]) -> list[Any]:
        from sklearn.feature_extraction.text import TfidfVectorizer

        # (?u)\w+ keeps words of one character, which whole languages are written in
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=200_000,
                                     token_pattern=r"(?u)\w+", dtype=np.float32)
        try:
            first = vectorizer.fit_transform(self._texts(fit_on))
        except ValueError:  # no text has a word
            return [np.zeros((len(rows), 1), np.float32) for rows in (fit_on, *others)]
        return [first, *(vectorizer.transform(self._texts(rows)) for rows in others)]

    def _texts(self, rows: NDArray[np.intp]) -> list[str]:
        found = (self.items[row] for row in rows.tolist())
        return [one if isinstance(one, str) else " ".join(one) for one in found]


class _Images:
    """Rows as histograms, [rows, 16 x 9 + 64], scaled by the deviation of the rows that are fitted on."""

    def __init__(self, examples: Examples) -> None:
        self.vectors = np.zeros((len(examples), CELLS**2 * DIRECTIONS + SHADES**3), np.float32)
        for places, pixels in pixel_batches(examples.items, SIDE, 32, {}):
            self.vectors[places] = [_histograms(one) for one in pixels]

    def __call__(self, fit_on: NDArray[np.intp], *others: NDArray[np.intp]) -> list[Any]:
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(self.vectors[fit_on])
        return [scaler.transform(self.vectors[rows]) for rows in (fit_on, *others)]


def _histograms(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of each of 4 x 4 cells the gradients' directions, weighted by their size (after Dalal and Triggs 2005), and of
    the whole the colours, 4 shades a channel. [64, 64, 3] -> [208], each histogram's square root, summing to 1."""
    grey = pixels.astype(np.float32).mean(axis=2)
    down, right = np.gradient(grey)
    size, turn = np.hypot(down, right), np.arctan2(down, right) % np.pi
    direction = np.minimum((turn * DIRECTIONS / np.pi).astype(int), DIRECTIONS - 1)
    cell = np.arange(SIDE) * CELLS // SIDE
    place = (cell[:, None] * CELLS + cell[None, :]) * DIRECTIONS + direction
    edges = np.bincount(place.ravel(), size.ravel(), CELLS**2 * DIRECTIONS)
    shade = pixels.astype(int) * SHADES // 256
    colours = np.bincount((shade @ (SHADES**2, SHADES, 1)).ravel(), minlength=SHADES**3)
    parts = [edges / max(1e-6, edges.sum()), colours / colours.sum()]
    return np.sqrt(np.concatenate(parts)).astype(np.float32)


def _right(examples: Examples, plain: Any, train: NDArray[np.intp], choose: NDArray[np.intp], everything:
           NDArray[np.intp], judged: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether each judged row is answered rightly by a model whose strength the rows `choose` chose."""
    x, held_out = plain(train, choose)
    scores = [_hits(examples, _fitted(examples, x, train, c), held_out, choose).mean() for c in STRENGTHS]
    x, asked = plain(everything, judged)
    model = _fitted(examples, x, everything, STRENGTHS[int(np.argmax(scores))])
    return _hits(examples, model, asked, judged)


def _fitted(examples: Examples, x: Any, rows: NDArray[np.intp], strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    model: Any = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
    if examples.multi_label:
        model = OneVsRestClassifier(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough to the solution, for a baseline
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        return model.fit(x, examples.targets[rows])


def _hits(examples: Examples, model: Any, x: Any, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    same = model.predict(x) == examples.targets[rows]
    return same.all(axis=1) if examples.multi_label else same


def _compared(examples: Examples, right: NDArray[np.bool_], model: NDArray[np.bool_], judged: NDArray[np.intp],
              trained_on: int, seconds: float) -> Baseline:
    groups = [examples.groups[row] for row in judged]
    difference = paired_difference(model, right, groups)
    gain, interval, shown = difference.gain, difference.gain_ci95, verdict(difference.gain_ci95)
    return Baseline(NAMES[examples.modality.name], len(judged), float(right.mean()),
                    wilson_interval(right, groups).ends, gain, interval, shown,
                    _word(shown, float(right.mean()), gain, interval), trained_on, seconds)


def _word(verdict: str, accuracy: float, gain: float, interval: Sequence[float]) -> str:
    by = f"{100 * gain:+.1f} points, 95% {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
    if verdict == "helped":
        return f"The pretrained network helped: without it {accuracy:.3f} ({by})."
    if verdict == "hurt":
        return f"The pretrained network did NOT help: without it {accuracy:.3f}, which is better ({by})."
    return f"Whether the pretrained network helped cannot be told: without it {accuracy:.3f} ({by})."
