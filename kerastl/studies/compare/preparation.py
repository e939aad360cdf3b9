"""The features of a comparison, from each backbone: computed once, and used by every combination and seed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerastl import __version__
from kerastl.backbones import NO_POOLING, Backbone, is_large, load, precisions_of, repooled
from kerastl.data.examples import Examples
from kerastl.errors import OptionError
from kerastl.features.compute import Features, compute_features
from kerastl.features.lengths import fit_length
from kerastl.model import blocks, pooling_for
from kerastl.runtime import Runtime
from kerastl.studies.compare.combinations import Combination

Pooled = dict[tuple[str, str], Features]  # by the name of a backbone and how it is pooled


def network_key(combination: Combination) -> tuple[str, str]:
    """A combination's backbone, and how it is pooled: combinations that share these share features."""
    return combination.backbone, pooling_for(combination.head)


def features_key(features: Features) -> list[Any]:
    """Everything but the rows that determines the features."""
    backbone = features.backbone
    return [__version__, backbone.name, backbone.weights_hash, backbone.pooling, backbone.layer,
            backbone.input.version, backbone.input.record(), features.compute, features.engine]


def prepare(combinations: Sequence[Combination], weights: dict[str, str | None], rest: Examples, runtime: Runtime, *,
            precision: str, pickles: bool, batch_size: int, cache_dir: Path) -> Pooled:
    """The features of these rows from each backbone, pooled as its heads need it. All have the same rows: those that
    every backbone could read. All weights are loaded before the first pass."""
    names = list(weights)
    keys = sorted({network_key(combination) for combination in combinations},
                    key=lambda key: (names.index(key[0]), key[1]))
    backbones = _loaded(keys, weights, precision, pickles)
    most = max((int(item.unfreeze) for item in combinations if item.unfreeze.isdecimal()), default=0)
    few = [f"{backbone.name} has {len(blocks(backbone))}" for backbone in backbones
           if most and len(blocks(backbone)) < most]
    if few:
        raise OptionError(f"`unfreeze` must not exceed the number of blocks: {', '.join(few)} (got {most})")
    return dict(zip(keys, _features(rest, backbones, runtime, batch_size, cache_dir), strict=True))


def _loaded(keys: Sequence[tuple[str, str]], weights: dict[str, str | None], precision: str, pickles: bool
            ) -> list[Backbone]:
    """The backbones. A large one is loaded once, for all ways of pooling it."""
    def read(name: str, pooling: str) -> Backbone:
        return load(name, weights[name], pooling=pooling, pickles=pickles and is_large(name),
                    precision=precision if precision in precisions_of(name) else "auto")

    counts = [name for name, _ in keys]
    shared = {name: read(name, NO_POOLING) for name in weights if is_large(name) and counts.count(name) > 1}
    return [read(name, pooling) if name not in shared else shared[name] if pooling == NO_POOLING else
            repooled(shared[name], pooling) for name, pooling in keys]


def _features(rest: Examples, backbones: Sequence[Backbone], runtime: Runtime, batch_size: int, cache_dir: Path
              ) -> list[Features]:
    computed: list[Features] = []
    for backbone in backbones:
        if rest.modality.has_length:
            backbone = fit_length(backbone, rest)
        computed.append(compute_features(rest, backbone, runtime, cache_dir=cache_dir, batch_size=batch_size))
        rest = computed[-1].examples
    return [features if len(features.examples) == len(rest) else  # its rows are all in the cache
            compute_features(rest, features.backbone, runtime, cache_dir=cache_dir) for features in computed]
