"""Few-shot methods compared: settings chosen on episodes of base classes, figures from episodes of novel ones."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastl.stats import mean_interval, verdict
from kerastl.studies.few_shot.episodes import Episodes, Pool, Task, sample
from kerastl.studies.few_shot.methods import APPROACHES, Approach, Learned, Method

FOLDS = 3  # of base classes, at most: what learns on the others is tried on each in turn
CHOOSING = 60  # episodes a fold and shot
BLOCK = 50  # episodes in memory at a time
JUDGING_SEED = 0  # the same episodes judge every method and every --seed


@dataclass(frozen=True)
class Chosen:
    """A method for each number of shots, and the seconds it took to learn and choose."""

    name: str
    summary: str
    by_shot: dict[int, Learned]
    seconds: float


@dataclass(frozen=True)
class Figure:
    """What a method reached with `shot` rows a class: mean accuracy over episodes of novel classes, in [0, 1].

    gain: of `method` over the simplest one, on the same episodes, with the paired difference's interval."""

    method: str
    shot: int
    setting: str
    accuracy: float
    accuracy_ci95: tuple[float, float]
    right: NDArray[np.float64]  # accuracy of each episode


def learn_few_shot(base: Pool, task: Task, seed: int = 0) -> list[Chosen]:
    """Every approach, learnt on base classes, its setting chosen for each number of shots on base classes held out.

    Classes are dealt into folds of two or more; a candidate learns without a fold and is tried on episodes of it (with
    fewer ways, where a fold has fewer classes). The chosen one learns on all base classes.
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
            drawn = sample(held_out, CHOOSING, way=min(task.way, len(held_out.classes)), shot=shot,
                           queries=task.queries, seed=(seed, fold, shot))
            scores[shot].append([float(accuracies(one.method, held_out, drawn).mean()) for one in candidates])
    final = approach.learn(base, task, seed)
    best = {shot: final[int(np.mean(found, axis=0).argmax())] for shot, found in scores.items()}  # of equals the first
    return Chosen(approach.name, approach.summary, best, time.perf_counter() - start)


def accuracies(method: Method, pool: Pool, episodes: Episodes) -> NDArray[np.float64]:
    """The share of each episode's queries that a method gets right, [episodes] in [0, 1]."""
    found = []
    for at in range(0, len(episodes.classes), BLOCK):
        support, query = episodes.support[at:at + BLOCK], episodes.query[at:at + BLOCK]
        n, way, queries = query.shape
        scores = method(pool.x[support])(pool.x[query].reshape(n, way * queries, -1))
        found.append((scores.argmax(axis=-1) == np.repeat(np.arange(way), queries)).mean(axis=1))
    return np.concatenate(found)


def evaluate_few_shot(novel: Pool, methods: list[Chosen], task: Task, episodes: int) -> list[Figure]:
    """Each method on the same `episodes` episodes of novel classes for each number of shots."""
    figures = []
    for shot in task.shots:
        drawn = sample(novel, episodes, way=task.way, shot=shot, queries=task.queries, seed=(JUDGING_SEED, shot))
        for one in methods:
            right = accuracies(one.by_shot[shot].method, novel, drawn)
            # of the mean over episodes of these classes; that other classes might be harder is not in it
            interval = mean_interval(right, np.arange(len(right)))
            figures.append(Figure(one.name, shot, one.by_shot[shot].setting, float(right.mean()), interval.ends, right))
    return figures


def simplest_of_best(figures: list[Figure]) -> dict[int, str]:
    """For each number of shots the simplest method (they come from simple to not) that the best is not clearly ahead
    of: the 95% interval of the difference, episode by episode, reaches 0."""
    found: dict[int, str] = {}
    for shot in sorted({one.shot for one in figures}):
        here = [one for one in figures if one.shot == shot]
        best = max(here, key=lambda one: one.accuracy)
        found[shot] = next(one.method for one in here if one is best or not _clearly_better(best, one))
    return found


def _clearly_better(best: Figure, other: Figure) -> bool:
    interval = mean_interval(best.right - other.right, np.arange(len(best.right)), bounds=(-1.0, 1.0))
    return verdict(interval.ends) == "helped"
