"""Transfer learning on TensorFlow and Keras 3, as an application kit.

The steps of a recipe are the functions named here. Each is imported when it is first used: `import kerastl` imports
neither TensorFlow nor Keras.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {  # public name: (module, name there)
    "Classifier": ("kerastl.export.loaded", "Classifier"),
    "Clock": ("kerastl.entry", "Clock"),
    "Examples": ("kerastl.data.examples", "Examples"),
    "ImageConfig": ("kerastl.entry", "ImageConfig"),
    "KerastlError": ("kerastl.errors", "KerastlError"),
    "Prediction": ("kerastl.export.loaded", "Prediction"),
    "TextConfig": ("kerastl.entry", "TextConfig"),
    "ablate": ("kerastl.training.ablate", "ablate"),
    "apply_runtime": ("kerastl.runtime", "apply"),
    "baseline": ("kerastl.evaluation.baseline", "baseline"),
    "cache_dir": ("kerastl.features.cache", "chosen_dir"),
    "compute_features": ("kerastl.features.compute", "compute_features"),
    "evaluate": ("kerastl.evaluation.metrics", "evaluate"),
    "fine_tune": ("kerastl.training.fine_tune", "fine_tune"),
    "fit": ("kerastl.training.fit", "fit"),
    "fit_length": ("kerastl.features.lengths", "fit_length"),
    "load": ("kerastl.export.loaded", "load"),
    "load_backbone": ("kerastl.backbones", "load"),
    "pooling_for": ("kerastl.model", "pooling_for"),
    "read_images": ("kerastl.data.sources", "read_images"),
    "read_texts": ("kerastl.data.texts", "read_texts"),
    "run": ("kerastl.entry", "run"),
    "splice": ("kerastl.model", "splice"),
    "split": ("kerastl.data.split", "split"),
    "target": ("kerastl.report.version", "target"),
    "train": ("kerastl.training.train", "train"),
    "write_version": ("kerastl.report.version", "write_version"),
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'kerastl' has no attribute {name!r}")
    module, there = _HOME[name]
    value = getattr(importlib.import_module(module), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
