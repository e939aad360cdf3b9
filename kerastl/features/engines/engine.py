"""What an engine is: a graph that computes features."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.inputs import Batch

Model = Any  # a network, as `backbones.Network` describes it
Values = NDArray[Any]  # [batch, size, size, 3] uint8, or [batch, length] int32
Rows = NDArray[np.float32]  # [batch, dim], or maps or token states

TITLES = {"tensorflow": "TensorFlow", "openvino": "OpenVINO"}


@dataclass(frozen=True)
class Arithmetic:
    """How rows of features are computed: by which engine, in which type."""

    compute: str
    engine: str = "tensorflow"

    @property
    def key(self) -> str:
        """Its name in the cache's keys. Rows of different arithmetic are never mixed."""
        return self.compute if self.engine == "tensorflow" else f"{self.engine}-{self.compute}"

    def __str__(self) -> str:
        return f"{TITLES[self.engine]} in {self.compute}"


@dataclass(frozen=True)
class Engine:
    """A graph for the pass. `run` takes pixels or tokens, [batch, ...], and returns [batch, dim] float32."""

    run: Callable[[Values], Rows]
    compute: str  # float32 | bfloat16 | float16; for a large network also the type of its weights
    graph: str  # folded | xla | plain | streamed | fused (rewritten, see `fusable`)
    stream: Callable[[Iterable[Values]], Iterator[Rows]] | None = None
    name: str = "tensorflow"  # or openvino

    def through(self, values: Iterable[Values]) -> Iterator[Rows]:
        """Batch after batch; a streamed network takes many at a time."""
        return self.stream(values) if self.stream else map(self.run, values)

    @property
    def arithmetic(self) -> Arithmetic:
        """How its rows are computed."""
        return Arithmetic(self.compute, self.name)


def through(engine: Engine, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Rows]]:
    """Each batch with what the engine computed for its pieces."""
    sent: deque[Batch] = deque()

    def values() -> Iterator[Values]:
        for batch in batches:
            sent.append(batch)
            yield batch.values

    for pieces in engine.through(values()):
        yield sent.popleft(), pieces
