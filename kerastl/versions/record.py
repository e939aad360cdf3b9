"""The run record: the results and settings of a run, the content of run.json. Each result type names its own keys.

`--json` prints the same document. Attributes use the field's words where an older key does not: `modality` is `kind` in
run.json, `feature_layer` is `tap`, `skipped` is `left_out`, `fine_tuning` is `unfrozen`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kerastl.data.corrections import Relabelling
from kerastl.data.near_duplicates.record import NearDuplicates
from kerastl.data.options import ReadOptions
from kerastl.data.summary import DataSummary
from kerastl.decision import Calibration
from kerastl.errors import KerastlError, ModelError
from kerastl.evaluation.baseline import Baseline
from kerastl.evaluation.competitors import Competitors
from kerastl.evaluation.label_errors import LabelErrors
from kerastl.evaluation.linear_beside import LinearBeside
from kerastl.evaluation.rejection import RejectionResult
from kerastl.explanation.record import Explanations
from kerastl.fields import Section, from_json, key
from kerastl.inputs import TokenLengths
from kerastl.modality import Modality, modality_named
from kerastl.privacy.record import Private, as_null, from_null
from kerastl.tasks import Task, task_named, task_of_record
from kerastl.training.fine_tuning.result import FineTuneResult
from kerastl.versions.folder import RECORD, VERIFY, read_json, write_json
from kerastl.versions.learning_curve import LearningCurve
from kerastl.versions.reproduction import Reproduction
from kerastl.versions.sections import (
    Ablation,
    Compared,
    Distillation,
    FeaturePass,
    HeldOutFigures,
    Parity,
    SeparateBackbone,
    SkippedItem,
    Trial,
)
from kerastl.versions.token_models import KIND, not_for_tokens
from kerastl.versions.version_comparison import VersionComparison

FORMAT = 2  # 1: version 0.1, without `format` and `task`


@dataclass(frozen=True, kw_only=True)
class RunRecord(Compared, Section):
    """The results and settings of a run. It is made once, when the artifacts are written, and never changed.

    input: from `Input.record`, for `inputs.restored`. temperature, bias, thresholds: see `decision.Calibration`.
    n_train, n_validation, n_test: rows; with cross-validation, all of them are both training and test rows.
    backbone_sha256: of the user's file that defines the backbone. head_settings: of the exported head. training_curve:
    by epoch (epoch, loss, val_loss) or by L2 strength (l2, log_loss). linear_beside: the `linear` head on the same
    rows, beside a head that is trained by gradient descent. previous: the comparison with the newest version that was
    there. private: the protection of the training data, in a private run; figures of `test` that were not paid for are
    then NaN, and null in the document. seconds: of each step, and their `total`. config: the settings of the run, as
    the recipe's flags. started_in: the way from the version folder to the folder in which the run was started, which
    relative paths in `config` belong to. devices: the GPUs that shared the work; empty for one or none. path: the
    version folder.
    """

    format: int = 1
    modality_name: str = key("kind")
    task_name: str = key("task")
    backbone: str
    weights: str
    weights_hash: str
    random_weights: bool = False
    random_parts: tuple[str, ...] = ()
    input: dict[str, Any]
    preprocessing: str = ""
    backbone_sha256: str | None = None
    large: SeparateBackbone | None = None
    feature_layer: str = key("tap", default="top")
    pooling: str = "mean"
    head: str
    head_settings: dict[str, Any] = field(default_factory=dict)
    search: tuple[Trial, ...] = ()
    training_curve: tuple[dict[str, float], ...] = key("curve", default=())
    classes: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)
    n_train: int
    n_validation: int = 0
    n_test: int
    split: str
    split_reason: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[SkippedItem, ...] = key("left_out", default=())
    data_summary: DataSummary | None = None
    near_duplicates: NearDuplicates | None = None
    test: HeldOutFigures
    temperature: float
    thresholds: tuple[float, ...] = ()
    bias: tuple[float, ...] = ()
    baseline: Baseline | None = None
    linear_beside: LinearBeside | None = None
    distilled: Distillation | None = None
    ablation: Ablation | None = None
    fine_tuning: FineTuneResult | None = key("unfrozen", default=None)
    competitors: Competitors | None = None
    engine: str = "tensorflow"
    features: FeaturePass
    precision: str = "float32"
    precision_reason: str = ""
    xla: bool = False
    xla_reason: str = ""
    devices: tuple[str, ...] = ()
    seed: int = 0
    parity: tuple[Parity, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    started_in: str | None = None
    label_errors: LabelErrors | None = None
    relabel: Relabelling | None = None
    reproduction: Reproduction | None = None
    learning_curve: LearningCurve | None = None
    rejection: RejectionResult | None = None
    explanations: Explanations | None = None
    previous: VersionComparison | None = None
    private: Private | None = None
    name: str = ""
    version: int = 0
    path: str = ""

    @property
    def modality(self) -> Modality:
        """The modality of the inputs."""
        return modality_named(self.modality_name)

    @property
    def task(self) -> Task:
        """The task: one label per row, or several."""
        return task_named(self.task_name)

    @property
    def calibration(self) -> Calibration:
        """How the model's logits become labels and scores."""
        return Calibration(self.temperature, self.thresholds, self.bias)

    @property
    def lengths(self) -> TokenLengths | None:
        """The token counts of the training texts; None for images."""
        lengths = self.input.get("lengths")
        return TokenLengths.from_dict(lengths) if lengths else None

    @property
    def data(self) -> str:
        """Where the model's data were read from."""
        return str(self.config.get("data", ""))

    @property
    def read_options(self) -> ReadOptions:
        """How data for the model are read: with the columns of training, and with labels of its task. Corrections of
        labels belong to the data of training alone."""
        options = replace(ReadOptions.of(self.config), strict=False, relabel=None)
        one_hot = "," in (options.label_column or "")  # columns of 0 and 1 may also be one label
        return replace(options, multi_label="on" if not self.task.exclusive else "auto" if one_hot else "off")

    @property
    def data_dir(self) -> str | None:
        """The directory of TFDS datasets, where it was given."""
        return self.config.get("data_dir")

    @property
    def failure(self) -> str:
        """What failed, in a sentence; empty where nothing did."""
        return self.not_written

    def __repr__(self) -> str:
        low, high = self.test.accuracy_ci95
        return (f"RunRecord({self.path or self.name!r}: {self.backbone} + {self.head}, {len(self.classes)} classes, "
                f"accuracy {self.test.accuracy:.3f} [{low:.3f}, {high:.3f}])")

    def to_dict(self) -> dict[str, Any]:
        """The document that run.json holds and `--json` prints."""
        document = {**super().to_dict(), **self.task.record, "breaches": list(self.breaches)}
        return document if self.private is None else {**document, "test": as_null(document["test"])}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "RunRecord":
        """The record of a document as this version or an earlier one wrote it. Unknown keys are kept and written back.

        Raises ModelError for a document that is no run record.
        """
        return _parsed(document, "the run record")

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """The record of a version folder. Raises ModelError when run.json is missing or damaged."""
        return _parsed(read_json(folder, RECORD), str(folder / RECORD))

    def write(self, folder: Path) -> None:
        """Write run.json into a version folder."""
        write_json(folder / RECORD, self.to_dict())


def _parsed(document: Mapping[str, Any], where: str) -> RunRecord:
    if document.get("kind") == KIND:
        raise not_for_tokens(Path(where))
    try:
        task = task_of_record(dict(document))
        derived = {"breaches", *task.record}
        known = {name: value for name, value in document.items() if name not in derived}
        if known.get("private") is not None:
            known["test"] = from_null(known["test"])
        record: RunRecord = from_json(RunRecord, {**known, "task": task.name})
        modality = modality_named(record.modality_name)
        modality.load(modality.input_module, "describe_input")(record.input)  # fails where a setting is missing
        if record.backbone.endswith(".py"):  # a file of the user's is recorded by its stem: never run one by the record
            raise ValueError(f"backbone: {record.backbone} is a Python file")
        if not record.classes:
            raise ValueError("classes: there are none")
    except (KerastlError, KeyError, TypeError, ValueError, StopIteration) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise ModelError(f"{where} is not a run record of kerastl: {reason or 'unknown task'}",
                         "a run.json that `kerastl run` wrote",
                         VERIFY) from error
    return record
