"""What the weights are kept in, by the memory that is free: pure arithmetic, said before anything is read."""

from dataclasses import dataclass
from math import prod

from kerastl.backbones._glm.layers import group_of
from kerastl.backbones._glm.names import block_shapes, shapes
from kerastl.backbones._glm.sizes import Sizes
from kerastl.errors import OptionError
from kerastl.runtime import KEPT

WHOLE = 2 * 10**9  # bytes: a float32 network up to this is an ordinary one, and is exported whole
SPARE = 2**30  # for TensorFlow and the activations of a small batch; those of a large one are told when it is known
AUTO = "auto"


@dataclass(frozen=True)
class MemoryPlan:
    """kept: one of `KEPT`. streamed: the weights stay on disk and pass through memory a block at a time. word: why."""

    kept: str
    streamed: bool
    word: str


def choose(sizes: Sizes, precision: str, free: int, name: str = "the network", stored: int = 2) -> MemoryPlan:
    """What fits. precision: `auto`, the most exact that does, or one of `KEPT`, which is streamed where it does not.
    free: bytes of memory. stored: bytes of a number in the files.

    Raises OptionError for an unknown precision, and when not even one block at a time fits.
    """
    if precision not in (AUTO, *KEPT):
        raise OptionError(f"--precision {precision} for {name}", f"one of auto, {', '.join(KEPT)}",
                          "leave it out for auto")
    needs = {kept: weight_bytes(sizes, kept) for kept in KEPT}
    usable = free - SPARE - 2 * stored * max(map(prod, shapes(sizes).values()))  # a tensor as read, and made ready
    fitting = [kept for kept in KEPT if needs[kept] <= usable and (kept != "float32" or needs[kept] <= WHOLE)]
    kept = precision if precision != AUTO else fitting[0] if fitting else "bfloat16"
    streamed = needs[kept] > usable
    if streamed and (least := _streaming_bytes(sizes, kept, stored) + SPARE) > free:
        raise OptionError(f"{name} needs {_gib(least)} GiB a block in {kept}, this machine has {_gib(free)} free",
                          "memory for a block", "close other programs, or choose a smaller backbone")
    told = ", ".join(f"{one} {_gib(needs[one])}" for one in KEPT)
    how = f"kept in {kept}" + (", read from disk block by block" if streamed else "")
    return MemoryPlan(kept, streamed, f"{name}: its weights take {told} GiB, this machine has {_gib(free)} free: {how}")


def weight_bytes(sizes: Sizes, kept: str) -> int:
    """Bytes of all weights."""
    return _table_bytes(sizes, kept) + sizes.layers * _block_bytes(sizes, kept) + 4 * sizes.dim


def parameters(sizes: Sizes) -> int:
    """How many numbers the weights are."""
    return weight_bytes(sizes, "float32") // 4


def _streaming_bytes(sizes: Sizes, kept: str, stored: int) -> int:
    """The table of tokens while it is read; then a block, and as they are stored its tensors and those of the next."""
    block = sum(prod(shape) for shape in block_shapes(sizes).values())
    return max(_table_bytes(sizes, kept) + 2 * stored * sizes.vocabulary * sizes.dim,
               _block_bytes(sizes, kept) + 2 * stored * block)


def _table_bytes(sizes: Sizes, kept: str) -> int:
    table = sizes.vocabulary * sizes.dim
    return {"float32": 4 * table, "bfloat16": 2 * table}.get(kept, table + 4 * sizes.vocabulary)


def _block_bytes(sizes: Sizes, kept: str) -> int:
    return sum(_bytes(shape, kept) for shape in block_shapes(sizes).values())


def _bytes(shape: tuple[int, ...], kept: str) -> int:
    """Of a kernel, [outputs, inputs]; norms and biases are kept in float32."""
    if len(shape) == 1:
        return 4 * shape[0]
    units, inputs = shape
    if kept == "int4":
        return inputs // 2 * units + 2 * (inputs // group_of(inputs)) * units
    return {"float32": 4, "bfloat16": 2, "int8": 1}[kept] * inputs * units + (4 * units if kept == "int8" else 0)


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f}"
