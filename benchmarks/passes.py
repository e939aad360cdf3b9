"""The feature pass: against `model.predict`, and with decoding against without."""

import tempfile
from pathlib import Path

import numpy as np

import kerastl as tl
from benchmarks import images
from benchmarks.figure import Figure, at_least, at_most, interleaved
from kerastl.features.engines.check import check, engine_of
from kerastl.features.engines.choose import allowed
from kerastl.features.engines.engine import Arithmetic
from kerastl.features.engines.tensorflow import plain_engine
from kerastl.inputs.batches import pixel_batches
from kerastl.runtime import apply, cpu_has_bfloat16

BATCH, BATCHES = 32, 4


def over_predict(rounds: int = 5) -> list[Figure]:
    """Images per second of the pass over those of `predict`, on the same decoded batches, random weights."""
    figures = []
    for name in ("inception_v3", "resnet50", "efficientnet_lite0"):
        backbone = tl.load_backbone(name, "none")
        shape = (BATCHES * BATCH, backbone.input.size, backbone.input.size, 3)
        pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        floats = pixels.astype(np.float32)
        engines = {str(kind): engine_of(backbone.model, kind) for kind in allowed(apply(), False)[0]}
        expected = plain_engine(backbone.model).run(pixels[:BATCH])
        engines = {kind: engine for kind, engine in engines.items() if check(engine, pixels[:BATCH], expected)[0]}

        def run(kind: str, engines: dict = engines, pixels: np.ndarray = pixels) -> None:
            for start in range(0, len(pixels), BATCH):
                engines[kind].run(pixels[start:start + BATCH])

        took = interleaved({"predict": lambda b=backbone, x=floats: b.model.predict(x, batch_size=BATCH, verbose=0),
                            **{kind: lambda kind=kind, run=run: run(kind) for kind in engines}}, rounds)
        rate = {kind: len(pixels) / seconds for kind, seconds in took.items()}
        chosen = min(engines, key=lambda kind: took[kind])
        rates = ", ".join(f"{kind} {value:.1f}" for kind, value in rate.items())
        what = f"feature pass over `predict`, {name}, batch 32 (images/s: {rates}; quickest: {chosen})"
        ratio = rate[chosen] / rate["predict"]
        if name == "efficientnet_lite0":
            figures.append(Figure(what, f"{ratio:.2f}"))
        else:
            figures.append(at_least(what, ratio, 2.0 if cpu_has_bfloat16() else 1.15))
    return figures


def with_decoding(rounds: int = 5) -> list[Figure]:
    """Seconds of decoding and pass over those of the pass alone."""
    figures = []
    for name, width, height, count, goal in (("inception_v3", 500, 375, 128, 1.15), ("resnet50", 500, 375, 128, 1.15),
                                             ("efficientnet_lite0", 500, 375, 256, 1.4),
                                             ("inception_v3", 4000, 3000, 64, None)):
        backbone = tl.load_backbone(name, "none")
        with tempfile.TemporaryDirectory() as folder:
            paths = images.write(Path(folder), count, width, height)
            refused: dict[int, str] = {}
            decoded = [pixels for _, pixels in pixel_batches(paths, backbone.input.size, BATCH, refused)]
            both_engines = {name: engine_of(backbone.model, Arithmetic("float32", name))
                            for name in ("tensorflow", "openvino")}
            alone_took = interleaved({name: lambda made=made, first=decoded[0]: made.run(first)
                                      for name, made in both_engines.items()}, 2)
            engine = both_engines[min(alone_took, key=lambda name: alone_took[name])]

            def alone(engine=engine, decoded=decoded) -> None:
                for batch in decoded:
                    engine.run(batch)

            def both(engine=engine, paths=paths, size=backbone.input.size) -> None:
                for _, batch in pixel_batches(paths, size, BATCH, {}):
                    engine.run(batch)

            took = interleaved({"alone": alone, "both": both}, rounds)
        what = (f"decoding and pass over pass alone, {name}, {engine.name} in float32, JPEG {width} x {height} "
                f"({len(paths) / took['both']:.1f} images/s)")
        ratio = took["both"] / took["alone"]
        figures.append(at_most(what, ratio, goal) if goal else Figure(what, f"{ratio:.2f}"))
    return figures
