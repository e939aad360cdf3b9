"""Thresholds for a purpose: a precision or a recall to reach, or what mistakes cost. They are chosen on rows that do
not report, and the reported figures say what they reach on held-out rows."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.errors import OptionError
from kerastl.evaluation.result import TargetClass, TargetResult
from kerastl.stats import Interval, mean_interval, share_interval

Array = NDArray[Any]
FORMS = "precision=0.95, recall=0.9 or cost=5:1 (a missed row costs 5 times as much as a false alarm), for a class: " \
        "precision=0.95@spam"
FEWEST = 5  # rows of a class, or predicted as it, from which its threshold is chosen
EDGE = 1e-6  # least distance of a threshold from 0 and 1


@dataclass(frozen=True)
class Choice:
    """A threshold of one class, and what it was chosen by. best: the metric on the rows that chose it, None where they
    were too few, or where the threshold follows from the costs alone."""

    number: int  # of the class
    threshold: float
    reachable: bool
    best: float | None
    rows: int  # of the class, among those that chose it


@dataclass(frozen=True)
class DecisionTarget:
    """What predictions are to reach. metric: precision, recall or cost. goal: of a precision or recall, in (0, 1].
    costs: of a missed row and of a false alarm. name: the class that it is for; None: of two classes the rarer one, of
    several labels each."""

    metric: str
    goal: float = 0.0
    costs: tuple[float, float] = (1.0, 1.0)
    name: str | None = None

    @classmethod
    def parse(cls, text: str) -> "DecisionTarget":
        """The target of a text such as `precision=0.95`, `recall=0.9@spam` or `cost=5:1`. Raises OptionError for any
        other."""
        asked, _, name = text.partition("@")
        metric, _, value = asked.partition("=")
        numbers = [_number(part) for part in value.split(":")]
        fractions = metric in ("precision", "recall") and len(numbers) == 1 and 0 < numbers[0] <= 1
        costs = metric == "cost" and len(numbers) == 2 and all(0 < number < math.inf for number in numbers)
        if not (fractions or costs) or ("@" in text and not name):
            raise OptionError(f"`target` is {text}", FORMS,
                              "a precision or recall is above 0 and at most 1; costs are above 0")
        return cls(metric, numbers[0], name=name or None) if fractions else cls(
            metric, costs=(numbers[0], numbers[1]), name=name or None)

    def of(self, examples: Examples) -> "DecisionTarget":
        """The same, for a class of these examples. Raises OptionError where it does not fit them."""
        classes, task = examples.classes, examples.task
        if task.exclusive and len(classes) != 2:
            raise OptionError(f"`target` needs two classes, or several labels per row (got {len(classes)} classes, one "
                              "label per row)", "", "omit `target`")
        if self.name is not None and self.name not in classes:
            raise OptionError(f"`target` names the class {self.name!r}", f"one of {', '.join(classes)}",
                              "correct the name behind @")
        if not task.exclusive or self.name is not None:
            return self
        counts = examples.counts()
        return DecisionTarget(self.metric, self.goal, self.costs, min(reversed(classes), key=lambda name: counts[name]))

    def __str__(self) -> str:
        value = ":".join(f"{cost:g}" for cost in self.costs) if self.metric == "cost" else f"{self.goal:g}"
        return f"{self.metric}={value}" + (f"@{self.name}" if self.name is not None else "")

    def numbers(self, examples: Examples) -> list[int]:
        """The classes whose thresholds it chooses."""
        return [number for number, name in enumerate(examples.classes) if self.name in (None, name)]

    def choose(self, examples: Examples, p: Array, truth: Array) -> tuple[tuple[float, ...], tuple[Choice, ...]]:
        """The thresholds of all classes, and how those of its own were chosen. p, truth: [n, classes], calibrated
        probabilities and targets of the rows that choose."""
        task = examples.task
        choices = tuple(self._choice(number, p[:, number], truth[:, number] > 0) for number in self.numbers(examples))
        if task.exclusive:
            (choice,) = choices
            pair = [1 - choice.threshold] * 2
            pair[choice.number] = choice.threshold
            return tuple(pair), choices
        thresholds = list(task.thresholds(p, truth))
        for choice in choices:
            thresholds[choice.number] = choice.threshold
        return tuple(thresholds), choices

    def _choice(self, number: int, p: Array, positive: NDArray[np.bool_]) -> Choice:
        total = int(positive.sum())
        if self.metric == "cost":  # with calibrated probabilities, expected costs are equal at this one (Elkan 2001)
            missed, alarm = self.costs
            return Choice(number, float(np.clip(alarm / (missed + alarm), EDGE, 1 - EDGE)), True, None, total)
        if total < FEWEST:
            return Choice(number, 0.5, False, None, total)
        threshold, best = (_for_precision if self.metric == "precision" else _for_recall)(p, positive, self.goal)
        return Choice(number, float(np.clip(threshold, EDGE, 1 - EDGE)), best >= self.goal, best, total)


def check_target(examples: Examples, target: str | None) -> None:
    """Raises OptionError for a target that cannot be read, or does not fit these examples."""
    if target is not None:
        DecisionTarget.parse(target).of(examples)


def _number(text: str) -> float:
    return float(text) if re.fullmatch(r"\d*\.?\d+|\d+\.", text) else math.nan


def _for_precision(p: Array, positive: NDArray[np.bool_], goal: float) -> tuple[float, float]:
    """The threshold of the highest recall whose precision reaches the goal, and that precision; of the highest
    precision where none does. The mean probability of the predicted rows also has to reach the goal, since the
    precision of the best of many thresholds is too high by chance."""
    order = np.argsort(-p, kind="stable")
    ranked, rows = p[order], np.arange(1, len(p) + 1)
    precision, expected = positive[order].cumsum() / rows, ranked.cumsum() / rows
    possible = (rows >= min(FEWEST, len(p))) & np.append(ranked[:-1] > ranked[1:], True)  # equal ones go together
    reached = possible & (precision >= goal) & (expected >= goal)
    last = int(np.flatnonzero(reached)[-1]) if reached.any() else int(
        np.where(possible, np.minimum(precision, expected), -1).argmax())
    best = float(precision[last]) if reached.any() else float(min(precision[last], expected[last]))
    return _below(ranked, last), best


def _for_recall(p: Array, positive: NDArray[np.bool_], goal: float) -> tuple[float, float]:
    """The highest threshold whose recall reaches the goal, and that recall. Of m rows of the class, goal * (m + 1) have
    to be predicted, so that another row is predicted with that probability (split conformal prediction)."""
    ranked, of_class = np.sort(p)[::-1], np.sort(p[positive])[::-1]
    needed = min(len(of_class), math.ceil(goal * (len(of_class) + 1) - 1e-9))
    last = int(np.searchsorted(-ranked, -of_class[needed - 1], "right")) - 1
    return _below(ranked, last), float((of_class >= ranked[last]).mean())


def _below(ranked: Array, last: int) -> float:
    """Halfway between the last probability that reaches the threshold and the next lower one."""
    return float((ranked[last] + (ranked[last + 1] if last + 1 < len(ranked) else 0.0)) / 2)


def reached(target: DecisionTarget, examples: Examples, choices: tuple[Choice, ...], predicted: Array, plain: Array,
            truth: Array, groups: Array) -> TargetResult:
    """What a target reaches on held-out rows. predicted, plain: what is predicted with and without it, [n, classes] of
    0 and 1; truth, groups: of the rows."""
    results = []
    for choice in choices:
        told, before, positive = (part[:, choice.number] > 0 for part in (predicted, plain, truth))
        value, rows = _measured(target, told, positive, groups)
        precision, recall = (_share(hits, base) for hits, base in ((positive, told), (told, positive)))
        usual, _ = _measured(target, before, positive, groups)
        name, point = examples.classes[choice.number], None if value is None else _value(target, told, positive)
        result = TargetClass(
            name, choice.threshold, choice.reachable, choice.best, point, None if value is None else value.ends, rows,
            precision, recall,
            None if usual is None else _value(target, before, positive), "")
        results.append(TargetClass(**{**vars(result), "sentence": _sentence(target, result, choice)}))
    return TargetResult(str(target), tuple(results))


def _share(hits: NDArray[np.bool_], base: NDArray[np.bool_]) -> float | None:
    return float(hits[base].mean()) if base.any() else None


def _costs(target: DecisionTarget, told: NDArray[np.bool_], positive: NDArray[np.bool_]) -> Array:
    missed, alarm = target.costs
    return missed * (positive & ~told) + alarm * (told & ~positive)


def _value(target: DecisionTarget, told: NDArray[np.bool_], positive: NDArray[np.bool_]) -> float:
    if target.metric == "cost":
        return float(_costs(target, told, positive).mean())
    return float(positive[told].mean() if target.metric == "precision" else told[positive].mean())


def _measured(target: DecisionTarget, told: NDArray[np.bool_], positive: NDArray[np.bool_], groups: Array
              ) -> tuple[Interval | None, int]:
    """The interval of the metric, None where it is not defined, and the rows that it is the mean of."""
    if target.metric == "cost":
        return mean_interval(_costs(target, told, positive), groups, (0.0, max(target.costs))), len(told)
    base, hits = (told, positive) if target.metric == "precision" else (positive, told)
    return share_interval(hits, base, groups), int(base.sum())


def _sentence(target: DecisionTarget, result: TargetClass, choice: Choice) -> str:
    """The result in words."""
    asked = f"{target.metric} {target.goal:g}" if target.metric != "cost" else "the lowest cost"
    start = f"{result.name}: predicted from a probability of {result.threshold:.3g} on, for {asked}. "
    if result.value is None or result.value_ci95 is None:
        rows = "row was predicted as it" if target.metric == "precision" else "row is of this class"
        measured = f"No held-out {rows}."
    elif target.metric == "cost":
        low, high = result.value_ci95
        before = "" if result.plain is None else f"; without the target {result.plain:.3f}"
        measured = (f"Cost per held-out row {result.value:.3f} (95% CI {low:.3f} to {high:.3f}{before}), with "
                    f"{target.costs[0]:g} for a missed row and {target.costs[1]:g} for a false alarm.")
    else:
        low, high = result.value_ci95
        other, figure = (("recall", result.recall) if target.metric == "precision" else
                         ("precision", result.precision))
        verdict = ("the target was reached" if result.value >= target.goal else
                   "below the target, but within its interval" if high >= target.goal else "the target was missed")
        interval = f"{result.value:.3f} (95% CI {low:.3f} to {high:.3f})"
        measured = (f"On {result.n} held-out rows, {target.metric} {interval}: {verdict}"
                    + (f"; {other} {figure:.3f}." if figure is not None else "."))
    if choice.reachable:
        return start + measured
    if choice.best is None:
        return (f"{start}The rows that choose the threshold have only {choice.rows} of this class, too few to choose "
                f"one. {measured}")
    return (f"{start}{target.metric.capitalize()} {target.goal:g} CANNOT BE REACHED on the rows that choose the "
            f"threshold; the best is {choice.best:.3f}. {measured}")
