"""What the run records of all models on tokens have in common. Their keys are those of other models where they mean the
same."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from kerastl.errors import ModelError
from kerastl.fields import Section, key
from kerastl.versions.folder import RECORD, VERIFY, read_json, write_json
from kerastl.versions.sections import Compared, FeaturePass, Parity, SkippedItem
from kerastl.versions.token_models import KIND

FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class TokenRecord(Compared, Section):
    """The results and settings of a run. n_train, n_validation, n_test: sentences; words: of each part. cut: sentences
    that are longer than the encoder takes, with the number of their words that have no state. training_curve: of each
    epoch the loss of a word, and `score`, by which training ends. MODEL, NETWORK: what messages call the model and the
    pretrained network."""

    MODEL: ClassVar[str]
    NETWORK: ClassVar[str]

    format: int = FORMAT
    modality_name: str = key("kind", default=KIND)
    task: str
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
    n_train: int
    n_validation: int
    n_test: int
    words: dict[str, int] = field(default_factory=dict)
    split: str
    split_reason: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[SkippedItem, ...] = key("left_out", default=())
    cut: dict[str, int] = field(default_factory=dict)
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
    def failure(self) -> str:
        """What failed, in a sentence; empty where nothing did."""
        return self.not_written

    @property
    def losses(self) -> tuple[str, ...]:
        """A sentence for each baseline that the model is significantly below."""
        raise NotImplementedError

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user must know before using the model, a sentence each."""
        found = []
        if self.random_weights:
            found.append(f"RANDOM WEIGHTS: the {self.NETWORK} was not pretrained, so the figures say nothing about "
                         "transfer learning.")
        found += [f"BELOW THE BASELINE: {sentence}" for sentence in self.losses]
        if self.cut:
            found.append(f"{sum(self.cut.values()):,} words of {len(self.cut):,} sentences have no state, because they "
                         f"are beyond {self.max_length} tokens or hold nothing that the tokenizer knows. The first: "
                         f"{', '.join(list(self.cut)[:3])}.")
        return tuple(found)

    def check(self) -> None:
        """Raises ValueError where the fields do not fit together, or belong to another task."""
        raise NotImplementedError

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The record of a version folder. Raises ModelError when run.json is missing or damaged."""
        try:
            record = cls.from_dict(read_json(folder, RECORD))
            record.check()
        except (KeyError, TypeError, ValueError) as error:
            reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise ModelError(f"{folder / RECORD} is not the record of a {cls.MODEL}: {reason}",
                             "a run.json that `kerastl run` wrote", VERIFY) from error
        return record

    def write(self, folder: Path) -> None:
        """Write run.json into a version folder."""
        write_json(folder / RECORD, {**self.to_dict(), "breaches": list(self.breaches)})
