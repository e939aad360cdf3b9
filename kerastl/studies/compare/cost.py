"""What a combination costs when it is deployed: its size, and the time for a single row."""

import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.backbones import Backbone
from kerastl.data.examples import Examples
from kerastl.features.engines.tensorflow import large_engine
from kerastl.heads import head_of
from kerastl.inputs import floats
from kerastl.model import raw_of, splice
from kerastl.runtime import Runtime
from kerastl.studies.compare.preparation import Prepared
from kerastl.studies.journal import Journal, work_key

TIMED = 20  # rows, one at a time
WARM_UP = 3  # rows before those, which are not counted


@dataclass(frozen=True)
class Cost:
    """bytes: of the weights as they are kept: float32, or what a large backbone's weights are kept in. milliseconds:
    the median for a single decoded row."""

    parameters: int
    bytes: int
    milliseconds: float


def measure_cost(prepared: Prepared, head: str, runtime: Runtime, journal: Journal) -> Cost:
    """The cost of a backbone with a new head. It is measured once, so that a resumed comparison shows the same."""
    examples, backbone = prepared.features.examples, prepared.backbone

    def work() -> dict[str, Any]:
        configured = head_of(head).on(backbone.parts)
        raw = raw_of(backbone) if configured.side else None
        model = splice(backbone, configured.made(backbone.shape, len(examples.classes), raw))
        sizes = [(int(np.prod(weight.shape)), tf.as_dtype(weight.dtype).size) for weight in model.weights]
        parameters, size = sum(count for count, _ in sizes), sum(count * width for count, width in sizes)
        if backbone.large:  # it is not part of the model
            parameters, size = parameters + backbone.large.parameters, size + backbone.large.bytes
        return {"backbone": backbone.name, "head": head, "parameters": parameters, "bytes": size,
                "milliseconds": _latency(model, backbone, examples)}

    record = journal.once(work_key(["cost in bytes", *prepared.key, head, list(examples.ids[:TIMED]), asdict(runtime)]),
                          work)
    return Cost(record["parameters"], record["bytes"], record["milliseconds"])


def _latency(model: Any, backbone: Backbone, examples: Examples) -> float:
    spec = [tf.TensorSpec(model.input_shape, model.inputs[0].dtype)]
    predict = tf.function(lambda values: model(values, training=False), input_signature=spec, autograph=False)
    engine = large_engine(backbone.model, backbone.large) if backbone.large else None
    streamed = engine is not None and engine.stream is not None  # a row then takes minutes
    items = examples.items[:1 if streamed else TIMED]
    batches = [floats(batch.values) for batch in backbone.input.batches(items, 1, {})]
    times = []
    for values in batches if streamed else [*batches[:WARM_UP], *batches]:
        start = time.perf_counter()
        predict(engine.run(values) if engine else values)
        times.append(1000 * (time.perf_counter() - start))
    return median(times[-len(batches):])
