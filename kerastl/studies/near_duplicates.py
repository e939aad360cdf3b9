"""What near-duplicates would change in the accuracy: the head fitted once more on another split."""

from dataclasses import replace

import numpy as np

from kerastl.data.examples import Examples
from kerastl.data.near_duplicates.record import (
    GROUP,
    OFF,
    NearDuplicateEffect,
    NearDuplicates,
    NearDuplicateSearch,
)
from kerastl.data.near_duplicates.search import clusters, keep_apart
from kerastl.data.split import FOLDS, folds, split_of
from kerastl.evaluation.metrics import evaluate
from kerastl.evaluation.result import Evaluation
from kerastl.features.compute import Features, compute_features
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import resolve_head
from kerastl.stats import paired_difference
from kerastl.training.fit import fit
from kerastl.training.fitters import fitter_named
from kerastl.training.options import DEFAULTS, TrainingOptions
from kerastl.training.train import TrainedModel

MOST = 200_000  # rows up to which another head is fitted


def near_duplicate_effect(features: Features, trained: TrainedModel, evaluation: Evaluation, *,
                          options: TrainingOptions = DEFAULTS) -> NearDuplicates | None:
    """What was found of near-duplicates, with what they would change in the accuracy; None where they were not searched
    for.

    The head is fitted once more on the same features: where the split keeps near-duplicates apart, on one that ignores
    them, and the other way round. So the effect is measured only for a head that is fitted in seconds, on a frozen
    backbone; otherwise the record says why it was not. evaluation: of `trained`.
    """
    found = features.examples.near_duplicate_search
    if found is None or found.record.mode == OFF:
        return found.record if found else None
    if reason := _unmeasured(features, trained, found):
        return replace(found.record, effect=NearDuplicateEffect(reason))
    other = _otherwise(features, found)
    if isinstance(other, str):
        return replace(found.record, effect=NearDuplicateEffect(other))
    head = resolve_head(_head_of(trained), features.parts)
    if head.spec.takes_raw:
        other = with_raw(other, all_tokens=head.spec.all_tokens)
    if not fitter_named(head.spec.fitter).descends:  # the loss of fine-tuning, which this head does not have
        options = options.with_cross_entropy()
    again = evaluate(other.examples, fit(other, head, options=options),
                     target=evaluation.target.asked if evaluation.target else None)
    return replace(found.record, effect=_effect(features.examples, found, evaluation, again))


def _head_of(trained: TrainedModel) -> str:
    """The head to fit once more: the one that chose, not the one that it chose, so that the choice is no part of the
    effect."""
    return trained.fitted.choice.by if trained.fitted.choice else trained.fitted.name


def _unmeasured(features: Features, trained: TrainedModel, found: NearDuplicateSearch) -> str:
    """Why the effect is not measured; empty where it is."""
    if not found.group_of and not found.record.skipped:
        return ("All of them are exact duplicates, which every split keeps together, so there is nothing to compare."
                if found.record.groups else "There are no near-duplicates, so there is nothing to compare.")
    if (tuned := trained.fine_tuning) and (tuned.kept or tuned.folds_kept):
        return "The effect on the accuracy was not measured, because the backbone was fine-tuned."
    if not resolve_head(_head_of(trained), features.parts).spec.convex:
        return (f"The effect on the accuracy was not measured, because the head {trained.fitted.name} takes long to "
                "fit; it is measured with `head=linear`.")
    if len(features.examples) > MOST:
        return f"The effect on the accuracy was not measured, because there are more than {MOST:,} rows."
    return ""


def _otherwise(features: Features, found: NearDuplicateSearch) -> Features | str:
    """The features of the same held-out rows, with the split that treats near-duplicates the other way; or why there
    are none."""
    examples, split = features.examples, split_of(features.examples)
    grouped = found.record.mode == GROUP
    united = None if grouped else clusters(examples, found.group_of)
    if split.mode == "cv":
        dealt = replace(examples, near_duplicates=united)
        part = folds(dealt, FOLDS)
        if np.array_equal(part, split.part):
            return "The folds are the same with and without near-duplicates."
        return replace(features, examples=replace(dealt, split=replace(split, part=part)))
    other: Examples = (found.plain or examples) if grouped else keep_apart(replace(examples, near_duplicates=united))
    if len(other) == len(examples):
        return "No training or validation row is a near-duplicate of a row on a more held-out side."
    if other.classes != examples.classes:
        return "The effect on the accuracy was not measured, because skipping near-duplicates removes a class."
    other = replace(other, near_duplicates=None if grouped else other.near_duplicates)
    computed = compute_features(other, features.backbone, features.runtime, cache_dir=features.cache_dir)
    if _held_out_ids(computed.examples) != _held_out_ids(examples):
        return "The effect on the accuracy was not measured, because the held-out rows differ."
    return computed


def _held_out_ids(examples: Examples) -> list[str]:
    return [examples.ids[row] for row in split_of(examples).held_out.tolist()]


def _effect(examples: Examples, found: NearDuplicateSearch, evaluation: Evaluation, again: Evaluation
            ) -> NearDuplicateEffect:
    """Both accuracies, and their difference on the held-out rows that both predicted."""
    held_out = split_of(examples).held_out
    kept_apart, ignored = (evaluation, again) if found.record.mode == GROUP else (again, evaluation)
    united = clusters(examples, found.group_of)
    both = paired_difference(np.array(ignored.correct), np.array(kept_apart.correct), [united[row] for row in held_out])
    low, high = both.gain_ci95
    figures = (f"(difference {100 * both.gain:+.1f} points, 95% CI {100 * low:+.1f} to {100 * high:+.1f}, "
               f"{len(held_out):,} rows)")
    sentence = (f"With near-duplicates on both sides of the split, the accuracy would have read "
                f"{ignored.accuracy:.3f}; it is {kept_apart.accuracy:.3f} {figures}." if found.record.mode == GROUP else
                "The split ignores near-duplicates. With them kept apart, the accuracy would be "
                f"{kept_apart.accuracy:.3f} instead of {ignored.accuracy:.3f} {figures}.")
    return NearDuplicateEffect(sentence, len(held_out), kept_apart.accuracy, ignored.accuracy, both.gain,
                               both.gain_ci95)
