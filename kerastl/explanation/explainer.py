"""What explains the answers of a model, the same for images and texts (`images`, `texts`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kerastl.explanation.network import Array
from kerastl.inputs import Input
from kerastl.modality import Modality
from kerastl.model import Parts

Span = tuple[int, int, int]  # of a unit: which text of a pair, where it begins, where it ends


@dataclass(frozen=True)
class Explained:
    """Why a row has the logit that it has. logits: [classes]; place: the class that is explained. The other fields are
    as in `record.ExplainedRow`."""

    logits: Array
    place: int
    contributions: Array
    shape: tuple[int, ...] = ()
    spans: tuple[Span, ...] = ()
    constant: float | None = None
    plain: float | None = None

    @property
    def logit(self) -> float:
        """Of the class that is explained."""
        return float(self.logits[self.place])


class Explainer(Protocol):
    """Explains rows of one modality by a network and any number of heads on it."""

    noun: str  # of the parts of a row

    def method(self, head: Any) -> tuple[str, bool]:
        """How rows are explained with this head, and whether the contributions add up to the logit."""

    def read(self, items: Sequence[Any], refused: dict[int, str]) -> list[Any]:
        """Rows as the other functions take them, None for those that cannot be decoded, which are added to `refused`
        with the reason. items: paths of images, or texts."""

    def logits(self, rows: Sequence[Any], head: Any) -> Array:
        """[len(rows), classes]."""

    def explain(self, rows: Sequence[Any], places: Sequence[int], *heads: Any) -> list[list[Explained]]:
        """For each head, the explanation of each row. places: the class to explain of each row."""

    def without(self, row: Any, explained: Explained, chosen: NDArray[np.intp]) -> Any:
        """The row with these parts deleted. chosen: numbers of parts, as contributions are numbered."""

    def elsewhere(self, explained: Explained, chosen: NDArray[np.intp], generator: np.random.Generator
                  ) -> NDArray[np.intp]:
        """As many parts at a random place."""


def explainer_for(modality: Modality, parts: Parts, source: Input, *, fine: bool) -> Explainer:
    """The explainer of a model. parts: of the model; source: what it takes. fine: small patches and single words, which
    take longer."""
    explainer: Explainer = modality.load(modality.explanation, "explainer")(parts, source, fine)
    return explainer


def marked(explained: Explained) -> NDArray[np.intp]:
    """The quarter of the parts that speak most for the class, at least one."""
    count = max(1, round(len(explained.contributions) / 4))
    return np.argsort(-explained.contributions, kind="stable")[:count]


def cosine(a: Array, b: Array) -> float:
    """Of two maps about their means: whether they point out the same parts. 1 where one of them is flat, because then
    it does not show that they differ."""
    a, b = a.astype(np.float64) - a.mean(), b.astype(np.float64) - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 1.0
