"""Writes a private version: from what was released, the backbone and the settings. It never sees a row of the data."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kerastl.backbones import Backbone
from kerastl.decision import Calibration
from kerastl.errors import OptionError, expect
from kerastl.export.export import export_model
from kerastl.export.public_rows import public_rows
from kerastl.fields import to_json
from kerastl.files import shown, write_file
from kerastl.model import splice
from kerastl.privacy.accuracy import INTERVAL
from kerastl.privacy.fit import PrivateFit, rounded
from kerastl.privacy.options import KINDS
from kerastl.report.private_page import private_card, private_report
from kerastl.report.version import Target
from kerastl.runtime import Runtime, machine
from kerastl.tasks import Task
from kerastl.versions.folder import Version, new_version
from kerastl.versions.large import separate_backbone
from kerastl.versions.location import way_to_start
from kerastl.versions.record import FORMAT, RunRecord
from kerastl.versions.sections import FeaturePass, HeldOutFigures, Parity

NAN = float("nan")
MADE_UP = ("The artifacts were compared with Keras on made-up inputs, and their accuracy there means nothing.",)


def write_private_version(target: Target, fitted: PrivateFit, backbone: Backbone, runtime: Runtime, *,
                          config: Mapping[str, Any] | None = None) -> RunRecord:
    """Export a private head with its backbone as a new version; returns the record.

    target: see `kerastl.target`. fitted: as `fit_private` returns it. backbone: that computed the features. config: the
    settings of the run. No argument holds rows of the data, so the version contains only what was released, what
    follows from it, and what is public. TFLite files: fp32 and fp16 at most.

    Raises OptionError for a backbone that is not exported, CheckFailed when the SavedModel differs from Keras.
    """
    expect(Target, "a target, as kerastl.target returns it", target=target)
    expect(PrivateFit, "a private head, as kerastl.fit_private returns it", fitted=fitted)
    if backbone.large:
        raise OptionError(f"{backbone.name} is not exported with its head", "a backbone that is",
                          "choose a smaller one")
    model = splice(backbone, fitted.head.model())
    kinds = tuple(kind for kind in target.kinds if kind in KINDS)
    with new_version(target.out, target.name) as version, \
            public_rows(backbone.input, backbone.spec.modality, fitted.classes) as examples:
        parity = export_model(version, model, backbone.input, examples, Calibration(1.0), kinds=kinds, public=True)
        record = _record(version, fitted, examples.task, backbone, runtime, parity, dict(config or {}))
        record.write(version.folder)
        write_file(version.folder / "report.html", private_report(record))
        write_file(version.folder / "MODEL_CARD.md", private_card(record, version.folder))
        version.manifest.update(backbone=record.backbone, weights_hash=record.weights_hash, config=record.config)
    if target.claim is not None:
        target.claim.release()
    return record


def _record(version: Version, fitted: PrivateFit, task: Task, backbone: Backbone, runtime: Runtime,
            parity: tuple[Parity, ...], config: dict[str, Any]) -> RunRecord:
    accuracy, head = fitted.accuracy, fitted.head
    n_test = rounded(accuracy.groups)
    test = HeldOutFigures(n=n_test, accuracy=accuracy.accuracy, accuracy_ci95=accuracy.ci95, interval=INTERVAL,
                          macro_f1=NAN, log_loss=NAN, log_loss_calibrated=NAN, ece=NAN, ece_calibrated=NAN,
                          calibration=Calibration(1.0), calibrated_by="not calibrated: a fixed temperature")
    own = backbone.input.record() | backbone.input.provenance()
    return RunRecord(
        format=FORMAT, modality_name=backbone.spec.modality.name, task_name=task.name,
        backbone=backbone.name, weights=backbone.weights, weights_hash=backbone.weights_hash,
        random_weights=backbone.random, random_parts=backbone.random_parts, input=to_json(own),
        preprocessing=backbone.spec.preprocessing, large=separate_backbone(backbone), feature_layer=backbone.layer,
        backbone_sha256=backbone.spec.file_sha256 or None, pooling=backbone.pooling, head=head.name,
        head_settings={"solver": "private", "dimensions": len(head.centre)}, classes=fitted.classes,
        n_train=rounded(head.groups), n_test=n_test, split="holdout", split_reason="by the hash of each group",
        notes=MADE_UP, test=test, temperature=1.0, features=FeaturePass(runtime.precision), engine=runtime.engine,
        precision=runtime.precision, precision_reason=runtime.precision_reason, xla=runtime.xla,
        xla_reason=runtime.xla_reason, seed=runtime.seed, parity=tuple(replace(part, accuracy_change=0.0)
                                                                       for part in parity),
        machine=machine(), config=to_json(config), started_in=way_to_start(version.path), private=fitted.record,
        name=version.name, version=version.number, path=shown(version.path))
