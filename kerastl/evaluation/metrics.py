"""What a model's answers on held-out rows are worth: accuracy with its interval, per class, calibration, mistakes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray
from sklearn import metrics

from kerastl.data.examples import Examples
from kerastl.decision import Calibration, Predictions
from kerastl.stats import wilson_interval

BINS = 15  # of the calibration error: Guo et al. 2017, https://arxiv.org/abs/1706.04599
FEWEST = 10  # rows of a class, from which its threshold is chosen
PRIOR = 0.5  # deviation of the temperature's logarithm, before any row was seen


@dataclass(frozen=True)
class ClassResult:
    """Precision, recall and F1 of one class, in [0, 1], and its rows."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Mistake:
    """A row answered wrongly, and how sure the model was."""

    row: int
    origin: str
    true: str
    given: str
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on `n` held-out rows. Fractions in [0, 1], losses in nats.

    accuracy: of single labels; with several, the share of rows whose whole set is right. `calibrated` figures are
    after temperature scaling; where rows fitted the temperature, each was scaled by one fitted without its fold.
    """

    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    interval: str  # in words: how the interval was made
    macro_f1: float
    log_loss: float
    log_loss_calibrated: float
    ece: float
    ece_calibrated: float
    calibration: Calibration
    classes: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...]  # [true][given]; empty with several labels
    reliability: tuple[dict[str, float], ...]  # a bin each: low, high, n, confidence, accuracy
    mistakes: tuple[Mistake, ...] = field(default=())
    right: tuple[bool, ...] = field(default=(), repr=False)  # of each judged row; not in the run record


def record(evaluation: Evaluation) -> dict[str, Any]:
    """What the run record holds of an evaluation: all but the rows one by one."""
    found = asdict(evaluation)
    del found["right"]
    return found


def evaluate(examples: Examples, judged: Predictions, chosen: Predictions | None = None, *, worst: int = 24
             ) -> Evaluation:
    """Judge answers on held-out rows.

    chosen: answers on the validation rows, which fit the temperature; without them the judged rows are
    cross-validated ones, and each fold is scaled by the temperature of the others.
    """
    fit_on = chosen or judged
    calibration = calibrate(fit_on.logits, examples.one_hot(fit_on.rows), examples.multi_label)
    each = [calibration] * len(judged.rows)
    if chosen is None and examples.split is not None:
        each = _crossfitted(examples, judged, calibration)
    return _figures(examples, judged, calibration, each, worst)


def evaluate_probabilities(examples: Examples, probabilities: NDArray[np.float32], thresholds: Sequence[float] = (), *,
                           worst: int = 24) -> Evaluation:
    """Judge probabilities that are calibrated already, [rows, classes]: of an exported model on new data. thresholds:
    of each class, where a row may have several labels; default: 0.5."""
    p = np.clip(probabilities, 1e-7, 1)
    logits = scipy.special.logit(np.clip(p, 1e-7, 1 - 1e-7)) if examples.multi_label else np.log(p)
    answers = Predictions(np.arange(len(examples)), logits.astype(np.float32))
    half = [0.5] * len(examples.classes) if examples.multi_label else []
    calibration = Calibration(1.0, tuple(thresholds or half))
    return _figures(examples, answers, calibration, [calibration] * len(examples), worst)


def _crossfitted(examples: Examples, judged: Predictions, calibration: Calibration) -> list[Calibration]:
    """Each row's calibration, fitted on the rows of the other folds."""
    assert examples.split is not None
    part = examples.split.part[judged.rows]
    of_fold = {}
    for fold in set(part.tolist()):
        others = part != fold
        of_fold[fold] = calibrate(judged.logits[others], examples.one_hot(judged.rows[others]), examples.multi_label
                                  ) if others.any() else calibration
    return [of_fold[fold] for fold in part.tolist()]


def _figures(examples: Examples, judged: Predictions, calibration: Calibration, each: Sequence[Calibration], worst: int
             ) -> Evaluation:
    logits, truth = judged.logits.astype(np.float64), examples.one_hot(judged.rows)
    several = examples.multi_label
    temperatures = np.array([one.temperature for one in each])[:, None]
    plain, calibrated = probabilities(logits, several), probabilities(logits / temperatures, several)
    if several:
        given = (calibrated >= np.array([one.thresholds for one in each])).astype(int)
    else:
        given = plain.argmax(axis=1)
    true = truth.astype(int) if several else examples.targets[judged.rows]
    right = (given == true).all(axis=1) if several else given == true
    numbers: Any = {"labels": list(range(len(examples.classes))), "zero_division": 0}
    precision, recall, f1, support = metrics.precision_recall_fscore_support(true, given, **numbers)
    matrix = () if several else metrics.confusion_matrix(true, given, labels=numbers["labels"])
    interval = wilson_interval(right, [examples.groups[row] for row in judged.rows])
    return Evaluation(
        n=len(right), accuracy=float(right.mean()), accuracy_ci95=interval.ends, interval=interval.method,
        macro_f1=float(f1[support > 0].mean()) if support.any() else 0.0, log_loss=_loss(plain, truth, several),
        log_loss_calibrated=_loss(calibrated, truth, several), ece=ece(*_claims(plain, truth, several)),
        ece_calibrated=ece(*_claims(calibrated, truth, several)), calibration=calibration,
        classes=tuple(ClassResult(name, float(p), float(r), float(f), int(s)) for name, p, r, f, s in
                      zip(examples.classes, precision, recall, f1, support, strict=True)),
        confusion=tuple(tuple(int(n) for n in line) for line in matrix),
        reliability=tuple(reliability(*_claims(calibrated, truth, several))),
        mistakes=_mistakes(examples, judged.rows, right, given, calibrated, worst), right=tuple(right.tolist()),
    )


def probabilities(logits: NDArray[np.float64], multi_label: bool) -> NDArray[np.float64]:
    """Softmax over classes, or a sigmoid for each label. [n, classes] -> [n, classes] in [0, 1]."""
    return scipy.special.expit(logits) if multi_label else scipy.special.softmax(logits, axis=1)


def calibrate(logits: NDArray[Any], truth: NDArray[Any], multi_label: bool) -> Calibration:
    """The temperature and, of several labels, the thresholds that these rows ask for. logits, truth: [n, classes]."""
    temperature = fit_temperature(logits, truth, multi_label)
    if not multi_label:
        return Calibration(temperature)
    return Calibration(temperature, fit_thresholds(probabilities(logits.astype(np.float64) / temperature, True), truth))


def fit_thresholds(p: NDArray[np.float64], truth: NDArray[Any]) -> tuple[float, ...]:
    """For each class the threshold with the best F1, at a middle between two of its probabilities; 0.5 for a class
    with fewer than 10 rows, which would only be fitted to chance. p, truth: [n, classes]."""
    found = []
    for c in range(p.shape[1]):
        positive = truth[:, c] > 0
        if positive.sum() < FEWEST:
            found.append(0.5)
            continue
        order = np.argsort(-p[:, c], kind="stable")
        sure, hits = p[order, c], np.cumsum(positive[order])
        f1 = 2 * hits / (np.arange(1, len(p) + 1) + positive.sum())
        f1[:-1][sure[:-1] == sure[1:]] = -1  # no threshold parts equal probabilities
        last = int(f1.argmax())
        below = sure[last + 1] if last + 1 < len(p) else 0.0
        found.append(float((sure[last] + below) / 2))
    return tuple(found)


def fit_temperature(logits: NDArray[Any], truth: NDArray[Any], multi_label: bool) -> float:
    """The number that logits are divided by for the least log loss (Guo et al. 2017), within [0.05, 20].

    A few rows that all are right would ask for no doubt at all, so the logarithm of the number has a normal prior of
    mean 0; hundreds of rows outweigh it.
    """
    z = logits.astype(np.float64)

    def loss(log_t: float) -> float:  # of logits: a loss of clipped probabilities would not feel very sure mistakes
        scaled, prior = z / np.exp(log_t), (log_t / PRIOR) ** 2 / (2 * max(1, len(z)))
        if multi_label:
            return float((np.logaddexp(0, scaled) - truth * scaled).sum(axis=1).mean()) + prior
        return float((scipy.special.logsumexp(scaled, axis=1) - (truth * scaled).sum(axis=1)).mean()) + prior

    found = scipy.optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def ece(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Expected calibration error: the gap between confidence and accuracy, averaged over 15 bins of equal width."""
    return float(sum(one["n"] * abs(one["confidence"] - one["accuracy"]) for one in reliability(confidence, right))
                 / max(1, len(right)))


def reliability(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> list[dict[str, float]]:
    """The bins of a reliability diagram that have rows: low, high, n, mean confidence, accuracy."""
    place = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    found = []
    for b in np.unique(place):
        here = place == b
        found.append({"low": b / BINS, "high": (b + 1) / BINS, "n": float(here.sum()),
                      "confidence": float(confidence[here].mean()), "accuracy": float(right[here].mean())})
    return found


def _claims(p: NDArray[np.float64], truth: NDArray[Any], several: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """What was claimed and whether it held: of the top class, or of every label."""
    if several:
        return p.ravel(), truth.ravel().astype(np.float64)
    return p.max(axis=1), (p.argmax(axis=1) == truth.argmax(axis=1)).astype(np.float64)


def _loss(p: NDArray[np.float64], truth: NDArray[Any], several: bool) -> float:
    safe = np.clip(p, 1e-12, 1 - 1e-12)
    if several:
        return float(-(truth * np.log(safe) + (1 - truth) * np.log1p(-safe)).sum(axis=1).mean())
    return float(-(truth * np.log(safe)).sum(axis=1).mean())


def _mistakes(examples: Examples, rows: NDArray[np.intp], right: NDArray[np.bool_], given: NDArray[Any],
              p: NDArray[np.float64], worst: int) -> tuple[Mistake, ...]:
    """The mistakes that the model was surest of. With several labels: sure of the label it is most wrong about."""
    wrong = np.flatnonzero(~right)
    if examples.multi_label:
        gap = np.abs(p - examples.one_hot(rows)).max(axis=1)
        said = ["|".join(np.asarray(examples.classes)[line.astype(bool)]) or "(none)" for line in given]
    else:
        gap, said = p.max(axis=1), [examples.classes[i] for i in given]
    order = wrong[np.argsort(-gap[wrong], kind="stable")][:worst]
    return tuple(Mistake(int(rows[i]), examples.origins[rows[i]], examples.label_of(int(rows[i])) or "(none)", said[i],
                         float(gap[i])) for i in order)
