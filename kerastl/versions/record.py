"""The run record: everything a run found out, as one JSON document. What `--json` prints is what run.json holds."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kerastl.backbones import Backbone
from kerastl.data.examples import TEST, TRAIN, VALIDATION, Examples
from kerastl.evaluation.baseline import Baseline
from kerastl.evaluation.result import Evaluation
from kerastl.features.compute import Features
from kerastl.runtime import Runtime, machine
from kerastl.training.fine_tuning.fine_tune import FineTuneResult
from kerastl.training.fit import FittedHead
from kerastl.versions.large import about
from kerastl.versions.sections import Ablation, Parity, Trial


def run_record(config: dict[str, Any], *, backbone: Backbone, features: Features, fitted: FittedHead,
               evaluation: Evaluation, parity: Sequence[Parity], runtime: Runtime, tuned: FineTuneResult | None = None,
               baseline: Baseline | None = None, ablation: Ablation | None = None, trials: Sequence[Trial] = (),
               seconds: dict[str, float]
               ) -> dict[str, Any]:
    """Put together what the steps of a recipe returned. `seconds` holds at least `export` and `total`."""
    examples = features.examples
    return {
        "kind": examples.modality.name,
        "backbone": backbone.name,
        "weights": backbone.weights,
        "weights_hash": backbone.weights_hash,
        "random_weights": backbone.random,
        "random_parts": list(backbone.random_parts),
        "input": backbone.input.record(),
        "preprocessing": backbone.spec.preprocessing,
        "large": about(backbone),
        "tap": backbone.tap,
        "pooling": backbone.pooling,
        "head": fitted.name,
        "head_settings": fitted.settings,
        "search": [asdict(one) for one in trials],
        "curve": list(fitted.curve),
        "classes": list(examples.classes),
        "counts": examples.counts(),
        "multi_label": examples.multi_label,
        **_sizes(examples),
        "notes": list(examples.notes),
        "left_out": [asdict(one) for one in examples.skipped],
        "test": {**evaluation.to_dict(), "calibrated_by": "cross-fitted temperature" if fitted.validation is None
                 else "temperature fitted on the validation rows"},
        "temperature": evaluation.calibration.temperature,
        "thresholds": list(evaluation.calibration.thresholds),
        "baseline": baseline.to_dict() if baseline else None,
        "distilled": None,
        "ablation": asdict(ablation) if ablation else None,
        "unfrozen": asdict(tuned) if tuned else None,
        "engine": "tensorflow",
        "features": {"compute": features.compute, "word": features.reason, "computed": features.computed,
                     "rate": features.computed / features.seconds if features.computed else None},
        "precision": runtime.precision,
        "precision_reason": runtime.precision_reason,
        "xla": runtime.xla,
        "xla_reason": runtime.xla_reason,
        "seed": runtime.seed,
        "parity": [asdict(one) for one in parity],
        "breaches": [one.kind for one in parity if not one.kept],
        "seconds": {"features": features.seconds, "head": fitted.seconds, "fine_tune": tuned.seconds if tuned else 0.0,
                    "baseline": baseline.seconds if baseline else 0.0,
                    "ablation": ablation.seconds if ablation else 0.0, **seconds},
        "machine": machine(),
        "config": config,
    }


def _sizes(examples: Examples) -> dict[str, Any]:
    """Rows on each side. Cross-validated rows all train the shipped head, and each is judged once by another."""
    split = examples.split
    assert split is not None
    about = {"split": split.mode, "split_reason": split.reason}
    if split.mode == "cv":
        return {"n_train": len(examples), "n_validation": 0, "n_test": len(examples), **about}
    return {"n_train": len(split.rows(TRAIN)), "n_validation": len(split.rows(VALIDATION)),
            "n_test": len(split.rows(TEST)), **about}
