"""For the `best` head: linear, plain and joint are solved on the same rows, and one of them is chosen on rows that it
has not seen, inside each training fold. So the reported figure is that of a model chosen in this way, and is honest.

The choice is by the paired difference of log loss: the simplest head is taken that is not worse than the best one by
more than one standard error (Breiman et al. 1984). Log loss tells heads apart with fewer rows than accuracy does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.features.compute import Features
from kerastl.heads import ConfiguredHead, resolve_head
from kerastl.stats import standard_error
from kerastl.training.fitters import Fitter, Job, RowsFit, convex
from kerastl.training.fitters.contenders import JOINT, LINEAR, PLAIN, Contenders, contenders, side_by_side
from kerastl.training.fitters.joint import as_fit
from kerastl.training.fitters.plain import PlainRows
from kerastl.training.options import TrainingOptions

ORDER = (LINEAR, PLAIN, JOINT)  # from simple to less so: of a tie, the first is taken
IN_TURN, VALIDATION = "training rows held out in turn", "validation rows"  # that choose the head
MOST_CLASSES = 200  # a table of 65,536 n-grams for each class would be larger than the backbone


def fit_rows(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
             options: TrainingOptions, *, epochs: int | None = None) -> RowsFit:
    """See `Fitter`."""
    if why := not_compared(features):
        linear = resolve_head(LINEAR, features.parts)
        return replace(convex.fit_rows(linear, features, rows, validation, options), name=LINEAR, reason=_alone(why))
    return _chosen(contenders(features, PlainRows(features), rows, validation, options), rows, options,
                   IN_TURN if validation is None else VALIDATION)


def cross_fit(head: ConfiguredHead, jobs: Sequence[Job], options: TrainingOptions) -> Iterator[RowsFit]:
    """See `Fitter`."""
    if why := next(filter(None, (not_compared(features) for features, _ in jobs)), ""):
        linear = resolve_head(LINEAR, jobs[0][0].parts)
        yield from (replace(fitted, name=LINEAR, reason=_alone(why)) for fitted in
                    convex.cross_fit(linear, jobs, options))
        return
    for made, (_, rows) in zip(side_by_side(jobs, options), jobs, strict=True):
        yield _chosen(made, rows, options, IN_TURN)


def not_compared(features: Features) -> str:
    """Why only the linear head is fitted; empty where all three are."""
    classes = len(features.examples.classes)
    if not convex.fits_in_memory(features):
        return "the rows do not fit into memory"
    if features.raw and features.raw.symbols and classes > MOST_CLASSES:
        return f"there are {classes} classes, and n-grams are compared up to {MOST_CLASSES}"
    return ""


def _alone(why: str) -> str:
    return f"only linear was fitted, because {why}"


def _chosen(made: Contenders, rows: NDArray[np.intp], options: TrainingOptions, chosen_on: str) -> RowsFit:
    examples = made.features.examples
    shown = choose(made.losses, examples, made.rows)
    name = shown if shown != PLAIN or options.allow_baseline else choose(made.losses, examples, made.rows, skip=PLAIN)
    return replace(as_fit(made, name, rows, options), name=name, simple_wins=shown == PLAIN,
                   reason=reason_of(name, made.losses, examples, made.rows, chosen_on),
                   rivals={rival: partial(made.logits, rival) for rival in ORDER})


def choose(losses: Mapping[str, NDArray[np.float64]], examples: Examples, rows: NDArray[np.intp], skip: str = ""
           ) -> str:
    """The first head in order whose loss is not above the least one by more than one standard error of the difference.
    losses: of each row by each head. Rows of a cluster count together."""
    heads = [name for name in ORDER if name in losses and name != skip]
    best = min(heads, key=lambda name: losses[name].mean())
    groups = examples.clusters_of(rows)
    return next(name for name in heads if name == best or (losses[name] - losses[best]).mean()
                <= standard_error(losses[name] - losses[best], groups))


def reason_of(name: str, losses: Mapping[str, NDArray[np.float64]], examples: Examples, rows: NDArray[np.intp],
              chosen_on: str) -> str:
    """Why a head was chosen, in words: with the log losses of the rows that chose it. chosen_on: IN_TURN or
    VALIDATION."""
    groups = examples.clusters_of(rows)
    figures = ", ".join(f"{other} {losses[other].mean():.3f}" for other in ORDER)
    others = []
    for other in ORDER:
        if other != name:
            difference = losses[other] - losses[name]
            mean, error = float(difference.mean()), standard_error(difference, groups)
            verdict = ("worse" if mean > error else "better" if mean < -error else "no different")
            others.append(f"{other} is {verdict} ({mean:+.3f}, standard error {error:.3f})")
    return f"log loss on {len(rows):,} {chosen_on}: {figures}; {'; '.join(others)}"


FITTER = Fitter(fit_rows, cross_fit=cross_fit)
