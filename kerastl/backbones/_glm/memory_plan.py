"""The storage type of the weights, chosen by the free memory. Pure arithmetic, done before any weight is read."""

from dataclasses import dataclass
from math import prod

from kerastl.backbones._glm.layers import group_of
from kerastl.backbones._glm.names import block_shapes, shapes
from kerastl.backbones._glm.sizes import Sizes
from kerastl.errors import OptionError
from kerastl.runtime import KEPT

WHOLE = 2 * 10**9  # bytes: a float32 network up to this size is exported with its head, like any other
SPARE = 2**30  # for TensorFlow and the activations of a small batch; larger batches are checked when known
AUTO = "auto"


@dataclass(frozen=True)
class MemoryPlan:
    """kept: the storage type, one of `KEPT`. streamed: whether the weights stay on disk and are read block by block.
    reason: why."""

    kept: str
    streamed: bool
    reason: str


def choose(sizes: Sizes, precision: str, free: int, name: str = "the network", stored: int = 2) -> MemoryPlan:
    """The plan that fits in memory. precision: `auto`, for the most precise type that fits, or one of `KEPT`, streamed
    if it does not fit. free: bytes of free memory. stored: bytes of a value in the files.

    Raises OptionError for an unknown precision, and if not even a single block fits.
    """
    if precision not in (AUTO, *KEPT):
        raise OptionError(f"`precision` is {precision} for {name}", f"one of auto, {', '.join(KEPT)}",
                          "omit `precision` for auto")
    needs = {kept: weight_bytes(sizes, kept) for kept in KEPT}
    usable = free - SPARE - 2 * stored * max(map(prod, shapes(sizes).values()))  # a tensor as read, and converted
    fitting = [kept for kept in KEPT if needs[kept] <= usable and (kept != "float32" or needs[kept] <= WHOLE)]
    kept = precision if precision != AUTO else fitting[0] if fitting else "bfloat16"
    streamed = needs[kept] > usable
    if streamed and (least := _streaming_bytes(sizes, kept, stored) + SPARE) > free:
        raise OptionError(f"a block of {name} in {kept} needs {_gib(least)} GiB, but only {_gib(free)} GiB of "
                          "memory are free", "memory for one block",
                          "close other programs, or choose a smaller backbone")
    sizes_of = ", ".join(f"{kept} {_gib(bytes)}" for kept, bytes in needs.items())
    choice = f"stored in {kept}" + (" and read from disk block by block" if streamed else "")
    return MemoryPlan(kept, streamed, f"{name}: the weights take {sizes_of} GiB, and {_gib(free)} GiB of memory are "
                                      f"free: {choice}")


def weight_bytes(sizes: Sizes, kept: str) -> int:
    """Bytes of all weights in a storage type."""
    return _table_bytes(sizes, kept) + sizes.layers * _block_bytes(sizes, kept) + 4 * sizes.dim


def parameters(sizes: Sizes) -> int:
    """The number of parameters."""
    return weight_bytes(sizes, "float32") // 4


def _streaming_bytes(sizes: Sizes, kept: str, stored: int) -> int:
    """The token embedding while it is read; then one block, with the stored tensors of that and the next block."""
    block = sum(prod(shape) for shape in block_shapes(sizes).values())
    return max(_table_bytes(sizes, kept) + 2 * stored * sizes.vocabulary * sizes.dim,
               _block_bytes(sizes, kept) + 2 * stored * block)


def _table_bytes(sizes: Sizes, kept: str) -> int:
    table = sizes.vocabulary * sizes.dim
    return {"float32": 4 * table, "bfloat16": 2 * table}.get(kept, table + 4 * sizes.vocabulary)


def _block_bytes(sizes: Sizes, kept: str) -> int:
    return sum(_bytes(shape, kept) for shape in block_shapes(sizes).values())


def _bytes(shape: tuple[int, ...], kept: str) -> int:
    """Bytes of a kernel, [outputs, inputs], or of a norm or bias, which are always float32."""
    if len(shape) == 1:
        return 4 * shape[0]
    units, inputs = shape
    if kept == "int4":
        return inputs // 2 * units + 2 * (inputs // group_of(inputs)) * units
    return {"float32": 4, "bfloat16": 2, "int8": 1}[kept] * inputs * units + (4 * units if kept == "int8" else 0)


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f}"
