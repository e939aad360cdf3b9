"""Comparing backbones, heads and depths of unfreezing on the same folds. Test rows are set aside before anything else.

Of the other rows, seed s holds out fold s of 5; a part of the remaining four chooses (epochs, L2 strength). So each
seed differs in rows and in the start of training, and every combination meets the same folds.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl import __version__
from kerastl.backbones import Backbone
from kerastl.data.examples import TEST, TRAIN, VALIDATION, Examples, Split
from kerastl.data.split import FOLDS, carve, folds, split
from kerastl.errors import DataError
from kerastl.features.compute import Features, compute_features
from kerastl.features.engines.tensorflow import large_engine
from kerastl.features.lengths import fit_length
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import head_of
from kerastl.inputs import floats
from kerastl.model import raw_of, splice
from kerastl.runtime import Runtime
from kerastl.studies.journal import Cells, fingerprint
from kerastl.training.fit import FittedHead, fit
from kerastl.training.train import TrainedModel, train

TIMED = 20  # rows, one at a time

Judge = Callable[[Examples, FittedHead], NDArray[np.bool_]]  # which of the judged rows are answered rightly


@dataclass(frozen=True)
class Combination:
    """One line of the table, as asked for. unfreeze: a number of blocks, `all` or `contrast`."""

    backbone: str
    head: str
    unfreeze: str


@dataclass(frozen=True)
class Taken:
    """A backbone with its features of all rows that do not test."""

    backbone: Backbone
    features: Features


@dataclass(frozen=True)
class How:
    """What all combinations share."""

    runtime: Runtime
    cache_dir: Path
    epochs: int | None
    batch_size: int


def set_aside(examples: Examples) -> Examples:
    """The same with test rows set aside: the source's own, or a tenth by hash. Raises DataError for too few rows."""
    try:
        found = split(examples, "auto" if any(examples.source_split) else "holdout")
    except DataError as error:
        raise DataError(error.got, error.wanted, "add data: a comparison sets test rows aside") from error
    return replace(found, min_per_class=0)  # else one row that does not decode could take a class away


def without_test(examples: Examples) -> Examples:
    """The rows that do not test, dealt into 5 folds. Raises DataError for fewer than 5 groups of them."""
    assert examples.split is not None
    rest = examples.take(np.flatnonzero(examples.split.part != TEST))
    if (groups := len(set(rest.groups))) < FOLDS:
        raise DataError(f"{groups} groups of rows of {examples.source} do not test", f"{FOLDS} or more", "add data")
    return replace(rest, split=Split("cv", "each row judges for one seed in five", folds(rest, FOLDS)))


def held_out(rest: Examples, seed: int) -> Examples:
    """The same rows, of which fold `seed` of 5 judges and a part of the others chooses; beyond 5 seeds, they are dealt
    into other folds."""
    deal, fold = divmod(seed, FOLDS)
    dealt = replace(rest, groups=tuple(f"{deal} {group}" for group in rest.groups)) if deal else rest
    part = folds(dealt, FOLDS)
    return replace(rest, split=Split("holdout", f"fold {fold + 1} of {FOLDS} judges", _sides(rest, part == fold)))


def _sides(examples: Examples, judge: NDArray[np.bool_]) -> NDArray[np.int8]:
    others = np.flatnonzero(~judge)
    sides = np.where(judge, TEST, TRAIN).astype(np.int8)
    sides[others[carve(examples, others)]] = VALIDATION
    return sides


def take_features(rest: Examples, backbones: Sequence[Backbone], how: How) -> tuple[list[Taken], Examples]:
    """Features of these rows by each backbone, in float32, and the rows that all of them could read."""
    found: list[Taken] = []
    for backbone in backbones:
        if rest.modality.name == "text":
            backbone = fit_length(backbone, rest)
        features = compute_features(rest, backbone, how.runtime, cache_dir=how.cache_dir, batch_size=how.batch_size)
        found.append(Taken(backbone, features))
        rest = features.examples
    return [one if len(one.features.examples) == len(rest) else  # all of it is in the cache
            Taken(one.backbone, compute_features(rest, one.backbone, how.runtime, cache_dir=how.cache_dir))
            for one in found], rest


def cell(taken: Taken, combination: Combination, seed: int, how: How, cells: Cells, judge: Judge) -> dict[str, Any]:
    """The record of a combination with a seed: accuracy on its fold, `right` (a 0 or 1 for each row of the fold),
    seconds of training, blocks unfrozen, settings chosen. Taken from the file where it is there."""
    examples = held_out(taken.features.examples, seed)
    key = _key(taken, examples, combination, seed, how)
    known = cells.get(key)
    if known:
        return known
    print(f"{combination.backbone} + {combination.head}, unfreeze {combination.unfreeze}, seed {seed}", flush=True)
    features, runtime = replace(taken.features, examples=examples), replace(how.runtime, seed=seed)
    if combination.unfreeze == "0":  # without the backbone, which need not be spliced for this
        if head_of(combination.head).side:
            features = with_raw(features, taken.backbone, cache_dir=how.cache_dir)
        fitted, blocks, seconds = fit(features, combination.head, runtime=runtime, epochs=how.epochs), 0, 0.0
    else:
        trained = _unfrozen(taken.backbone, features, combination, replace(how, runtime=runtime))
        assert trained.tuned is not None, "something was unfrozen"
        fitted, blocks, seconds = trained.fitted, trained.tuned.blocks, trained.tuned.seconds
    right = judge(examples, fitted)
    return cells.add(key, {**asdict(combination), "seed": seed, "accuracy": float(right.mean()),
                           "seconds": fitted.seconds + seconds, "blocks": blocks, "settings": fitted.settings,
                           "right": "".join(map(str, right.astype(int).tolist()))})


def _unfrozen(backbone: Backbone, features: Features, combination: Combination, how: How) -> TrainedModel:
    """Train in part, and leave the backbone as it was."""
    original = None if combination.unfreeze == "0" else backbone.model.get_weights()
    try:
        return train(backbone, features, combination.head, unfreeze=combination.unfreeze, runtime=how.runtime,
                     cache_dir=how.cache_dir, epochs=how.epochs, batch_size=how.batch_size)
    finally:
        if original is not None:
            backbone.model.set_weights(original)


def cost(taken: Taken, head: str, how: How, cells: Cells) -> dict[str, Any]:
    """Parameters of the spliced model, and the median milliseconds it takes for a row alone, read already. Measured
    once, so that a run that goes on tells the same."""
    key = fingerprint(["cost", *_about(taken), head, list(taken.features.examples.ids[:TIMED]), asdict(how.runtime)])
    known = cells.get(key)
    if known:
        return known
    examples, backbone = taken.features.examples, taken.backbone
    wanted = head_of(head).on(backbone.parts)
    raw = raw_of(backbone) if wanted.side else None
    model = splice(backbone, wanted.made(backbone.shape, len(examples.classes), raw))
    apart = backbone.large.parameters if backbone.large else 0
    return cells.add(key, {"backbone": backbone.name, "head": head, "parameters": int(model.count_params()) + apart,
                           "milliseconds": _latency(model, backbone, examples)})


def _latency(model: Any, backbone: Backbone, examples: Examples) -> float:
    import tensorflow as tf

    spec = [tf.TensorSpec(model.input_shape, model.inputs[0].dtype)]
    answer = tf.function(lambda values: model(values, training=False), input_signature=spec, autograph=False)
    engine = large_engine(backbone.model, backbone.large) if backbone.large else None
    items = examples.items[:1 if engine and engine.stream else TIMED]  # one that is streamed takes minutes
    values = [floats(batch.values) for batch in backbone.input.batches(items, 1, {})]
    took = []
    for one in values if engine and engine.stream else [*values[:3], *values]:  # the first are not counted
        start = time.perf_counter()
        answer(engine.run(one) if engine else one)
        took.append(1000 * (time.perf_counter() - start))
    return median(took[-len(values):])


def final(examples: Examples, taken: Taken, combination: Combination, how: How) -> tuple[Features, TrainedModel]:
    """A combination trained on all rows that do not test, a part of which chooses. examples: as `set_aside` gives
    them; their test rows judge."""
    assert examples.split is not None
    sides = _sides(examples, examples.split.part == TEST)
    examples = replace(examples, split=replace(examples.split, part=sides))
    features = compute_features(examples, taken.backbone, how.runtime, cache_dir=how.cache_dir,
                                batch_size=how.batch_size)
    return features, _unfrozen(taken.backbone, features, combination, how)


def final_key(examples: Examples, taken: Taken, combination: Combination, how: How) -> str:
    """Names what `final` would do."""
    return "final " + _key(taken, examples, combination, how.runtime.seed, how)


def _about(taken: Taken) -> list[Any]:
    one = taken.backbone
    return [__version__, one.name, one.weights_hash, one.pooling, one.layer, one.input.version, one.input.record(),
            taken.features.compute]


def _key(taken: Taken, examples: Examples, combination: Combination, seed: int, how: How) -> str:
    assert examples.split is not None
    about = [*_about(taken), asdict(combination), asdict(replace(how.runtime, seed=seed)), how.epochs, how.batch_size,
             list(examples.ids), list(examples.groups), list(examples.classes)]
    return fingerprint(about, examples.targets, examples.split.part)
