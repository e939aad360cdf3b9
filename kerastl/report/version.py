"""The last step of a recipe: everything that the steps before it made, as one version of a model."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kerastl.backbones import Backbone
from kerastl.evaluation.baseline import Baseline
from kerastl.evaluation.result import Evaluation
from kerastl.export.export import export_model
from kerastl.export.tflite import parse_kinds
from kerastl.features.compute import Features
from kerastl.report.report import write_report
from kerastl.runtime import Runtime
from kerastl.studies.distillation import Teacher, compare_forms
from kerastl.training.train import TrainedModel
from kerastl.versions.folder import home_of, new_version
from kerastl.versions.large import as_rows
from kerastl.versions.record import run_record
from kerastl.versions.sections import Ablation, Trial


@dataclass(frozen=True)
class Target:
    """Where a model goes, `out/name/VERSION`, and which TFLite files it gets."""

    out: str
    name: str
    kinds: tuple[str, ...]


def target(out: str, name: str, tflite: str = "all", *, kind: str = "image") -> Target:
    """What a run will write, checked before it works for it. tflite: kinds with commas, `all` or `none`. kind: image or
    text.

    Raises OptionError for a name that is no folder's, a place that cannot be written to, an unknown kind.
    """
    home_of(out, name)
    return Target(out, name, parse_kinds(tflite, kind))


def write_version(to: Target, trained: TrainedModel, *, backbone: Backbone, features: Features, evaluation: Evaluation,
                  runtime: Runtime, clock: Callable[[], float], config: dict[str, Any],
                  baseline: Baseline | None = None, ablation: Ablation | None = None, teacher: Teacher | None = None,
                  trials: Sequence[Trial] = ()) -> dict[str, Any]:
    """Export a trained model with its record, report and card as a version; returns the run record.

    baseline: what is reached without transfer. ablation: what the parts of a blend are worth. teacher: whom the model
    is compared with, form by form. clock: seconds since the run began. config: the run's settings, for the record. A
    TFLite file that breaks its bound is left out and named under `breaches`. The version appears whole or not at all.
    Raises CheckFailed when the SavedModel differs from Keras.
    """
    with new_version(to.out, to.name) as version:
        begun = clock()
        source, examples = as_rows(features) if backbone.large else (backbone.input, features.examples)
        exported = export_model(version, trained.model, source, examples, evaluation.calibration, kinds=to.kinds,
                                name=to.name)
        run = run_record(config, backbone=backbone, features=features, fitted=trained.fitted,
                         tuned=trained.tuned, evaluation=evaluation, parity=exported.parity, runtime=runtime,
                         baseline=baseline, ablation=ablation, trials=trials,
                         seconds={"export": clock() - begun, "total": clock()})
        if teacher:
            run["distilled"] = {"teacher": str(teacher.folder), "sides": [asdict(one) for one in compare_forms(
                teacher, trained.model, backbone.input, version.folder, features.examples)]}
        return write_report(version, run, features.examples, name=to.name)
