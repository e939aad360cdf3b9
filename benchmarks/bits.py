"""Whether the features of texts depend on what shares their batch, and what padding each by itself costs."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.figure import Figure, at_most

ROWS, ROUNDS = 400, 4
SOURCE = "samples/snippets.csv"


def of_features() -> list[Figure]:
    """MiniLM on movie snippets: rows that differ with the batch size or the other rows, in every arithmetic; and CPU
    time against padding to the longest of a batch, alternating."""
    import kerastl as tl
    from kerastl.features.engines.check import engine_of
    from kerastl.features.engines.engine import Arithmetic
    from kerastl.inputs import Batch

    examples = tl.read_texts(SOURCE, limit=ROWS)
    backbone = tl.fit_length(tl.load_backbone("minilm", modality="text"), examples, 64)
    source: Any = backbone.input

    def features(some: tl.Examples, batch_size: int, precision: str, engine: str) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return tl.compute_features(some, backbone, tl.apply_runtime(precision, "off", 0, engine), cache_dir=folder,
                                       batch_size=batch_size).array

    changed, third = 0, list(range(0, ROWS, 3))
    for precision in ("float32", "mixed_bfloat16"):
        for engine in ("tensorflow", "openvino"):
            base = features(examples, 32, precision, engine)
            for other, same in ((features(examples, 20, precision, engine), base),
                                (features(examples.take(third), 32, precision, engine), base[third])):
                changed += int((other != same).any(axis=1).sum())

    def to_longest() -> Iterator[Batch]:
        order = np.argsort([-len(text) for text in examples.items], kind="stable")
        for start in range(0, len(order), 32):
            places = order[start:start + 32].tolist()
            contents = source.contents([examples.items[place] for place in places])
            yield replace(source.decoded(contents, {}), places=places)

    def seconds(run: Callable[[Any], object], batches: Iterable[Batch]) -> float:
        start = time.process_time()
        for batch in batches:
            run(batch.values)
        return time.process_time() - start

    run = engine_of(backbone.model, Arithmetic("float32")).run
    times = [(seconds(run, to_longest()), seconds(run, source.batches(examples.items, 32, {})))
             for _ in range(ROUNDS)]
    longest, own = (min(column) for column in zip(*times, strict=True))
    return [Figure(f"rows of text features that change with the batch, of {4 * (ROWS + len(third)):,} comparisons",
                   str(changed), "0", changed == 0),
            at_most("CPU time of text features padded by themselves, over padding to the longest", own / longest, 1.1)]
