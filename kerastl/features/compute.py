"""The feature pass: examples through the frozen backbone, once. Rows go to the cache; cached rows are not computed."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import BACKBONE, Backbone
from kerastl.compact import Hashes, Places
from kerastl.data.examples import EXAMPLES, Examples
from kerastl.errors import DataError, OptionError, all_of, at_least, broken, expect
from kerastl.features.cache import Space, chosen_dir
from kerastl.features.engines.choose import Choice, allowed, choose_engine
from kerastl.features.engines.engine import Arithmetic, through
from kerastl.features.engines.replicas import on_devices
from kerastl.features.engines.tensorflow import large_engine, plain_engine
from kerastl.features.fill import Filled, fill, missing
from kerastl.features.housekeeping import DEFAULT_LIMIT, evict
from kerastl.features.layout import as_stored, best_filled, space_of
from kerastl.features.resources import check_disk, fitting_batch
from kerastl.features.shard_pass import by_workers
from kerastl.frames import data_frame
from kerastl.heads import Raw, Shape
from kerastl.runtime import Runtime
from kerastl.shards.store import remove_finished

BATCH = 32
ADD_RAW = "kerastl.features.raw_inputs.with_raw(features)"


@dataclass(frozen=True)
class Features:
    """The features of examples, one row each, on disk, with what computed them: later steps take it from here.
    `examples` are those that could be decoded."""

    examples: Examples
    backbone: Backbone
    runtime: Runtime
    cache_dir: Path
    shape: Shape  # of a row: (dim,); of a map, (height, width, channels); of token states, (None, dim)
    compute: str  # arithmetic of the training rows: float32, bfloat16, float16
    reason: str  # for that, and which graph computed them
    computed: int  # rows that were not in the cache
    seconds: float
    space: Space
    held_out_space: Space  # float32 rows, to evaluate what will be exported
    keys: Sequence[str] = ()  # of the rows in the spaces, where these are not the examples' ids
    parts: tuple[int, ...] = ()  # how many features each part of a fused backbone gives
    engine: str = "tensorflow"  # which computed the training rows, or openvino
    raw: Raw | None = None  # what `raw_rows` returns, once `features.raw_inputs.with_raw` has added it
    raw_space: Space | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def __repr__(self) -> str:
        size = " x ".join(map(str, (len(self.examples), *self.space.key.shape)))
        return f"Features({size} {self.compute}, {self.space.key.backbone}, {len(self.examples.classes)} classes)"

    def with_seed(self, seed: int) -> "Features":
        """The same features; what is trained on them starts from this seed."""
        return replace(self, runtime=replace(self.runtime, seed=seed))

    @property
    def dim(self) -> int:
        """The last axis of a row."""
        return int(self.shape[-1] or 0)

    @property
    def array(self) -> NDArray[np.float32]:
        """All rows in memory, [n, *shape] float32, in the order of the examples. Test rows are float32 ones, as the
        exported model computes them, whatever the arithmetic of the training rows."""
        split, rows = self.examples.split, np.arange(len(self.examples))
        test = split.held_out if split and split.mode != "cv" else rows[:0]
        training = np.setdiff1d(rows, test)
        array = np.empty((len(rows), *self.space.key.shape), np.float32)
        array[training], array[test] = self.rows(training), self.held_out_rows(test)
        return array

    @property
    def labels(self) -> NDArray[np.str_]:
        """The label of each row, see `Examples.labels`."""
        return self.examples.labels

    def to_frame(self) -> Any:
        """`id`, `origin`, `label` and a column for each feature, as a pandas.DataFrame. Raises OptionError for maps and
        token states, and where pandas is not installed."""
        if len(self.space.key.shape) > 1:
            raise OptionError(f"features of shape {self.space.key.shape} do not fit into a table", "pooled features",
                              "use `features.array`")
        array = self.array
        return data_frame({"id": list(self.examples.ids), "origin": list(self.examples.origins), "label": self.labels,
                           **{f"feature_{i}": array[:, i] for i in range(array.shape[1])}},
                          columns_instead="`features.array` and `features.labels`")

    def rows(self, indices: NDArray[np.intp]) -> NDArray[np.float32]:
        """Rows to train on. indices: [n] -> [n, *shape] float32."""
        return self.space.gather(self._keys(indices))

    def held_out_rows(self, indices: NDArray[np.intp]) -> NDArray[np.float32]:
        """The same in float32, as the exported model computes. indices: of held-out rows, [n] -> [n, *shape]
        float32."""
        return self.held_out_space.gather(self._keys(indices))

    def raw_rows(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """The raw inputs as a head takes them (see `heads.Raw`). indices: [n] -> [n, *raw.shape] uint8 or int32.
        Raises OptionError for features without raw inputs."""
        if self.raw_space is None:
            raise OptionError("these features have no raw inputs", "features with the raw inputs", ADD_RAW)
        return self.raw_space.gather(self._keys(indices))

    def inputs(self, indices: NDArray[np.intp], *, raw: bool = False, held_out: bool = False) -> Any:
        """What a head takes: rows; with `raw`, a list of these and the raw rows. held_out: rows as the exported
        model computes them."""
        rows = self.held_out_rows(indices) if held_out else self.rows(indices)
        return [rows, self.raw_rows(indices)] if raw else rows

    def _keys(self, indices: NDArray[np.intp]) -> Sequence[str]:
        keys = self.keys or self.examples.ids
        return keys.take(indices) if isinstance(keys, Hashes) else [keys[i] for i in indices]


def compute_features(examples: Examples, backbone: Backbone, runtime: Runtime, *, cache_dir: str | Path | None = None,
                     batch_size: int = BATCH, cache_limit: int = DEFAULT_LIMIT) -> Features:
    """Features of every example, from the cache or computed; examples that cannot be decoded are skipped, with reasons.

    Held-out rows are computed in float32, since that is what is exported. So small data, which is cross-validated, is
    computed in float32 alone, unless `runtime.precision` was requested by name. Without a split no row is held out.
    Maps and token states are stored in float16, a row of token states as long as the longest possible input; the disk
    space that they need is printed first. cache_dir: default, the user's cache directory. Raises DataError when too few
    rows are left, OptionError for examples that the backbone is not for, and when the disk is too small.
    """
    _check(examples, backbone, runtime, batch_size)
    start, n, cache_dir, network = time.perf_counter(), len(examples), chosen_dir(cache_dir), backbone
    held_out = examples.split.held_out if examples.split else np.arange(0)
    training = np.arange(n) if len(held_out) == n else np.setdiff1d(np.arange(n), held_out)
    if backbone.spec.modality.has_length:
        batch_size = fitting_batch(backbone, batch_size)
    if len(backbone.shape) > 1:
        check_disk(backbone, n, cache_dir, cache_limit)
    backbone = backbone.taking(backbone.input.for_network())
    if runtime.xla:
        backbone = backbone.taking(backbone.input.stepped())
    keys = backbone.input.keys(examples.ids, examples.items)
    candidates: tuple[Arithmetic, ...]
    if backbone.large:  # its head is exported alone, and is evaluated on these same rows
        training, held_out = np.arange(n), np.arange(0)
        candidates, reason = (Arithmetic(backbone.large.compute),), f"weights in {backbone.large.compute}"
    else:
        candidates, reason = allowed(runtime, len(held_out) == n)

    def computed(rows: NDArray[np.intp], candidates: Sequence[Arithmetic]) -> _Pass:
        return _pass(examples, keys, backbone, rows, candidates, runtime, batch_size, cache_dir)

    passes = [computed(training, candidates)] if len(training) or not len(held_out) else []
    if len(held_out):  # by the same engine, so that float32 rows are in one space
        engines = dict.fromkeys([part.arithmetic.engine for part in passes] or [each.engine for each in candidates])
        passes.append(computed(held_out, [Arithmetic("float32", name) for name in engines]))
    refused = {row: why for part in passes for row, why in part.filled.refused.items()}
    if len(refused) == n:
        raise DataError(f"nothing in {examples.source} can be decoded ({next(iter(refused.values()))})",
                        examples.modality.readable, "see what is skipped: kerastl check")
    evict(cache_dir, cache_limit)
    space, held_out_space = passes[0].space, passes[-1].space
    space.refresh()  # where all rows are float32, the second pass wrote to the same folder
    if held_out_space.key == space.key and space.has(Hashes.of(keys).take(held_out)).all():
        held_out_space = space  # one index of the rows instead of two
    decoded = examples
    if refused:
        decoded = examples.without(refused)
        keys = _keys_of(examples, keys, decoded)
    arithmetic = passes[0].arithmetic
    if reason and arithmetic not in candidates:  # the reason is that of graphs which were not used; the pass says why
        reason = arithmetic.compute
    return Features(decoded, network, runtime, cache_dir, backbone.shape, arithmetic.compute,
                    "; ".join(filter(None, [reason, passes[0].reason])), sum(part.filled.computed for part in passes),
                    time.perf_counter() - start, space, held_out_space, keys, backbone.parts, arithmetic.engine)


def _keys_of(examples: Examples, keys: Sequence[str], decoded: Examples) -> Hashes:
    """The keys of those examples that could be decoded. keys: of all."""
    places = Places()
    places.add(Hashes.of(examples.ids), np.arange(len(examples)))
    return Hashes.of(keys).take(places.find(Hashes.of(decoded.ids)))


def _check(examples: Examples, backbone: Backbone, runtime: Runtime, batch_size: int) -> None:
    expect(Examples, EXAMPLES, examples=examples)
    expect(Backbone, BACKBONE, backbone=backbone)
    expect(Runtime, "a runtime, as kerastl.apply_runtime returns it", runtime=runtime)
    expect(int, "a number of rows", batch_size=batch_size)
    if faults := broken(at_least(1, "batch_size"), {"batch_size": batch_size}):
        raise all_of(faults)
    if examples.modality is not backbone.spec.modality:
        raise OptionError(f"the backbone {backbone.name} is for {backbone.spec.modality.nouns}, and `examples` are "
                          f"{examples.modality.nouns}", f"a backbone for {examples.modality.nouns}",
                          "load another backbone: kerastl.load_backbone")
    if backbone.large and runtime.engine == "openvino":
        raise OptionError(f"`engine` is openvino, but {backbone.name} is a large backbone, which TensorFlow computes",
                          "auto or tensorflow", "omit `engine`")
    if not len(examples):
        raise DataError("`examples` is empty", "at least one row", "check the source")


@dataclass(frozen=True)
class _Pass:
    """What one pass did. reason: which graph computed the rows, and why, in words."""

    space: Space
    arithmetic: Arithmetic
    reason: str
    filled: Filled


def _pass(examples: Examples, keys: Sequence[str], backbone: Backbone, rows: NDArray[np.intp],
          candidates: Sequence[Arithmetic], runtime: Runtime, batch_size: int, cache_dir: Path) -> _Pass:
    """Compute rows in one of these arithmetics: the one of which the cache has most rows, if it has half of them, else
    the one that is chosen by speed; in float32 where the graph for it is wrong by too much."""
    hashes = Hashes.of(keys).take(rows)
    filled = best_filled(cache_dir, backbone, candidates, hashes)
    candidates = [filled] if filled else candidates
    arithmetic, choice = candidates[0], None
    space = space_of(cache_dir, backbone, arithmetic.key)
    todo = missing(space, keys, rows)
    if not len(todo):
        remove_finished(cache_dir, f"{space.key.name}-", hashes)
        return _Pass(space, arithmetic, "all rows cached", Filled(0, {}))
    batch = next(backbone.input.batches(examples.take(todo).items, batch_size, {}), None)  # only to check the engine
    if batch is not None:
        large = backbone.large
        choice = Choice(large_engine(backbone.model, large), large.reason) if large else choose_engine(
            backbone, batch.values, candidates, len(todo), runtime, cache_dir)
        if runtime.devices and not runtime.shared and not large:
            choice = on_devices(choice, backbone.model, batch.values, runtime.devices)
        if choice.engine.arithmetic != arithmetic:  # its rows belong to another space
            arithmetic = choice.engine.arithmetic
            space = space_of(cache_dir, backbone, arithmetic.key)
    engine = choice.engine if choice else plain_engine(backbone.model)
    shape = space.key.shape

    def computed(some: Examples, refused: dict[int, str], progress: Any
                 ) -> Iterator[tuple[Sequence[int], NDArray[Any]]]:
        batches = backbone.input.batches(some.items, batch_size, refused, progress, ids=some.ids)
        for batch, pieces in through(engine, batches):
            yield batch.places, as_stored(batch.merged(pieces), shape)

    description, reason = f"features ({backbone.name})", choice.reason if choice else "all rows cached"
    if not runtime.shared or choice is None:
        return _Pass(space, arithmetic, reason, fill(space, examples, keys, rows, computed,
                                                     description=description))
    with by_workers(examples, keys, rows, backbone, space, engine, runtime, batch_size, cache_dir
                    ) as (by_shards, workers):
        filled_rows = fill(space, examples, keys, rows, by_shards, description=description)
    return _Pass(space, arithmetic, f"{reason}; {workers}", filled_rows)
