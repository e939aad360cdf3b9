"""The explanations of a run: the two checks that they have to pass, and the rows that the report shows.

Adebayo et al. 2018 (https://arxiv.org/abs/1810.03292): a map that looks the same whatever the head has learnt explains
nothing. So a head of the same kind is trained on permuted labels, and its maps have to differ. And what a map marks has
to matter: deleting it has to change the answer more than deleting as much elsewhere. Both use held-out rows, each
explained by a head that was not trained on it.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import weights_hash
from kerastl.data.examples import TRAIN, Examples
from kerastl.data.split import split_of
from kerastl.evaluation.result import Evaluation, Figures
from kerastl.explanation.exact import plain_part
from kerastl.explanation.explainer import Explained, Explainer, cosine, explainer_for, marked
from kerastl.explanation.record import (
    CORRECT,
    FEWEST,
    INCORRECT,
    UNSURE,
    ExplainedRow,
    Explanations,
    checked,
    not_offered,
    too_few,
)
from kerastl.features.compute import Features, compute_features
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import resolve_head
from kerastl.inputs import Input
from kerastl.model import Parts, parts_of, splice
from kerastl.serving.explain import as_row
from kerastl.stats import mean_interval
from kerastl.training.fitters import fitter_named
from kerastl.training.fitters.contenders import JOINT, contenders
from kerastl.training.fitters.plain import PlainRows
from kerastl.training.options import TrainingOptions
from kerastl.training.train import TrainedModel

CHECKED = {True: 24, False: 12}  # held-out rows, by whether the contributions are exact, and so quick to compute
MORE = 3  # times as many, where the first are too few to tell
SHOWN = {True: 24, False: 9}
PERMUTED = 400  # rows that the head with permuted labels is trained on, at most
PERMUTED_TUNED = 100  # where their features have to be computed
ENOUGH = 100  # rows, to do without those that are checked
DRAWS = 2  # random places of a row
LARGE = ("not offered, because the model is exported without its backbone: each word that is left out would take a "
         "pass through {backbone}")
PLAIN_FOLDS = "In some folds the head `joint` was chosen, whose simple features also add to the logits of their rows."


def explain_run(features: Features, trained: TrainedModel, evaluation: Evaluation, *, rows: int | None = None,
                explainer: Explainer | None = None) -> Explanations:
    """Check the explanations of a trained model on held-out rows, and explain some of them for the report.

    evaluation: of `trained`. rows: how many are checked at most; default: 24, or 12 where contributions are not exact,
    and three times as many where these are too few to tell. explainer: another one than the model's own, to measure
    what the checks notice. Explanations that fail a check are withheld: `examples` is empty then. A large backbone is
    not explained.
    """
    backbone = features.backbone
    if backbone.large:
        return not_offered(LARGE.format(backbone=backbone.name))
    parts, source = _parts(features, trained)
    explainer = explainer or explainer_for(backbone.spec.modality, parts, source, fine=False)
    method, exact = explainer.method(trained.fitted.head)
    heads = _Heads(features.examples, trained.fitted.head, {
        fold: head for fold, head in _fold_heads(trained).items() if explainer.method(head) == (method, exact)})
    result = not_offered("")
    for most in (rows,) if rows else (CHECKED[exact], MORE * CHECKED[exact]):
        result = _checked(explainer, features, trained, evaluation, heads, exact, most)
        if result.gain is None or result.gain_ci95 is None or result.gain_ci95[0] > 0 or result.rows < most:
            break  # only where more rows could tell are more looked at
    result = replace(result, method=method, exact=exact, note=heads.note,
                     sentence=result.sentence + guesses(evaluation.figures, features.examples))
    if result.withheld:
        return result
    shown = _examples(explainer, evaluation, heads, SHOWN[exact])
    if plain_part(trained.fitted.head) is not None:
        return replace(result, examples=shown, plain_share=plain_share(shown))
    more = f" {PLAIN_FOLDS}" * any(row.plain is not None for row in shown)
    return replace(result, examples=shown, note=result.note + more)


def guesses(figures: Figures, examples: Examples) -> str:
    """What is added to the sentence where the model has not been shown to be better than chance; else empty. The checks
    do not notice that: of a model that was trained on noise, too, maps tell faithfully what it looks at."""
    chance = 1 / len(examples.classes) if examples.task.exclusive else 0.5
    ends = figures.balanced_accuracy_ci95
    if ends is None or ends[0] > chance:
        return ""
    balanced = f"balanced accuracy {figures.balanced_accuracy:.3f}, 95% CI {ends[0]:.3f} to {ends[1]:.3f}"
    return (f"; the model is not shown to be better than chance ({balanced}, chance {chance:.3f}), so they show what "
            "its guesses rest on")


def _fold_heads(trained: TrainedModel) -> Mapping[int, Any]:
    """The heads of folds on the backbone that ships."""
    tuned = trained.fine_tuning
    return {} if tuned and tuned.kept else trained.fitted.fold_heads


def _parts(features: Features, trained: TrainedModel) -> tuple[Parts, Input]:
    """The parts of the model, and what it takes: with the raw input also where only the heads of folds take it, as the
    head `best` may have chosen another one for a fold."""
    parts, with_raw_input = parts_of(trained.model), [head for head in _fold_heads(trained).values()
                                                      if len(head.inputs) > 1]
    if parts.raw_branch is not None or not with_raw_input:
        return parts, features.backbone.input
    features = with_raw(features, all_tokens=True)
    return parts_of(splice(features.backbone, with_raw_input[0])), features.backbone.input


@dataclass(frozen=True)
class _Heads:
    """The head of each held-out row that was not trained on it. shipped: the head that ships; of_folds: those of folds
    that are explained as it is."""

    examples: Examples
    shipped: Any
    of_folds: Mapping[int, Any]

    @property
    def note(self) -> str:
        """Whose answers are explained, in words."""
        if split_of(self.examples).mode != "cv" or self.of_folds:
            return f"Each {self.examples.modality.noun} is explained by a model that was not trained on it."
        return ("The models of the folds were not kept, so these are explanations by the model that ships, which was "
                "trained on these rows too.")

    def usable(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which rows have a head: all, or those of the folds whose heads were kept. [n]."""
        split = split_of(self.examples)
        if split.mode != "cv" or not self.of_folds:
            return np.ones(len(rows), bool)
        return np.isin(split.part[rows], list(self.of_folds))

    def grouped(self, rows: Sequence[int]) -> list[tuple[Any, list[int]]]:
        """Each head with the places, among these rows, of its own."""
        part = split_of(self.examples).part
        if not self.of_folds:
            return [(self.shipped, [*range(len(rows))])]
        return [(head, places) for fold, head in self.of_folds.items()
                if (places := [place for place, row in enumerate(rows) if part[row] == fold])]


def _checked(explainer: Explainer, features: Features, trained: TrainedModel, evaluation: Evaluation, heads: _Heads,
             exact: bool, most: int) -> Explanations:
    """The two checks on at most `most` rows."""
    examples, held_out = features.examples, evaluation.held_out
    usable = np.flatnonzero(heads.usable(held_out.rows))
    _, first = np.unique(examples.clusters_of(held_out.rows[usable]), return_index=True)  # so that they are independent
    chosen = usable[np.random.default_rng(0).permutation(np.sort(first))[:most]]
    rows = held_out.rows[chosen].tolist()
    claims = [_claim(held_out.predicted[place], held_out.logits[place], examples) for place in chosen.tolist()]
    refused: dict[int, str] = {}
    inputs = explainer.read([examples.items[row] for row in rows], refused)
    kept = [place for place in range(len(rows)) if inputs[place] is not None]
    if len(kept) < FEWEST:
        return too_few(len(kept))
    permuted = _permuted_head(features, trained, rows, exact)
    similarity, marks, others = [], [], []
    generator = np.random.default_rng(0)
    for head, places in heads.grouped([rows[place] for place in kept]):
        own = [kept[place] for place in places]
        some = [inputs[place] for place in own]
        real, random = explainer.explain(some, [claims[place] for place in own], head, permuted)
        for row, explained, other in zip(some, real, random, strict=True):
            if len(explained.contributions) < 4:  # there is no quarter to delete
                continue
            similarity.append(cosine(explained.contributions, other.contributions))
            marks.append((head, row, explained, marked(explained)))
            others.append([explainer.elsewhere(explained, marks[-1][3], generator) for _ in range(DRAWS)])
    if len(marks) < FEWEST:
        return too_few(len(marks))
    falls, elsewhere = _falls(explainer, marks, others)
    interval = mean_interval(falls - elsewhere, range(len(falls)), (-np.inf, np.inf))
    low, high = interval.ends
    return checked(len(falls), explainer.noun, float(np.mean(similarity)), float(falls.mean()),
                   float(elsewhere.mean()), (low, high))


def _falls(explainer: Explainer, marks: Sequence[tuple[Any, Any, Explained, NDArray[np.intp]]],
           others: Sequence[Sequence[NDArray[np.intp]]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By how much the logit falls when the marked quarter of each row is deleted, and when another one is: [n] each."""
    falls = np.zeros((len(marks), 1 + DRAWS))
    for head in {id(head): head for head, *_ in marks}.values():  # all rows of a head together, which is quicker
        own = [place for place, mark in enumerate(marks) if mark[0] is head]
        deleted = [explainer.without(row, explained, parts) for place in own
                   for _, row, explained, top in [marks[place]] for parts in (top, *others[place])]
        logits = explainer.logits(deleted, head).reshape(len(own), 1 + DRAWS, -1)
        for number, place in enumerate(own):
            explained = marks[place][2]
            falls[place] = explained.logit - logits[number, :, explained.place]
    return falls[:, 0], falls[:, 1:].mean(axis=1)


def _permuted_head(features: Features, trained: TrainedModel, without: Sequence[int], exact: bool) -> Any:
    """A head of the same kind, trained on training rows whose labels are permuted. Of an exact map only the linear part
    counts, so only that is trained. without: rows that it is not trained on, where there are enough others."""
    fitted, tuned = trained.fitted, trained.fine_tuning
    own = bool(tuned and tuned.kept)
    split = split_of(features.examples)
    training = np.arange(len(split.part)) if split.mode == "cv" else split.rows(TRAIN)
    if len(others := np.setdiff1d(training, without)) >= ENOUGH:
        training = others
    generator = np.random.default_rng(0)
    rows = np.sort(generator.permutation(training)[:PERMUTED_TUNED if own else PERMUTED])
    custom = not exact and fitted.name.startswith("custom:")
    head = resolve_head(_trainable(fitted.head) if custom else "linear" if exact else fitted.name, features.parts)
    with tempfile.TemporaryDirectory() as folder:
        if own:
            features = _tuned_features(features, trained, rows, Path(folder))
            rows = np.arange(len(rows))
        if head.spec.takes_raw:
            features = with_raw(features, all_tokens=head.spec.all_tokens)
        targets = features.examples.targets.copy()
        targets[rows] = targets[generator.permutation(rows)]
        permuted = replace(features, examples=replace(features.examples, targets=targets, soft_targets=None))
        options = TrainingOptions(class_weights="none")
        if head.spec.name == JOINT:  # fitted to noise, its shares would be 0
            shares = (float(fitted.settings["share_linear"]), float(fitted.settings["share_plain"]))
            both = contenders(permuted, PlainRows(permuted, rows), rows, None, options)
            return replace(both, shares=shares).model(JOINT)
        return fitter_named(head.spec.fitter).fit_rows(head, permuted, rows, None, options, epochs=2).model


def _trainable(head: Any) -> Any:
    """A copy of a head of the user's own that can be trained: the one that ships is frozen."""
    import keras

    copy = keras.models.clone_model(head)
    copy.trainable = True
    return copy


def _tuned_features(features: Features, trained: TrainedModel, rows: NDArray[np.intp], folder: Path) -> Features:
    """The features of some rows by the backbone that was fine-tuned."""
    network = parts_of(trained.model).backbone
    backbone = replace(features.backbone, model=network, weights_hash=weights_hash(network))
    plain = replace(features.runtime, precision="float32", explicit_precision=True, engine="tensorflow")
    some = replace(features.examples.take(rows.tolist()), split=None)
    return replace(compute_features(some, backbone, plain, cache_dir=folder), runtime=features.runtime)


def _claim(predicted: Any, logits: NDArray[Any], examples: Examples) -> int:
    """The class of a prediction: of several labels the most probable, also where none is predicted."""
    classes = examples.task.classes_of(predicted) or [*range(len(logits))]
    return max(classes, key=lambda place: logits[place])


def _examples(explainer: Explainer, evaluation: Evaluation, heads: _Heads, most: int
              ) -> tuple[ExplainedRow, ...]:
    """The rows that the report shows."""
    examples, held_out = heads.examples, evaluation.held_out
    shown = _choose(evaluation, heads, most)
    rows = [int(held_out.rows[place]) for _, place, _ in shown]
    p = examples.task.probabilities(held_out.logits[[place for _, place, _ in shown]])
    refused: dict[int, str] = {}
    inputs = explainer.read([examples.items[row] for row in rows], refused)
    kept = [number for number in range(len(rows)) if inputs[number] is not None]
    records: dict[int, ExplainedRow] = {}
    for head, places in heads.grouped([rows[number] for number in kept]):
        own = [kept[place] for place in places]
        explained, = explainer.explain([inputs[number] for number in own], [shown[number][2] for number in own], head)
        for number, one in zip(own, explained, strict=True):
            kind, _, c = shown[number]
            records[number] = as_row(one, examples.origins[rows[number]], kind, examples.classes[c],
                                     examples.label_of(rows[number]), float(p[number, c]))
    return tuple(records[number] for number in sorted(records))


def plain_share(rows: Sequence[ExplainedRow]) -> float | None:
    """Of the two parts of the logits, how much comes from plain features, by their sizes; None where there are none."""
    parts = [(abs(row.plain), abs(row.logit - row.plain)) for row in rows if row.plain is not None]
    total = sum(plain + other for plain, other in parts)
    return sum(plain for plain, _ in parts) / total if total else None


def _choose(evaluation: Evaluation, heads: _Heads, most: int) -> list[tuple[str, int, int]]:
    """For each predicted class the most confident correct prediction, the most confident incorrect one, and the least
    probable one; for as many classes as `most` rows allow, those with most incorrect predictions first. Returns kind,
    place among the held-out rows, and class."""
    examples, held_out = heads.examples, evaluation.held_out
    claimed = examples.task.one_hot(held_out.predicted, len(examples.classes)) > 0
    claimed &= heads.usable(held_out.rows)[:, None]
    truth = examples.one_hot(held_out.rows) > 0
    p = examples.task.probabilities(held_out.logits)
    wrong = (claimed & ~truth).sum(axis=0)
    classes = sorted(np.flatnonzero(claimed.any(axis=0)).tolist(), key=lambda c: (-wrong[c], c))[:max(1, most // 3)]
    chosen = []
    for c in sorted(classes):
        places = np.flatnonzero(claimed[:, c])
        places = places[np.argsort(-p[places, c], kind="stable")]
        right, mistaken = places[truth[places, c]], places[~truth[places, c]]
        own = [(kind, int(some[0])) for kind, some in ((CORRECT, right), (INCORRECT, mistaken)) if len(some)]
        unsure = [place for place in places[::-1].tolist() if place not in [place for _, place in own]]
        chosen += [(kind, place, c) for kind, place in [*own, *((UNSURE, place) for place in unsure[:1])]]
    return chosen
