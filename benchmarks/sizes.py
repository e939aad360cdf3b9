"""The bytes of a SavedModel over those of its weights."""

import tempfile
from pathlib import Path

import numpy as np

import kerastl as tl
from benchmarks.figure import Figure, at_most
from kerastl.decision import Calibration
from kerastl.export import saved_model
from kerastl.heads import resolve_head
from kerastl.model import Parts
from kerastl.tasks import task_named


def saved_models() -> list[Figure]:
    """The folder that TF Serving loads, with a linear head of 10 classes."""
    figures = []
    for name in ("inception_v3", "resnet50", "efficientnet_lite0"):
        backbone = tl.load_backbone(name, "none")
        head = resolve_head("linear").build(backbone.shape, 10)
        weights = sum(4 * int(np.prod(w.shape)) for part in (backbone.model, head) for w in part.weights)
        with tempfile.TemporaryDirectory() as folder:
            saved_model.save(Path(folder), Parts(backbone.model, head, None), backbone.input,
                             [str(i) for i in range(10)], task_named("single_label"), Calibration(1.0))
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        figures.append(at_most(f"SavedModel over its weights, {name} ({size / 1e6:.1f} MB over {weights / 1e6:.1f} MB)",
                               size / weights, 1.05))
    return figures
