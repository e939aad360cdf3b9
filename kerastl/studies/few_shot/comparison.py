"""Comparing few-shot methods: settings are chosen on base classes, and novel classes are for evaluation only."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastl.stats import mean_interval, verdict
from kerastl.studies.few_shot.episodes import Episodes, Pool, Task, sample
from kerastl.studies.few_shot.methods import APPROACHES, Approach, Learned, Method

FOLDS = 3  # of base classes, at most: each is held out in turn to choose settings
CHOOSING = 60  # episodes per fold and number of shots
BLOCK = 50  # episodes in memory at a time
EVALUATION_SEED = 0  # every method, whatever its training seed, is evaluated on the same episodes


@dataclass(frozen=True)
class Chosen:
    """A method with the setting that was chosen for each number of shots. seconds: of learning and choosing."""

    name: str
    summary: str
    by_shot: dict[int, Learned]
    seconds: float


@dataclass(frozen=True)
class Figure:
    """The accuracy of a method with `shot` labelled rows per class, in [0, 1]: the mean over episodes of novel classes,
    with its interval, and that of each episode. The interval does not cover that other classes might be harder."""

    method: str
    shot: int
    setting: str
    accuracy: float
    accuracy_ci95: tuple[float, float]
    by_episode: NDArray[np.float64]


def learn_few_shot(base: Pool, task: Task, seed: int = 0) -> list[Chosen]:
    """Every approach, learned on base classes, with a setting chosen for each number of shots on held-out base classes.

    Classes are dealt into folds of two or more. A candidate is learned without a fold and evaluated on episodes of it
    (with fewer ways, where a fold has fewer classes). The chosen one is learned on all base classes.
    """
    return [_learn(approach, base, task, seed) for approach in APPROACHES]


def _learn(approach: Approach, base: Pool, task: Task, seed: int) -> Chosen:
    start = time.perf_counter()
    print(f"learning on {len(base.classes)} base classes: {approach.name}", flush=True)
    numbers = np.arange(len(base.classes))
    folds = min(FOLDS, len(numbers) // 2)
    scores: dict[int, list[list[float]]] = {shot: [] for shot in task.shots}
    for fold in range(folds):
        held_out = base.only(numbers[numbers % folds == fold])
        candidates = approach.learn(base.only(numbers[numbers % folds != fold]), task, seed)
        for shot in task.shots:
            episodes = sample(held_out, CHOOSING, way=min(task.way, len(held_out.classes)), shot=shot,
                              queries=task.queries, seed=(seed, fold, shot))
            scores[shot].append([float(accuracies(candidate.method, held_out, episodes).mean())
                                 for candidate in candidates])
    final = approach.learn(base, task, seed)
    best = {shot: final[int(np.mean(values, axis=0).argmax())] for shot, values in scores.items()}
    return Chosen(approach.name, approach.summary, best, time.perf_counter() - start)


def accuracies(method: Method, pool: Pool, episodes: Episodes) -> NDArray[np.float64]:
    """The accuracy of a method on the queries of each episode, [episodes] in [0, 1]."""
    blocks = []
    for start in range(0, len(episodes.classes), BLOCK):
        support, query = episodes.support[start:start + BLOCK], episodes.query[start:start + BLOCK]
        n, way, queries = query.shape
        scores = method(pool.x[support])(pool.x[query].reshape(n, way * queries, -1))
        blocks.append((scores.argmax(axis=-1) == np.repeat(np.arange(way), queries)).mean(axis=1))
    return np.concatenate(blocks)


def evaluate_few_shot(novel: Pool, methods: Sequence[Chosen], task: Task, episodes: int) -> list[Figure]:
    """Each method on the same `episodes` episodes of novel classes, for each number of shots."""
    figures = []
    for shot in task.shots:
        drawn = sample(novel, episodes, way=task.way, shot=shot, queries=task.queries, seed=(EVALUATION_SEED, shot))
        for method in methods:
            learned = method.by_shot[shot]
            values = accuracies(learned.method, novel, drawn)
            interval = mean_interval(values, np.arange(len(values)))
            figures.append(Figure(method.name, shot, learned.setting, float(values.mean()), interval.ends, values))
    return figures


def simplest_of_best(figures: Sequence[Figure]) -> dict[int, str]:
    """For each number of shots the simplest method that the best is not significantly better than: the 95% interval of
    the difference, episode by episode, includes 0. figures: of each number of shots from the simplest method on."""
    simplest: dict[int, str] = {}
    for shot in sorted({figure.shot for figure in figures}):
        candidates = [figure for figure in figures if figure.shot == shot]
        best = max(candidates, key=lambda figure: figure.accuracy)
        simplest[shot] = next(figure.method for figure in candidates
                              if figure is best or not _significantly_better(best, figure))
    return simplest


def _significantly_better(best: Figure, other: Figure) -> bool:
    difference = best.by_episode - other.by_episode
    return verdict(mean_interval(difference, np.arange(len(difference)), bounds=(-1.0, 1.0)).ends) == "helped"
