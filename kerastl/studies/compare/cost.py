"""The cost of deploying a combination: its size, and its latency for a single row."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.features.compute import Features
from kerastl.features.engines.tensorflow import large_engine
from kerastl.heads import resolve_head
from kerastl.model import raw_of, single_row_latency, splice
from kerastl.studies.compare.preparation import features_key
from kerastl.studies.journal import Journal, work_key

TIMED, WARM_UP = 20, 3  # rows, one at a time; a streamed backbone takes minutes for one, so it gets one


@dataclass(frozen=True)
class Cost:
    """bytes: of the weights as they are kept: float32, or what a large backbone's weights are kept in. milliseconds:
    that `single_row_latency` measures."""

    parameters: int
    bytes: int
    milliseconds: float


def measure_cost(features: Features, head: str, journal: Journal) -> Cost:
    """The cost of a backbone with a new head. It is measured once, so that a resumed comparison shows the same."""
    examples, backbone = features.examples, features.backbone

    def work() -> dict[str, Any]:
        configured = resolve_head(head, backbone.parts)
        raw = raw_of(backbone) if configured.spec.takes_raw else None
        model = splice(backbone, configured.build(backbone.shape, len(examples.classes), raw))
        sizes = [(int(np.prod(weight.shape)), tf.as_dtype(weight.dtype).size) for weight in model.weights]
        parameters, size = sum(count for count, _ in sizes), sum(count * width for count, width in sizes)
        if backbone.large:  # it is not part of the model
            parameters, size = parameters + backbone.large.parameters, size + backbone.large.bytes
        engine = large_engine(backbone.model, backbone.large) if backbone.large else None
        items, warm_up = (examples.items[:1], 0) if engine and engine.stream else (examples.items[:TIMED], WARM_UP)
        milliseconds = single_row_latency(model, backbone.input, items, warm_up=warm_up,
                                          features_of=engine.run if engine else None)
        return {"backbone": backbone.name, "head": head, "parameters": parameters, "bytes": size,
                "milliseconds": milliseconds}

    record = journal.once(work_key(["cost in bytes", *features_key(features), head, list(examples.ids[:TIMED]),
                                    asdict(features.runtime)]), work)
    return Cost(record["parameters"], record["bytes"], record["milliseconds"])
