"""The run record of a parser: what run.json holds. Its keys are those of other models where they mean the same."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerastl.dependencies.evaluation import UNTRAINED, ParserGain, RelationFigures
from kerastl.dependencies.fit import Relations
from kerastl.dependencies.scorer import ParseFigures
from kerastl.errors import ModelError
from kerastl.fields import Section, key
from kerastl.versions.folder import RECORD, VERIFY, read_json, write_json
from kerastl.versions.sections import Compared, FeaturePass, Parity, SkippedItem
from kerastl.versions.token_models import KIND

FORMAT, TASK, HEAD = 2, "parsing", "biaffine"


@dataclass(frozen=True, kw_only=True)
class ParsingRecord(Compared, Section):
    """The results and settings of a run. n_train, n_validation, n_test: sentences; words: of each part. relations: in
    the order of the scores; of_root, of_others: which of them words may have that depend on the root, and others. cut:
    sentences that are longer than the encoder takes, with the number of their words that have no state. gains: over
    trees in which words depend on their neighbours, and over the same parser on an untrained encoder. training_curve:
    of each epoch the loss of a word, and `score`, the LAS on the validation sentences."""

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
    head: str = HEAD
    head_settings: dict[str, Any] = field(default_factory=dict)
    epoch: int
    training_curve: tuple[dict[str, float], ...] = key("curve", default=())
    relations: tuple[str, ...]
    of_root: tuple[bool, ...]
    of_others: tuple[bool, ...]
    n_train: int
    n_validation: int
    n_test: int
    words: dict[str, int] = field(default_factory=dict)
    split: str
    split_reason: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[SkippedItem, ...] = key("left_out", default=())
    cut: dict[str, int] = field(default_factory=dict)
    test: ParseFigures
    by_relation: tuple[RelationFigures, ...] = ()
    gains: tuple[ParserGain, ...] = ()
    features: FeaturePass
    precision: str = "float32"
    precision_reason: str = ""
    seed: int = 0
    parity: tuple[Parity, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    version: int = 0
    path: str = ""

    @property
    def decoder(self) -> Relations:
        """What makes trees of scores."""
        return Relations(self.relations, self.of_root, self.of_others)

    @property
    def untrained(self) -> ParserGain | None:
        """The gain over the same parser on an untrained encoder; None where that was not measured."""
        return next((gain for gain in self.gains if gain.name == UNTRAINED), None)

    @property
    def failure(self) -> str:
        """What failed, in a sentence; empty where nothing did."""
        return self.not_written

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user must know before using the model, a sentence each."""
        found = []
        if self.random_weights:
            found.append("RANDOM WEIGHTS: the encoder was not pretrained, so the figures say nothing about transfer "
                         "learning.")
        found += [f"BELOW THE BASELINE: {gain.sentence}" for gain in self.gains if gain.gain_ci95[1] < 0]
        if self.cut:
            found.append(f"{sum(self.cut.values()):,} words of {len(self.cut):,} sentences have no state, because they "
                         f"are beyond {self.max_length} tokens or hold nothing that the tokenizer knows. The first: "
                         f"{', '.join(list(self.cut)[:3])}.")
        return tuple(found)

    @classmethod
    def read(cls, folder: Path) -> "ParsingRecord":
        """The record of a version folder. Raises ModelError when run.json is missing or damaged."""
        try:
            record = cls.from_dict(read_json(folder, RECORD))
            n = len(record.relations)
            if record.task != TASK or not n or len(record.of_root) != n or len(record.of_others) != n:
                raise ValueError(f"task {record.task!r}, {n} relations")
        except (KeyError, TypeError, ValueError) as error:
            reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise ModelError(f"{folder / RECORD} is not the record of a parser: {reason}",
                             "a run.json that `kerastl run` wrote", VERIFY) from error
        return record

    def write(self, folder: Path) -> None:
        """Write run.json into a version folder."""
        write_json(folder / RECORD, {**self.to_dict(), "breaches": list(self.breaches)})

    def __repr__(self) -> str:
        low, high = self.test.las_ci95
        return (f"ParsingRecord({self.path or self.name!r}: {self.backbone} + {self.head}, {len(self.relations)} "
                f"relations, LAS {self.test.las:.3f} [{low:.3f}, {high:.3f}])")
