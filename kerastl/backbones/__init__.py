"""Backbones: pretrained networks whose outputs serve as features. Each file here is one backbone, or one family of
presets.

A file defines `SPEC`. No other file has to be edited: lists, tables and tests find it here. What a file needs to define
one, and what other packages need to use one, is named below.
"""

from kerastl.backbones._spec import (
    BACKBONE,
    JOINED,
    NO_POOLING,
    TOP,
    WEIGHTS,
    Backbone,
    BuildOptions,
    FeatureLayer,
    Large,
    Network,
    Spec,
    Weights,
)
from kerastl.backbones._weights import (
    fill,
    first_line,
    in_keras_cache,
    keras_application,
    keras_download,
    maps_of,
    pooled,
    weights_hash,
)
from kerastl.inputs import Shape

from kerastl.backbones._find import is_large, on_this_machine, precisions_of, published_weights, spec_of, specs  # isort: skip
from kerastl.backbones._load import fetch_weights, load, repooled  # isort: skip
from kerastl.backbones._text_memory import text_memory  # isort: skip

__all__ = [
    "BACKBONE", "JOINED", "NO_POOLING", "TOP", "WEIGHTS", "Backbone", "BuildOptions", "FeatureLayer", "Large",
    "Network", "Shape", "Spec", "Weights", "fetch_weights", "fill", "first_line", "in_keras_cache", "is_large",
    "keras_application", "keras_download", "load", "maps_of", "on_this_machine", "pooled", "precisions_of",
    "published_weights", "repooled", "spec_of", "specs", "text_memory", "weights_hash",
]
