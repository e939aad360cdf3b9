"""The strategy against drawing rows at random, on labels that are known and hidden: does it pay on these data?

Both start without a label. In each draw a third of the clusters is held out; it is never chosen from, and measures
both. Rows are hidden again for the next draw.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from kerastl.data.examples import Examples
from kerastl.errors import DataError
from kerastl.features.compute import Features
from kerastl.fields import Section
from kerastl.stats import Z95, standard_error, verdict
from kerastl.studies.label_next.choose import MARGIN, Rows, choose, too_few
from kerastl.studies.label_next.head import fit_head, margins, normalised, probabilities

THIRDS, REPEATS = 3, 4  # each row is held out once in a repeat
ROUNDS = 8
MOST = 6000  # rows; of more, whole clusters are drawn
LEAST_ROUNDS = 2


@dataclass(frozen=True)
class Round(Section):
    """After `labels` labelled rows: the accuracy on held-out rows by the strategy and by rows drawn at random, means
    over the draws, and the gain with its 95% interval. margins: the share of the draws in which the rows of this round
    were chosen by their margins."""

    labels: int
    strategy: float
    random: float
    gain: float
    gain_ci95: tuple[float, float]
    margins: float


@dataclass(frozen=True)
class Simulation(Section):
    """n: rows of each round. rows, clusters: that were held out, over all draws each of them equally often. draws: how
    often both started again. gain: the mean over the rounds, the figure that decides. verdict: helped, hurt or unclear.
    labels: of the last round. as_good: how many chosen labels reach the accuracy of `labels` drawn at random; None
    where that many do not."""

    n: int
    rows: int
    clusters: int
    draws: int
    rounds: tuple[Round, ...]
    gain: float
    gain_ci95: tuple[float, float]
    verdict: str
    labels: int
    as_good: int | None


@dataclass(frozen=True)
class _Course:
    """One start. correct: [rounds, rows], 1 or 0, NaN for rows that were not held out. margins: [rounds]. labelled: the
    rows that were chosen, in order."""

    correct: NDArray[np.float32]
    margins: NDArray[np.bool_]
    labelled: Rows


def simulated(features: Features, n: int = 20, *, repeats: int = REPEATS, seed: int = 0,
              kin: NDArray[np.str_] | None = None) -> Simulation:
    """Label `n` rows a round, up to 8 rounds, by the strategy and at random. features: pooled, of labelled rows; of
    more than 6,000, whole clusters are drawn. kin: for each row the name of its near-duplicates, of which one is chosen
    from, [rows]; default: its cluster.

    Each repeat deals the clusters into thirds, and holds out each third once. Both arms choose among one row of each
    cluster, and a linear head is fitted after each round. The interval adds the variance over clusters of held-out rows
    to that over draws. Raises DataError where the rows are too few for two rounds.
    """
    rows, generator = _some(features.examples, seed), np.random.default_rng(seed)
    examples = features.examples
    clusters = np.array(examples.clusters_of(rows))
    kin, names = clusters if kin is None else kin[rows], np.unique(clusters)
    rounds = min(ROUNDS, (len(names) * (THIRDS - 1) // THIRDS) // (2 * n))
    if rounds < LEAST_ROUNDS:
        raise DataError(f"{examples.source} has {len(rows):,} labelled {examples.modality.nouns} in {len(names):,} "
                        f"groups, too few to simulate rounds of {n}", f"at least {THIRDS * LEAST_ROUNDS * n:,} groups",
                        "set a smaller `n`, or label more first")
    arms: dict[bool, list[_Course]] = {True: [], False: []}
    with tqdm(total=2 * repeats * THIRDS, desc="simulating", unit=" draws", disable=None) as bar:
        for _ in range(repeats):
            third = dict(zip(generator.permutation(names).tolist(), np.arange(len(names)) % THIRDS, strict=True))
            part = np.array([third[name] for name in clusters.tolist()])
            for held_out in range(THIRDS):
                start = int(generator.integers(2**31))
                for by_strategy, courses in arms.items():
                    courses.append(_course(features, rows, part == held_out, kin, n, rounds, by_strategy, start))
                    bar.update()
    return _summary(arms[True], arms[False], clusters, n)


def _some(examples: Examples, seed: int) -> Rows:
    """The rows, or of more than `MOST` those of clusters that are drawn."""
    rows = np.arange(len(examples))
    if len(rows) <= MOST:
        return rows
    names, member = np.unique(np.array(examples.clusters_of(rows)), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    within = np.cumsum(np.bincount(member)[order]) <= MOST
    return rows[np.isin(member, order[within])]


def _course(features: Features, rows: Rows, held_out: NDArray[np.bool_], kin: NDArray[np.str_], n: int, rounds: int,
            by_strategy: bool, start: int) -> _Course:
    """Rounds of labelling in one draw, and whether each held-out row is predicted correctly after each."""
    generator, task, examples = np.random.default_rng(start), features.examples.task, features.examples
    free = generator.permutation(np.flatnonzero(~held_out))
    pool = rows[free[np.unique(kin[free], return_index=True)[1]]]  # one of each near-duplicates
    tests, labelled = rows[held_out], rows[:0]
    correct = np.full((rounds, len(rows)), np.nan, np.float32)
    by_margin = np.zeros(rounds, np.bool_)
    head, thresholds = None, np.array(task.half(len(examples.classes)).thresholds)
    for number in range(rounds):
        left = np.setdiff1d(pool, labelled)
        if by_strategy:
            few = head is None or too_few(examples.one_hot(labelled).sum(axis=0))
            values = None if head is None or few else margins(features, head, left)
            chosen = choose(lambda some: normalised(features.rows(some)), labelled, left, values, n, generator)
            by_margin[number] = any(choice.how == MARGIN for choice in chosen)
            new = np.array([choice.row for choice in chosen])
        else:
            new = generator.choice(left, n, replace=False)
        labelled = np.concatenate([labelled, new])
        head = fit_head(features, labelled)
        p = np.tile(examples.one_hot(labelled).mean(axis=0, dtype=np.float64), (len(tests), 1)) if head is None else \
            probabilities(features, head, tests)
        correct[number, held_out] = task.correct(task.predict(p, thresholds), examples.targets[tests])
    return _Course(correct, by_margin, labelled)


def _summary(strategy: list[_Course], random: list[_Course], clusters: NDArray[np.str_], n: int) -> Simulation:
    a, b = (np.stack([course.correct for course in courses]) for courses in (strategy, random))  # [draws, rounds, rows]
    by_margin = np.stack([course.margins for course in strategy]).mean(axis=0)
    rounds = []
    for number in range(a.shape[1]):
        gain, interval = _paired(a[:, number], b[:, number], clusters)
        rounds.append(Round((number + 1) * n, float(np.nanmean(a[:, number])), float(np.nanmean(b[:, number])), gain,
                            interval, float(by_margin[number])))
    gain, interval = _paired(a.mean(axis=1), b.mean(axis=1), clusters)
    return Simulation(n, a.shape[2], len(np.unique(clusters)), len(a), tuple(rounds), gain, interval, verdict(interval),
                      rounds[-1].labels, _as_good(rounds))


def _paired(a: NDArray[np.float32], b: NDArray[np.float32], clusters: NDArray[np.str_]
            ) -> tuple[float, tuple[float, float]]:
    """The gain of `a` over `b`, [draws, rows] each, and its interval: of the rows, which are held out equally often,
    and of the draws, each of which starts from other labels."""
    difference = np.asarray(a, np.float64) - b
    of_rows, of_draws = np.nanmean(difference, axis=0), np.nanmean(difference, axis=1)
    error = np.hypot(standard_error(of_rows, clusters), of_draws.std(ddof=1) / len(of_draws) ** 0.5)
    gain = float(of_rows.mean())
    return gain, (float(gain - Z95 * error), float(gain + Z95 * error))


def _as_good(rounds: list[Round]) -> int | None:
    """How many chosen labels reach the accuracy of all that were drawn at random, by interpolation; None: more."""
    labels, accuracies = [each.labels for each in rounds], np.maximum.accumulate([each.strategy for each in rounds])
    goal = rounds[-1].random
    return int(round(float(np.interp(goal, accuracies, labels)))) if accuracies[-1] >= goal else None
