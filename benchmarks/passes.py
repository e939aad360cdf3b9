"""The feature pass: against `model.predict`, and with decoding against without."""

import tempfile
from pathlib import Path

import numpy as np

import kerastl as tl
from benchmarks import images
from benchmarks.figure import Figure, at_least, at_most, interleaved
from kerastl.features.engines.check import checked_engine, speed_ratio
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
        engines = {kind: checked_engine(backbone.model, pixels[:BATCH], kind, False)[0]
                   for kind in ("float32", "mixed_bfloat16")}

        def run(kind: str, engines: dict = engines, pixels: np.ndarray = pixels) -> None:
            for start in range(0, len(pixels), BATCH):
                engines[kind].run(pixels[start:start + BATCH])

        took = interleaved({"predict": lambda b=backbone, x=floats: b.model.predict(x, batch_size=BATCH, verbose=0),
                            "float32": lambda: run("float32"), "bfloat16": lambda: run("mixed_bfloat16")}, rounds)
        rate = {kind: len(pixels) / seconds for kind, seconds in took.items()}
        chosen = "bfloat16" if (cpu_has_bfloat16()
                                and speed_ratio(backbone.model, pixels[:BATCH]) >= 1) else "float32"
        rates = ", ".join(f"{kind} {value:.1f}" for kind, value in rate.items())
        what = f"feature pass over `predict`, {name}, batch 32 (images/s: {rates}; `auto` takes {chosen})"
        ratio = rate[chosen] / rate["predict"]
        if name == "efficientnet_lite0":
            figures.append(Figure(what, f"{ratio:.2f}"))
        else:
            figures.append(at_least(what, ratio, 2.0 if cpu_has_bfloat16() else 1.15))
    return figures


def with_decoding(rounds: int = 5) -> list[Figure]:
    """Seconds of decoding and pass over those of the pass alone."""
    figures = []
    runtime = apply()
    for name, width, height, count, goal in (("inception_v3", 500, 375, 128, 1.15), ("resnet50", 500, 375, 128, 1.15),
                                             ("efficientnet_lite0", 500, 375, 256, 1.4),
                                             ("inception_v3", 4000, 3000, 64, None)):
        backbone = tl.load_backbone(name, "none")
        with tempfile.TemporaryDirectory() as folder:
            paths = images.write(Path(folder), count, width, height)
            refused: dict[int, str] = {}
            decoded = [pixels for _, pixels in pixel_batches(paths, backbone.input.size, BATCH, refused)]
            engine, _ = checked_engine(backbone.model, decoded[0], "float32", runtime.xla)

            def alone(engine=engine, decoded=decoded) -> None:
                for batch in decoded:
                    engine.run(batch)

            def both(engine=engine, paths=paths, size=backbone.input.size) -> None:
                for _, batch in pixel_batches(paths, size, BATCH, {}):
                    engine.run(batch)

            took = interleaved({"alone": alone, "both": both}, rounds)
        what = (f"decoding and pass over pass alone, {name}, JPEG {width} x {height} "
                f"({len(paths) / took['both']:.1f} images/s)")
        ratio = took["both"] / took["alone"]
        figures.append(at_most(what, ratio, goal) if goal else Figure(what, f"{ratio:.2f}"))
    return figures
