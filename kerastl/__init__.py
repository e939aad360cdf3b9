"""Transfer learning on TensorFlow and Keras 3, as an application kit.

The steps of a recipe are the functions named here. Each is imported when it is first used: `import kerastl` imports
neither TensorFlow nor Keras.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {  # public name: (module, name there)
    "Classifier": ("kerastl.serving.classifier", "Classifier"),
    "Stopwatch": ("kerastl.runtime", "Stopwatch"),
    "Examples": ("kerastl.data.examples", "Examples"),
    "ImageConfig": ("kerastl.shell.flags", "ImageConfig"),
    "KerastlError": ("kerastl.errors", "KerastlError"),
    "Prediction": ("kerastl.serving.classifier", "Prediction"),
    "RunConfig": ("kerastl.shell.flags", "RunConfig"),
    "TrainingOptions": ("kerastl.training.options", "TrainingOptions"),
    "TuningOptions": ("kerastl.training.fine_tuning.plan", "TuningOptions"),
    "TextConfig": ("kerastl.shell.flags", "TextConfig"),
    "ablate": ("kerastl.studies.ablation", "ablate"),
    "apply_runtime": ("kerastl.runtime", "apply"),
    "baseline": ("kerastl.evaluation.baseline", "baseline"),
    "by_folder": ("kerastl.studies.few_shot.episodes", "by_folder"),
    "cache_dir": ("kerastl.features.cache", "chosen_dir"),
    "compute_features": ("kerastl.features.compute", "compute_features"),
    "divide_classes": ("kerastl.studies.few_shot.episodes", "divide_classes"),
    "evaluate": ("kerastl.evaluation.metrics", "evaluate"),
    "few_shot_summary": ("kerastl.report.few_shot", "few_shot_summary"),
    "few_shot_task": ("kerastl.studies.few_shot.episodes", "few_shot_task"),
    "fine_tune": ("kerastl.training.fine_tuning.fine_tune", "fine_tune"),
    "fit": ("kerastl.training.fit", "fit"),
    "fit_length": ("kerastl.features.lengths", "fit_length"),
    "evaluate_few_shot": ("kerastl.studies.few_shot.comparison", "evaluate_few_shot"),
    "learn_few_shot": ("kerastl.studies.few_shot.comparison", "learn_few_shot"),
    "lesson": ("kerastl.studies.distillation", "lesson"),
    "load": ("kerastl.serving.classifier", "load"),
    "load_backbone": ("kerastl.backbones", "load"),
    "load_teacher": ("kerastl.studies.distillation", "load_teacher"),
    "pooling_for": ("kerastl.model", "pooling_for"),
    "read_images": ("kerastl.data.sources", "read_images"),
    "read_texts": ("kerastl.data.texts", "read_texts"),
    "run": ("kerastl.shell.process", "run"),
    "splice": ("kerastl.model", "splice"),
    "search_heads": ("kerastl.studies.search", "search_heads"),
    "best_head": ("kerastl.studies.search", "best_head"),
    "split": ("kerastl.data.split", "split"),
    "target": ("kerastl.report.version", "target"),
    "teach": ("kerastl.studies.distillation", "teach"),
    "train": ("kerastl.training.train", "train"),
    "training_options": ("kerastl.shell.flags", "training_options"),
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
