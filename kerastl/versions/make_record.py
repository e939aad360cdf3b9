"""The run record, from the results of a recipe's steps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kerastl.data.examples import TEST, TRAIN, VALIDATION, Examples
from kerastl.data.near_duplicates.record import NearDuplicates
from kerastl.data.split import split_of
from kerastl.evaluation.baseline import Baseline
from kerastl.evaluation.calibration import as_reported
from kerastl.evaluation.competitors import Competitors, compare_competitors
from kerastl.evaluation.label_errors import LabelErrors
from kerastl.evaluation.linear_beside import compare_with_linear
from kerastl.evaluation.rejection import RejectionResult
from kerastl.evaluation.result import Evaluation
from kerastl.explanation.record import Explanations
from kerastl.features.compute import Features
from kerastl.fields import to_json
from kerastl.files import shown
from kerastl.runtime import machine
from kerastl.training.fine_tuning.keep import FROZEN, TUNED
from kerastl.training.fine_tuning.result import FineTuneResult
from kerastl.training.fit import FittedHead
from kerastl.training.train import TrainedModel
from kerastl.versions.folder import Version
from kerastl.versions.large import separate_backbone
from kerastl.versions.learning_curve import LearningCurve
from kerastl.versions.location import way_to_start
from kerastl.versions.record import FORMAT, RunRecord
from kerastl.versions.reproduction import MADE_BY, reproduction_of
from kerastl.versions.sections import (
    Ablation,
    Distillation,
    FeaturePass,
    HeldOutFigures,
    Parity,
    SkippedItem,
    Trial,
)
from kerastl.versions.version_comparison import VersionComparison


def make_record(version: Version, trained: TrainedModel, *, features: Features, evaluation: Evaluation,
                parity: Sequence[Parity], baseline: Baseline | None = None, ablation: Ablation | None = None,
                distilled: Distillation | None = None, trials: Sequence[Trial] = (), seconds: Mapping[str, float],
                config: Mapping[str, Any] | None = None, near_duplicates: NearDuplicates | None = None,
                label_errors: LabelErrors | None = None, learning_curve: LearningCurve | None = None,
                rejection: RejectionResult | None = None, explanations: Explanations | None = None,
                previous: VersionComparison | None = None) -> RunRecord:
    """Put together the record of a run. seconds: at least `export` and `total`. config: the settings of the run; where
    they do not name the data, the source of the examples is added; `made_by` among them names what ran.
    near_duplicates: default, what the examples know."""
    examples, fitted, tuned = features.examples, trained.fitted, trained.fine_tuning
    if near_duplicates is None and examples.near_duplicate_search:
        near_duplicates = examples.near_duplicate_search.record
    backbone, runtime, calibration = features.backbone, features.runtime, evaluation.calibration
    settings = dict(config or {})
    made_by = settings.pop(MADE_BY, None)
    linear = compare_with_linear(examples, evaluation, fitted.name, trained.linear,
                                 trained.linear.seconds) if trained.linear else None
    return RunRecord(
        format=FORMAT, modality_name=examples.modality.name, task_name=examples.task.name,
        backbone=backbone.name, weights=backbone.weights, weights_hash=backbone.weights_hash,
        random_weights=backbone.random, random_parts=backbone.random_parts,
        input=to_json(backbone.input.record() | backbone.input.provenance()),
        preprocessing=backbone.spec.preprocessing, large=separate_backbone(backbone), feature_layer=backbone.layer,
        backbone_sha256=backbone.spec.file_sha256 or None,
        pooling=backbone.pooling, head=fitted.name, head_settings=to_json(fitted.settings), search=tuple(trials),
        training_curve=fitted.curve, classes=examples.classes, counts=examples.counts(), **_split(examples),
        notes=examples.notes, skipped=skipped_items(examples),
        data_summary=examples.summary, near_duplicates=near_duplicates, test=_held_out(evaluation, fitted),
        temperature=calibration.temperature, thresholds=calibration.thresholds, bias=calibration.bias,
        baseline=baseline, linear_beside=linear, distilled=distilled,
        ablation=ablation,
        fine_tuning=_with_accuracies(examples, fitted, tuned),
        competitors=competitors_of(examples, evaluation, fitted), engine=features.engine,
        features=_feature_pass(features),
        precision=runtime.precision, precision_reason=runtime.precision_reason, xla=runtime.xla,
        xla_reason=runtime.xla_reason, devices=runtime.devices, seed=runtime.seed, parity=tuple(parity),
        seconds={"near_duplicates": near_duplicates.seconds if near_duplicates else 0.0,
                 "features": features.seconds, "head": fitted.seconds, "fine_tune": tuned.seconds if tuned else 0.0,
                 "linear_beside": trained.linear.seconds if trained.linear else 0.0,
                 "baseline": baseline.seconds if baseline else 0.0, "ablation": ablation.seconds if ablation else 0.0,
                 "rejection": rejection.seconds if rejection else 0.0, **seconds},
        machine=machine(), config={"data": examples.source, **to_json(settings)}, started_in=way_to_start(version.path),
        name=version.name,
        label_errors=label_errors, reproduction=reproduction_of(features, evaluation, made_by), rejection=rejection,
        relabel=examples.corrections.relabelling if examples.corrections else None, learning_curve=learning_curve,
        version=version.number, path=shown(version.path), explanations=explanations, previous=previous)


def skipped_items(examples: Examples) -> tuple[SkippedItem, ...]:
    """The skipped rows, files and classes, as the record has them."""
    return tuple(SkippedItem(item.origin, item.reason) for item in examples.skipped)


def competitors_of(examples: Examples, evaluation: Evaluation, fitted: FittedHead) -> Competitors | None:
    """The heads that a fitted head was chosen among; None where it did not choose."""
    choice = fitted.choice
    return None if choice is None else compare_competitors(
        examples, evaluation, choice.chosen, choice.reason, choice.rivals, choice.folds, simple_wins=choice.simple_wins)


def _with_accuracies(examples: Examples, fitted: FittedHead, tuned: FineTuneResult | None) -> FineTuneResult | None:
    """The result of fine-tuning with the accuracies of both backbones, calibrated as the model that is reported."""
    if tuned is None or not fitted.backbones:
        return tuned
    accuracy = {name: float(as_reported(examples, rival.held_out, rival.validation)[0].mean())
                for name, rival in fitted.backbones.items()}
    return replace(tuned, frozen_accuracy=accuracy[FROZEN], tuned_accuracy=accuracy[TUNED])


def _held_out(evaluation: Evaluation, fitted: FittedHead) -> HeldOutFigures:
    calibrated_by = ("chosen and fitted on the other folds" if fitted.validation is None else
                     "chosen and fitted on the validation rows")
    return HeldOutFigures(**vars(evaluation.figures), calibrated_by=calibrated_by)


def _feature_pass(features: Features) -> FeaturePass:
    rate = features.computed / features.seconds if features.computed else None
    return FeaturePass(features.compute, features.reason, features.computed, rate)


def _split(examples: Examples) -> dict[str, Any]:
    """Rows of each part. Where rows are cross-validated, all of them train the exported head, and each is held out once
    from another one. Raises DataError for examples that were not split."""
    split = split_of(examples)
    about = {"split": split.mode, "split_reason": split.reason}
    if split.mode == "cv":
        return {"n_train": len(examples), "n_validation": 0, "n_test": len(examples), **about}
    return {"n_train": len(split.rows(TRAIN)), "n_validation": len(split.rows(VALIDATION)),
            "n_test": len(split.rows(TEST)), **about}
