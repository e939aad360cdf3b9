"""The run record of a tagger: what run.json holds. Its keys are those of other models where they mean the same."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerastl.errors import ModelError
from kerastl.fields import Section, key
from kerastl.tagging.figures import Gain, TaggingFigures
from kerastl.versions.folder import RECORD, VERIFY, read_json, write_json
from kerastl.versions.sections import Compared, FeaturePass, Parity, SkippedItem
from kerastl.versions.token_models import KIND

FORMAT, TASK = 2, "tagging"


@dataclass(frozen=True, kw_only=True)
class TaggingRecord(Compared, Section):
    """The results and settings of a run. n_train, n_validation, n_test: sentences; words: of each part. tags: in the
    order of the logits. cut: sentences that are longer than the encoder takes, with the number of their words that have
    no state. baseline: the most frequent tag of each word. untrained: the same head on the states of the same network
    with random weights; None where that was not measured. tflite_note: why there is no TFLite file; empty where there
    is one or none was wanted."""

    format: int = FORMAT
    modality_name: str = key("kind", default=KIND)
    task: str = TASK
    backbone: str
    weights: str
    weights_hash: str
    random_weights: bool = False
    layers: str
    pieces: str
    max_length: int
    head: str
    epoch: int
    training_curve: tuple[dict[str, float], ...] = key("curve", default=())
    tags: tuple[str, ...]
    column: str = ""
    form: str = ""
    n_train: int
    n_validation: int
    n_test: int
    words: dict[str, int] = field(default_factory=dict)
    split: str
    split_reason: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[SkippedItem, ...] = key("left_out", default=())
    cut: dict[str, int] = field(default_factory=dict)
    test: TaggingFigures
    temperature: float
    baseline: Gain
    untrained: Gain | None = None
    features: FeaturePass
    precision: str = "float32"
    precision_reason: str = ""
    seed: int = 0
    parity: tuple[Parity, ...] = ()
    tflite_note: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    version: int = 0
    path: str = ""

    @property
    def failure(self) -> str:
        """What failed, in a sentence; empty where nothing did."""
        return self.not_written

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user must know before using the model, a sentence each."""
        found = []
        if self.random_weights:
            found.append("RANDOM WEIGHTS: the backbone was not pretrained, so the figures say nothing about transfer "
                         "learning.")
        if self.baseline.gain_ci95[1] < 0:
            found.append(f"BELOW THE BASELINE: {self.baseline.sentence}")
        if self.cut:
            found.append(f"{sum(self.cut.values()):,} words of {len(self.cut):,} sentences have no state, because they "
                         f"are beyond {self.max_length} tokens or hold nothing that the tokenizer knows. The first: "
                         f"{', '.join(list(self.cut)[:3])}.")
        return tuple(found)

    @classmethod
    def read(cls, folder: Path) -> "TaggingRecord":
        """The record of a version folder. Raises ModelError when run.json is missing or damaged."""
        try:
            record = cls.from_dict(read_json(folder, RECORD))
            if record.task != TASK or not record.tags:
                raise ValueError(f"task {record.task!r}, {len(record.tags)} tags")
        except (KeyError, TypeError, ValueError) as error:
            reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise ModelError(f"{folder / RECORD} is not the record of a tagger: {reason}",
                             "a run.json that `kerastl run` wrote", VERIFY) from error
        return record

    def write(self, folder: Path) -> None:
        """Write run.json into a version folder."""
        write_json(folder / RECORD, {**self.to_dict(), "breaches": list(self.breaches)})

    def __repr__(self) -> str:
        low, high = self.test.accuracy_ci95
        return (f"TaggingRecord({self.path or self.name!r}: {self.backbone} + {self.head}, {len(self.tags)} tags, "
                f"accuracy {self.test.accuracy:.3f} [{low:.3f}, {high:.3f}])")
