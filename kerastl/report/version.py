"""The last step of a recipe: writes the results of the previous steps as a version of a model."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kerastl.audit.label_errors import label_errors_of_run
from kerastl.data.near_duplicates.record import NearDuplicates
from kerastl.errors import CheckFailed, OptionError, expect
from kerastl.evaluation.baseline import Baseline
from kerastl.evaluation.reference import FILE as REFERENCE
from kerastl.evaluation.reference import reference_of
from kerastl.evaluation.rejection import Rejection
from kerastl.evaluation.result import EVALUATION, Evaluation
from kerastl.export.export import export_model
from kerastl.export.parity import Evaluated
from kerastl.features.compute import Features
from kerastl.features.means import means_of
from kerastl.files import write_file
from kerastl.modality import modality_named, parse_kinds
from kerastl.model import predict_logits
from kerastl.report.report import write_report
from kerastl.serving.compare_versions import check_previous, compare_with_previous
from kerastl.studies.distillation import Teacher, compare_forms
from kerastl.studies.explanations import explain_run
from kerastl.studies.learning_curve.of_run import learning_curve_of_run
from kerastl.studies.rejection import detect_unknown
from kerastl.training.fine_tuning.fine_tune import remove_finished
from kerastl.training.fit import FEATURES, FittedHead
from kerastl.training.train import TrainedModel
from kerastl.versions.claim import Claim, claim
from kerastl.versions.folder import home_of, new_version, next_number
from kerastl.versions.held_out import write_held_out
from kerastl.versions.large import as_rows
from kerastl.versions.make_record import make_record
from kerastl.versions.record import RunRecord
from kerastl.versions.sections import Ablation, Distillation, Trial
from kerastl.versions.version_comparison import VersionComparison

# Beside figures that decided whether the model is published.
CHOSEN = "It was published because it is better on these rows, so its accuracy on them may be slightly too high"


@dataclass(frozen=True)
class Target:
    """Where a model is written, `out/name/VERSION`, and which TFLite files it gets. claim: keeps other processes from
    writing a version of the same model at the same time. if_better: whether it is only written if it is more accurate
    than the newest version."""

    out: str
    name: str
    kinds: tuple[str, ...]
    claim: Claim | None = field(default=None, compare=False, repr=False)
    if_better: bool = False


def target(out: str, name: str, tflite: str = "all", *, modality: str = "image", if_better: bool = False) -> Target:
    """What a run will write, checked before the work begins. tflite: kinds separated by commas, `all` or `none`.
    modality: image or text. if_better: whether `write_version` only writes the model if its accuracy is above that of
    the newest version, on the same rows; a first version is always written.

    Raises OptionError for a name that is no folder name, a folder that is not writable, or an unknown kind; ModelError
    while another process is at work on a version of the same model, and with `if_better` where the newest version
    cannot be read.
    """
    expect(str, "a string", out=out, name=name, tflite=tflite)
    expect(bool, "True or False", if_better=if_better)
    kinds = parse_kinds(tflite, modality_named(modality))
    home = home_of(out, name)
    if if_better:
        check_previous(home)
    return Target(out, name, kinds, claim(home), if_better)


def write_version(target: Target, trained: TrainedModel, *, features: Features, evaluation: Evaluation,
                  clock: Callable[[], float] | None = None, config: Mapping[str, Any] | None = None,
                  baseline: Baseline | None = None, ablation: Ablation | None = None, teacher: Teacher | None = None,
                  trials: Sequence[Trial] = (), near_duplicates: NearDuplicates | None = None,
                  rejection: Rejection | None = None, drift_reference: bool = True) -> RunRecord:
    """Export a trained model with its record, report and model card as a new version; returns the record.

    target: see `kerastl.target`. evaluation: of `trained`. baseline, ablation, trials: also shown in the report.
    teacher: the model that this one was distilled from; both are compared in every format. near_duplicates: as
    `near_duplicate_effect` returns them; default: what the examples know of them, without their effect. rejection: as
    `detect_unknown` returns it for `trained`; default: computed here, with its defaults. drift_reference: whether the
    version keeps features, probabilities and sizes of at most 1,000 held-out rows, for `kerastl drift`. clock: seconds
    since the run began; default: since this call. config: the settings of the run, for the record.

    The model is first compared with the newest version of that name, if there is one; see `RunRecord.previous`. A
    TFLite file that exceeds its error bound is not written, and is listed in the record's `breaches`. The version is
    written completely or not at all. Raises OptionError when the evaluation belongs to another model, CheckFailed when
    the SavedModel differs from Keras, or the model is not better and the target says `if_better`.
    """
    expect(Target, "a target, as kerastl.target returns it", target=target)
    expect(TrainedModel, "a trained model, as kerastl.train returns it", trained=trained)
    expect(Features, FEATURES, features=features)
    expect(Evaluation, EVALUATION, evaluation=evaluation)
    check_evaluation(trained.fitted, evaluation)
    original = features
    if trained.input is not None:
        features = replace(features, backbone=features.backbone.taking(trained.input))
    backbone = features.backbone
    start = time.perf_counter()
    clock = clock or (lambda: time.perf_counter() - start)
    begun, home = clock(), home_of(target.out, target.name)
    previous = compare_with_previous(home, evaluation, next_number(home))
    compared = clock() - begun
    if target.if_better and previous is not None and not previous.better:
        if target.claim is not None:
            target.claim.release()
        raise _not_better(previous)
    if target.if_better and previous is not None:
        previous = replace(previous, notes=(*previous.notes, CHOSEN))
    rejection = rejection or detect_unknown(original, trained)
    with new_version(target.out, target.name) as version:
        begun = clock()
        source, examples = as_rows(features) if backbone.large else (backbone.input, features.examples)
        parity = export_model(version, trained.model, source, examples, evaluation.calibration, kinds=target.kinds,
                              evaluated=_evaluated(trained, features), detector=rejection.detector)
        exported = clock() - begun
        distilled = Distillation(str(teacher.folder), tuple(compare_forms(
            teacher, trained.model, backbone.input, version.folder, features.examples))) if teacher else None
        if drift_reference:
            write_file(version.folder / REFERENCE, reference_of(
                original, evaluation, with_features=_computes(original, trained)).to_bytes())
        write_held_out(version.folder, evaluation.held_out)
        begun = clock()
        errors = label_errors_of_run(features, evaluation)
        searched, begun = clock() - begun, clock()
        curve = learning_curve_of_run(features, trained)
        curved, begun = clock() - begun, clock()
        explanations = explain_run(features, trained, evaluation)
        seconds = {"export": exported, "label_errors": searched, "learning_curve": curved,
                   "explanations": clock() - begun, "previous": compared, "total": clock()}
        record = make_record(version, trained, features=features, evaluation=evaluation, parity=parity,
                             baseline=baseline, ablation=ablation, distilled=distilled, trials=trials, seconds=seconds,
                             config=config, near_duplicates=near_duplicates, label_errors=errors,
                             learning_curve=curve, rejection=rejection.result, explanations=explanations,
                             previous=previous)
        write_report(version, record, features.examples)
    remove_finished(features.cache_dir)  # only now: a run that is killed while it exports need not train again
    if target.claim is not None:
        target.claim.release()
    return record


def _not_better(previous: VersionComparison) -> CheckFailed:
    """The error for a model that is not published."""
    lines = "".join(f"\n  {line}" for line in previous.lines)
    found = f"nothing was written: {previous.figures}{lines}" if previous.n else \
        f"nothing was written, because it is not known whether the model is better: {previous.reason}"
    return CheckFailed(found, "with `if_better`, an accuracy above that of the newest version on the same rows",
                       "omit `if_better` to write the version all the same")


def _computes(features: Features, trained: TrainedModel) -> bool:
    """Whether the exported model computes the cached features: with its own backbone, which was not fine-tuned."""
    return not (features.backbone.large or (trained.fine_tuning is not None and trained.fine_tuning.kept))


def _evaluated(trained: TrainedModel, features: Features) -> Evaluated | None:
    """The logits of held-out rows by the head that ships, from their features. None where these are not what the
    exported model computes, because its backbone was fine-tuned or they were stored in float16; and for a head that
    also takes the raw input."""
    head, tuned = trained.fitted.head, trained.fine_tuning
    if (tuned and tuned.kept) or features.backbone.large or len(head.inputs) > 1 \
            or features.held_out_space.key.dtype != "float32":
        return None
    return Evaluated(lambda rows: predict_logits(head, features.held_out_rows(rows)), features.engine,
                     lambda rows: means_of(features).held_out_rows(rows))


def check_evaluation(fitted: FittedHead, evaluation: Evaluation) -> None:
    """Raises OptionError when an evaluation was not computed from the head's own held-out predictions."""
    if evaluation.predictions_id != fitted.held_out.id:
        raise OptionError(f"`evaluation` (accuracy {evaluation.accuracy:.3f} on {evaluation.n} rows) belongs to "
                          "another model than `trained`", "the evaluation of the head that is exported",
                          "evaluation = kerastl.evaluate(features.examples, trained.fitted)")
