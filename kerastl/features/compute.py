"""The feature pass: examples through the frozen backbone, once. Rows go to the cache; what is there is not computed."""

import json
import math
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from kerastl.backbones import Backbone, text_memory
from kerastl.data.examples import Examples
from kerastl.errors import DataError, OptionError
from kerastl.features.cache import DEFAULT_LIMIT, Space, SpaceKey, evict
from kerastl.features.engines.tensorflow import COMPUTE, Engine, checked_engine, large_engine, speed_ratio
from kerastl.files import write_atomically
from kerastl.heads import Raw, Shape
from kerastl.inputs import Batch
from kerastl.runtime import Runtime, free_memory, machine

BATCH = 32
SEGMENT_SECONDS = 20.0  # a kill loses at most this much work
SEGMENT_ROWS = 4096
SEGMENT_BYTES = 64 * 2**20
POLICY = {kind: policy for policy, kind in COMPUTE.items()}


@dataclass(frozen=True)
class Features:
    """The features of examples, one row each, on disk. `examples` are those that could be decoded."""

    examples: Examples
    shape: Shape  # of a row: (dim,); of a map, (height, width, channels); of token states, (None, dim)
    compute: str  # kind of the rows that train: float32, bfloat16, float16
    word: str  # which graph computed them, and why
    computed: int  # rows that were not in the cache
    seconds: float
    space: Space
    held_out_space: Space  # float32 rows, for judging what will be exported
    keys: Sequence[str] = ()  # of the rows in the spaces, where these are not the examples' ids
    parts: tuple[int, ...] = ()  # as of the backbone
    raw: Raw | None = None  # what `raw_rows` gives, once `features.raw_inputs.with_raw` has put it beside
    raw_space: Space | None = None

    @property
    def dim(self) -> int:
        """The last axis of a row."""
        return int(self.shape[-1] or 0)

    def rows(self, indices: NDArray[np.intp]) -> NDArray[np.float32]:
        """Rows to train on. indices: [n] -> [n, *shape] float32."""
        return self.space.gather(self._keys(indices))

    def held_out_rows(self, indices: NDArray[np.intp]) -> NDArray[np.float32]:
        """The same in float32, as the export computes. indices: judged rows, [n] -> [n, *shape] float32."""
        return self.held_out_space.gather(self._keys(indices))

    def raw_rows(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """What the raw inputs come to (see `heads.Raw`). indices: [n] -> [n, *raw.shape] uint8 or int32."""
        assert self.raw_space is not None, "put the raw rows beside the features first: features.raw_inputs.with_raw"
        return self.raw_space.gather(self._keys(indices))

    def inputs(self, indices: NDArray[np.intp], *, raw: bool = False, held_out: bool = False) -> Any:
        """What a head takes: rows; with `raw`, a list of these and the raw rows. held_out: rows as the exported
        model computes them."""
        rows = self.held_out_rows(indices) if held_out else self.rows(indices)
        return [rows, self.raw_rows(indices)] if raw else rows

    def _keys(self, indices: NDArray[np.intp]) -> list[str]:
        keys = self.keys or self.examples.ids
        return [keys[i] for i in indices]


def compute_features(examples: Examples, backbone: Backbone, runtime: Runtime, *, cache_dir: Path,
                     batch_size: int = BATCH, cache_limit: int = DEFAULT_LIMIT) -> Features:
    """Features of every example, from the cache or computed; examples that do not decode are left out, with reasons.

    Rows that judge are computed in float32, for that is what is exported. So small data, cross-validated, are computed
    in float32 alone, unless `runtime.precision` was asked for by name. Without a split no row judges.
    Maps and token states are kept in float16, a row of token states as long as the longest that the input may give;
    what that takes is told before. Raises DataError when too little is left, OptionError when the disk is too small.
    """
    start = time.perf_counter()
    n = len(examples)
    judged = examples.split.held_out if examples.split else np.arange(0)
    training = np.arange(n) if len(judged) == n else np.setdiff1d(np.arange(n), judged)
    if backbone.spec.modality.name == "text":
        batch_size = fitting_batch(backbone, batch_size)
    if len(backbone.shape) > 1:
        _say_disk(backbone, n, cache_dir, cache_limit)
    if runtime.xla:
        backbone = backbone.taking(backbone.input.stepped())
    keys = backbone.input.keys(examples.ids, examples.items)
    if backbone.large:  # exported alone, its head is judged on these same rows
        training, judged = np.arange(n), np.arange(0)
        kind, word = backbone.large.compute, f"weights {backbone.large.compute}"
    else:
        kind, word = _compute_kind(examples, backbone, runtime, len(judged) == n, cache_dir)
    first = _Pass(examples, keys, backbone, _space(cache_dir, backbone, kind), runtime.xla, batch_size)
    first.fill(training, cache_dir)
    passes = [first]
    if len(judged):
        passes.append(_Pass(examples, keys, backbone, _space(cache_dir, backbone, "float32"), runtime.xla, batch_size))
        passes[-1].fill(judged, cache_dir)
    refused = {row: why for one in passes for row, why in one.refused.items()}
    if len(refused) == n:
        raise DataError(f"no image of {examples.source} decodes ({next(iter(refused.values()))})",
                        "JPEG, PNG, GIF, BMP or WebP images", "look at what is left out: kerastl check")
    evict(cache_dir, cache_limit)
    first.space.refresh()  # where every row is of one kind, the second pass wrote beside it
    kept = examples
    if refused:
        kept = examples.without(refused)
        key_of = dict(zip(examples.ids, keys, strict=True))
        keys = [key_of[one] for one in kept.ids]
    return Features(
        kept, backbone.shape, first.space.key.compute, f"{word}; {first.word}", sum(one.computed for one in passes),
        time.perf_counter() - start, first.space, passes[-1].space, keys, backbone.parts,
    )


def fitting_batch(backbone: Backbone, batch_size: int) -> int:
    """How many texts at a time, and it is said what they need. Of a large network, of which a batch may need gigabytes,
    as many as there is memory for. Raises OptionError when one is too many."""
    free, wanted = free_memory(), batch_size
    while backbone.large and batch_size > 1 and text_memory(backbone, batch_size) > free:
        batch_size //= 2
    needed = text_memory(backbone, batch_size)
    said = (f"{backbone.name} needs about {needed / 2**30:.1f} GiB for {batch_size} texts of "
            f"{backbone.input.record()['max_length']} tokens at a time, this machine has {free / 2**30:.1f} free")
    if needed > free and backbone.large:
        raise OptionError(said, "memory for one text", "give a smaller --max-length, or a smaller --precision")
    more = f" (asked for were {wanted})" if batch_size < wanted else ""
    print(said + more + (": give a smaller --batch-size, or choose a smaller backbone" if needed > free else ""),
          flush=True)
    return batch_size


def row_shape(backbone: Backbone) -> tuple[int, ...]:
    """Of one example's features as they are kept. Token states are padded with zeros to the input's most length.

    Raises OptionError for texts in chunks, of which only pooled features can be averaged.
    """
    if None not in backbone.shape:
        return tuple(int(size or 0) for size in backbone.shape)
    if backbone.input.single_spec is None:
        raise OptionError("--long chunks with a head that takes token states", "head or head+tail",
                          "change one of them")
    return (int(backbone.input.single_spec.shape[1]), backbone.dim)


def kept_type(shape: tuple[int, ...]) -> str:
    """What rows of a shape are kept in: maps and token states in float16."""
    return "float16" if len(shape) > 1 else "float32"


def as_kept(rows: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[Any]:
    """Rows as they are kept, each of `shape`: token states of a short batch as long as all others."""
    if len(shape) == 1 or rows.shape[1] == shape[0]:
        return rows.astype(kept_type(shape), copy=False)
    padded = np.zeros((len(rows), *shape), kept_type(shape))
    padded[:, :rows.shape[1]] = rows
    return padded


def _say_disk(backbone: Backbone, rows: int, cache_dir: Path, limit: int) -> None:
    shape = row_shape(backbone)
    needed, free = 2 * rows * math.prod(shape), shutil.disk_usage(cache_dir).free
    said = (f"{rows} times {' x '.join(map(str, shape))} features of {backbone.name} take {needed / 2**30:.2f} GiB in "
            f"the cache, its disk has {free / 2**30:.1f} free")
    if needed > free:
        raise OptionError(said, "room for them", "free some, give --cache-dir on another disk, or choose a head on "
                          "pooled features")
    more = f"; as the cache keeps at most {limit / 2**30:.0f}, they will be gone after" if needed > limit else ""
    print(said + more, flush=True)


def _space(cache_dir: Path, backbone: Backbone, compute: str) -> Space:
    preprocessing = f"{backbone.spec.preprocessing}, {backbone.input.version}"
    shape = row_shape(backbone)
    return Space(cache_dir, SpaceKey(backbone.name, backbone.weights_hash, preprocessing, backbone.layer,
                                     backbone.pooling, compute, shape, kept_type(shape)))


def _compute_kind(examples: Examples, backbone: Backbone, runtime: Runtime, all_judge: bool,
                  cache_dir: Path) -> tuple[str, str]:
    """What to compute in, and why. bfloat16 on a CPU must have been measured to be quicker here."""
    kind = COMPUTE[runtime.precision]
    if runtime.explicit_precision or kind == "float32":
        return kind, f"{kind}: {runtime.precision_reason}"
    if all_judge:
        return "float32", "float32: every row judges, and the export computes in float32"
    if kind != "bfloat16":
        return kind, f"{kind}: {runtime.precision_reason}"
    ratio = _bfloat16_ratio(examples, backbone, cache_dir)
    if ratio < 1.0:
        return "float32", f"float32: bfloat16 was tried here and ran at {ratio:.2f} times its rate"
    return kind, f"bfloat16: ran at {ratio:.2f} times the rate of float32 here"


def _bfloat16_ratio(examples: Examples, backbone: Backbone, cache_dir: Path) -> float:
    """The speed ratio for this processor and backbone: measured the first time, then kept in the cache."""
    path = cache_dir / "bfloat16-speed.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    here = machine()
    name = f"{here['processor']}, {here['cores']} cores, TensorFlow {tf.__version__}, {backbone.name}"
    if name not in known:
        first = next(backbone.input.batches(examples.items, BATCH, {}), None)
        if first is None:
            return 0.0
        known[name] = speed_ratio(backbone.model, first.values)
        write_atomically(path, json.dumps(known, indent=1))
    return known[name]


class _Pass:
    """One pass into one space; what it learns on the way is what it is asked for after."""

    def __init__(self, examples: Examples, keys: Sequence[str], backbone: Backbone, space: Space, xla: bool,
                 batch_size: int) -> None:
        self.examples, self.keys, self.backbone, self.space = examples, keys, backbone, space
        self.xla, self.batch_size = xla, batch_size
        self.refused: dict[int, str] = {}  # by row
        self.computed = 0
        self.word = "every row was in the cache"

    def fill(self, rows: NDArray[np.intp], cache_dir: Path) -> None:
        """Compute what the space lacks of these rows."""
        keys = self.keys
        first_of: dict[str, int] = {}
        for row in rows.tolist():
            first_of.setdefault(keys[row], row)
        todo = [row for one, row in first_of.items() if one not in self.space]
        refused: dict[int, str] = {}
        first = next(self.backbone.input.batches(self.examples.take(todo).items, self.batch_size, refused), None)
        if first is not None:
            model, large = self.backbone.model, self.backbone.large
            engine, self.word = (large_engine(model, large), large.reason) if large else checked_engine(
                model, first.values, POLICY[self.space.key.compute], self.xla)
            if engine.compute != self.space.key.compute:  # it fell back: its rows belong elsewhere
                self.space = _space(cache_dir, self.backbone, engine.compute)
                todo, refused = [row for one, row in first_of.items() if one not in self.space], {}
            self._run(engine, todo, refused)
        bad = {keys[todo[place]]: reason for place, reason in refused.items()}
        self.refused = {row: bad[keys[row]] for row in rows.tolist() if keys[row] in bad}
        self.computed = len(todo) - len(bad)

    def _run(self, engine: Engine, todo: list[int], refused: dict[int, str]) -> None:
        pending: list[tuple[list[str], NDArray[np.float32]]] = []
        written = time.monotonic()
        most = min(SEGMENT_ROWS, SEGMENT_BYTES // self.space.key.row_bytes)

        def flush() -> None:
            if pending:
                self.space.append([one for some, _ in pending for one in some], np.concatenate([r for _, r in pending]))
                pending.clear()

        items = self.examples.take(todo).items
        unit = f" {self.backbone.spec.modality.nouns}"
        with tqdm(total=len(todo), desc=f"features ({self.backbone.name})", unit=unit) as bar:
            try:
                for batch, pieces in _answered(engine, self.backbone.input.batches(
                        items, self.batch_size, refused, bar.update)):
                    rows = as_kept(batch.merged(pieces), self.space.key.shape)
                    pending.append(([self.keys[todo[place]] for place in batch.places], rows))
                    enough = sum(len(some) for some, _ in pending) >= most
                    if enough or time.monotonic() - written > SEGMENT_SECONDS:
                        flush()
                        written = time.monotonic()
            finally:
                flush()  # also on Ctrl-C: what is computed is kept


def _answered(engine: Engine, batches: Iterable[Batch]) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    """Each batch with what the engine gave for its pieces."""
    sent: deque[Batch] = deque()

    def values() -> Iterator[NDArray[Any]]:
        for batch in batches:
            sent.append(batch)
            yield batch.values

    for pieces in engine.through(values()):
        yield sent.popleft(), pieces
