"""The run record of a parser: what run.json holds."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from kerastl.dependencies.evaluation import UNTRAINED, ParserGain, RelationFigures
from kerastl.dependencies.fit import Relations
from kerastl.dependencies.scorer import ParseFigures
from kerastl.versions.token_record import TokenRecord

TASK, HEAD = "parsing", "biaffine"


@dataclass(frozen=True, kw_only=True)
class ParsingRecord(TokenRecord):
    """The results and settings of a run. relations: in the order of the scores; of_root, of_others: which of them words
    may have that depend on the root, and others. gains: over trees in which words depend on their neighbours, and over
    the same parser on an untrained encoder. In training_curve, `score` is the LAS on the validation sentences."""

    MODEL: ClassVar[str] = "parser"
    NETWORK: ClassVar[str] = "encoder"

    task: str = TASK
    head: str = HEAD
    head_settings: dict[str, Any] = field(default_factory=dict)
    relations: tuple[str, ...]
    of_root: tuple[bool, ...]
    of_others: tuple[bool, ...]
    test: ParseFigures
    by_relation: tuple[RelationFigures, ...] = ()
    gains: tuple[ParserGain, ...] = ()

    @property
    def decoder(self) -> Relations:
        """What makes trees of scores."""
        return Relations(self.relations, self.of_root, self.of_others)

    @property
    def untrained(self) -> ParserGain | None:
        """The gain over the same parser on an untrained encoder; None where that was not measured."""
        return next((gain for gain in self.gains if gain.name == UNTRAINED), None)

    @property
    def losses(self) -> tuple[str, ...]:
        """A sentence for each of the other trees that the parser is below."""
        return tuple(gain.sentence for gain in self.gains if gain.gain_ci95[1] < 0)

    def check(self) -> None:
        """Raises ValueError for another task, and where the relations do not fit together."""
        n = len(self.relations)
        if self.task != TASK or not n or len(self.of_root) != n or len(self.of_others) != n:
            raise ValueError(f"task {self.task!r}, {n} relations")

    def __repr__(self) -> str:
        low, high = self.test.las_ci95
        return (f"ParsingRecord({self.path or self.name!r}: {self.backbone} + {self.head}, {len(self.relations)} "
                f"relations, LAS {self.test.las:.3f} [{low:.3f}, {high:.3f}])")
