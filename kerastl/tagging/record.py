"""The run record of a tagger: what run.json holds."""

from dataclasses import dataclass
from typing import ClassVar

from kerastl.tagging.figures import Gain, TaggingFigures
from kerastl.versions.token_record import TokenRecord

TASK = "tagging"


@dataclass(frozen=True, kw_only=True)
class TaggingRecord(TokenRecord):
    """The results and settings of a run. tags: in the order of the logits. baseline: the most frequent tag of each
    word. untrained: the same head on the states of the same network with random weights; None where that was not
    measured. tflite_note: why there is no TFLite file; empty where there is one or none was wanted."""

    MODEL: ClassVar[str] = "tagger"
    NETWORK: ClassVar[str] = "backbone"

    task: str = TASK
    tags: tuple[str, ...]
    column: str = ""
    form: str = ""
    test: TaggingFigures
    temperature: float
    baseline: Gain
    untrained: Gain | None = None
    tflite_note: str = ""

    @property
    def losses(self) -> tuple[str, ...]:
        """A sentence where the tagger is below the most frequent tag of each word."""
        return (self.baseline.sentence,) if self.baseline.gain_ci95[1] < 0 else ()

    def check(self) -> None:
        """Raises ValueError for another task, and where there are no tags."""
        if self.task != TASK or not self.tags:
            raise ValueError(f"task {self.task!r}, {len(self.tags)} tags")

    def __repr__(self) -> str:
        low, high = self.test.accuracy_ci95
        return (f"TaggingRecord({self.path or self.name!r}: {self.backbone} + {self.head}, {len(self.tags)} tags, "
                f"accuracy {self.test.accuracy:.3f} [{low:.3f}, {high:.3f}])")
