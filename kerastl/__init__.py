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
    "RunConfig": ("kerastl.entry", "RunConfig"),
    "TextConfig": ("kerastl.entry", "TextConfig"),
    "ablate": ("kerastl.training.ablate", "ablate"),
    "apply_runtime": ("kerastl.runtime", "apply"),
    "baseline": ("kerastl.evaluation.baseline", "baseline"),
    "by_folder": ("kerastl.training.episodes", "by_folder"),
    "cache_dir": ("kerastl.features.cache", "chosen_dir"),
    "compute_features": ("kerastl.features.compute", "compute_features"),
    "divide_classes": ("kerastl.training.episodes", "divide_classes"),
    "evaluate": ("kerastl.evaluation.metrics", "evaluate"),
    "few_shot_summary": ("kerastl.report.few_shot", "few_shot_summary"),
    "few_shot_task": ("kerastl.training.episodes", "few_shot_task"),
    "fine_tune": ("kerastl.training.fine_tune", "fine_tune"),
    "fit": ("kerastl.training.fit", "fit"),
    "fit_length": ("kerastl.features.lengths", "fit_length"),
    "judge_few_shot": ("kerastl.training.few_shot", "judge_few_shot"),
    "learn_few_shot": ("kerastl.training.few_shot", "learn_few_shot"),
    "lesson": ("kerastl.export.teacher", "lesson"),
    "load": ("kerastl.export.loaded", "load"),
    "load_backbone": ("kerastl.backbones", "load"),
    "load_teacher": ("kerastl.export.teacher", "load_teacher"),
    "pooling_for": ("kerastl.model", "pooling_for"),
    "read_images": ("kerastl.data.sources", "read_images"),
    "read_texts": ("kerastl.data.texts", "read_texts"),
    "run": ("kerastl.entry", "run"),
    "splice": ("kerastl.model", "splice"),
    "split": ("kerastl.data.split", "split"),
    "target": ("kerastl.report.version", "target"),
    "teach": ("kerastl.export.teacher", "teach"),
    "train": ("kerastl.training.train", "train"),
    "tuning": ("kerastl.entry", "tuning"),
    "write_few_shot": ("kerastl.report.few_shot", "write_few_shot"),
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
