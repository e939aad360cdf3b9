"""In a process of its own, with two logical processors: what one of them computes, and what both do. Writes the results
as JSON to standard output.

python two_devices.py IMAGES FOLDER [all | train]
`all` takes three minutes of processor time, instead of one. `train` only trains, in the folder that is then gone on
with.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf

tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0],
                                           [tf.config.LogicalDeviceConfiguration()] * 2)

import conftest  # noqa: E402, F401  brings the tiny backbone
import keras  # noqa: E402
import numpy as np  # noqa: E402
from tiny import plain_runtime, tiny_backbone  # noqa: E402

import kerastl as tl  # noqa: E402
from kerastl import devices as choosing  # noqa: E402
from kerastl.features.engines.tensorflow import in_policy  # noqa: E402
from kerastl.modality import TEXT  # noqa: E402
from kerastl.rerun.plan import runtime_of  # noqa: E402
from kerastl.tasks import task_named  # noqa: E402
from kerastl.training.fine_tuning import fine_tune as tuning  # noqa: E402
from kerastl.training.fine_tuning.checkpoints import LATEST, Checkpoints, read_arrays  # noqa: E402
from kerastl.training.fine_tuning.divided import Divided, mirrored  # noqa: E402
from kerastl.training.fine_tuning.plan import plan_for  # noqa: E402
from kerastl.training.fine_tuning.schedules import WarmUp  # noqa: E402
from kerastl.training.fine_tuning.trainee import Trainee, compile_for, scope_of  # noqa: E402
from kerastl.training.options import TrainingOptions  # noqa: E402

BOTH = ("CPU:0", "CPU:1")
RATE = 1e-3
STOPPED_AFTER, EPOCHS = 1, 3
BATCH = 7  # which does not divide by two; nor do the training rows by it
CASES: dict[str, dict[str, Any]] = {
    "gradual": {"blocks": 2, "gradual": True, "layer_decay": 0.5},
    "accumulated": {"parts": 3, "several": True, "class_weights": "none"},
}
MORE: dict[str, dict[str, Any]] = {"XLA": {"xla": "on"}, "bfloat16": {"precision": "mixed_bfloat16"}}
LONG: dict[str, Any] = {"epochs": EPOCHS, "blocks": 2, "head": "mlp:dropout=0.5",
                        "find_learning_rate": True, "learning_rate": None}
ACCUMULATE = tuning._accumulate


def features(data: Path, cache: Path, several: bool = False, **choices: Any) -> tl.Features:
    examples = tl.read_images(str(data))
    if several:
        examples = replace(examples, targets=examples.one_hot().astype(np.int64))
    return tl.compute_features(tl.split(examples, "holdout"), tiny_backbone(), plain_runtime(**choices),
                               cache_dir=cache)


def trained(rows: tl.Features, devices: tuple[str, ...], epochs: int = 2, blocks: int = 1, head: str = "linear",
            class_weights: str = "balanced", **asked: Any) -> tuple[list[Any], list[Any], tl.FineTuneResult]:
    """The model's weights before, all variables after the last epoch, those of the optimizer among them, and the
    result."""
    rows = replace(rows, runtime=replace(rows.runtime, devices=devices), backbone=tiny_backbone())
    fitted = tl.fit(rows, head, options=TrainingOptions(epochs=2, class_weights=class_weights))
    model = tl.splice(rows.backbone, fitted.head)
    before, cache = model.get_weights(), rows.cache_dir / "-".join(["states", *devices])
    settings = {"augment": "none", "learning_rate": RATE} | asked
    _, result = tl.fine_tune(replace(rows, cache_dir=cache), model, fitted, blocks, options=TrainingOptions(
        epochs, BATCH, fine_tuning=tl.TuningOptions(**settings)))
    assert not any(isinstance(variable.value, tf.distribute.DistributedValues) for variable in model.variables)
    latest, = cache.glob(f"fine_tune/*/after-{epochs:06d}/{LATEST}")
    return before, read_arrays(latest), result


def largest(a: list[Any], b: list[Any]) -> float:
    """The largest difference."""
    return max(float(np.abs(x.astype(np.float64) - y).max()) for x, y in zip(a, b, strict=True))


def training(data: Path, cache: Path, parts: int = 1, several: bool = False, xla: str = "off",
             precision: str = "float32", **asked: Any) -> dict[str, Any]:
    """How far apart one device and two are after two epochs. moved: by how much the weights changed."""
    tuning._accumulate = lambda backbone, batch_size: parts
    rows = features(data, cache, several, xla=xla, precision=precision)
    (before, one, first), (_, two, second) = trained(rows, (), **asked), trained(rows, BOTH, **asked)
    tuning._accumulate = ACCUMULATE
    n = len(before)
    losses = [np.array([[epoch["loss"], epoch["val_loss"]] for epoch in tuned.epochs]) for tuned in (first, second)]
    return {"moved": largest(before, one[:n]), "apart": largest(one[:n], two[:n]), "state": largest(one[n:], two[n:]),
            "steps": int(one[n]), "losses": float(np.abs(losses[0] - losses[1]).max())}


def passes(data: Path, cache: Path, xla: str) -> dict[str, Any]:
    """Whether the rows of one device and of two are equal bit for bit, and how they were computed."""
    examples = tl.split(tl.read_images(str(data)), "holdout")
    one, two = (tl.compute_features(examples, tiny_backbone(), replace(plain_runtime(xla=xla), devices=devices),
                                    cache_dir=cache / str(len(devices)), batch_size=BATCH) for devices in ((), BOTH))
    return {"equal": bool(np.array_equal(one.array, two.array)), "reason": two.reason, "computed": two.computed}


def sparse(devices: tuple[str, ...], parts: int, xla: bool) -> list[Any]:
    """The weights of an embedding and a layer after two epochs of batches of 7, the last of one row. An embedding has
    sparse gradients, with an entry for each token of the batch."""
    generator = np.random.default_rng(0)
    truth, weights = np.eye(3, dtype=np.float32)[generator.integers(0, 3, 29)], generator.uniform(0.5, 2, 29)
    rows = generator.integers(0, 20, (29, 6)).astype(np.int32), truth, weights.astype(np.float32)
    strategy = mirrored(devices)
    with scope_of(strategy):
        keras.utils.set_random_seed(1)
        tokens = keras.Input((None,), dtype="int32")
        mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 4)(tokens))
        network = keras.Model(tokens, keras.layers.Dense(3)(mean))
    layers = [keras.Input((None,), dtype="int32"), network]
    model = Divided(layers, strategy) if strategy else keras.Sequential(layers)
    plan = plan_for(TEXT, 29, epochs=2, accumulate=parts)
    trainee = Trainee(network, model, tuple(network.weights), {}, (0, 0, 0), (0, 0, 0), strategy)
    compile_for(trainee, plan, WarmUp(1e-2, 1, 100), 5, task_named("single_label"), xla)
    model.fit(tf.data.Dataset.from_tensor_slices(rows).batch(BATCH).repeat(), epochs=2, steps_per_epoch=5, verbose=0,
              shuffle=False)
    return list(network.get_weights())


def sparse_gradients() -> dict[str, dict[str, float]]:
    """How far apart one device and two are, and by how much accumulated steps move the weights of single ones."""
    ways = {"": (1, False), "XLA": (1, True), "accumulated": (3, False)}
    one = {name: sparse((), *way) for name, way in ways.items()}
    return {name: {"apart": largest(one[name], sparse(BOTH, *way)), "moved": largest(one[""], one["accumulated"])}
            for name, way in ways.items()}


class Stopped(Checkpoints):
    """Stops a run as Ctrl-C does."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == STOPPED_AFTER:
            raise KeyboardInterrupt


def resumed(data: Path, folder: Path) -> dict[str, Any]:
    """Whether a run that was stopped ends with the variables of one that was not, the seeds of dropout among them."""
    rows = features(data, folder)
    if not (folder / f"states-{'-'.join(BOTH)}").exists():  # else it was killed
        tuning.Checkpoints = Stopped
        try:
            trained(rows, BOTH, **LONG)
        except KeyboardInterrupt:
            tuning.Checkpoints = Checkpoints
    left = [path.name for path in folder.glob("states-*/fine_tune/*/after-*")]
    _, gone_on, result = trained(rows, BOTH, **LONG)
    _, whole, _ = trained(features(data, folder / "whole"), BOTH, **LONG)
    return {"left": left, "epochs": [epoch["epoch"] for epoch in result.epochs], "apart": largest(gone_on, whole)}


def pipeline(data: Path, folder: Path) -> dict[str, Any]:
    """A whole run with `devices`, which divides the work among processors instead of GPUs."""
    record = tl.classify_images(data, name="m", out=folder / "out", backbone="tiny_net", weights="none", head="linear",
                                split="holdout", unfreeze=1, epochs=1, tflite="none", devices=2, min_per_class=5,
                                drift_reference="off", cache_dir=folder / "cache", precision="float32", xla="off")
    loaded = tl.load(record.path).predict([str(next(data.rglob("*.png")))])
    document = json.loads((Path(record.path) / "run.json").read_text())
    return {"devices": document["devices"], "setting": document["config"]["devices"], "label": loaded[0].label,
            "features": document["features"]["word"], "runtime": list(runtime_of(record).devices)}


def main() -> None:
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    if sys.argv[3:] == ["train"]:
        trained(features(data, folder / "resumed"), BOTH, **LONG)
        return
    with tf.device("CPU:1"):
        placed = in_policy(tiny_backbone().model, "float32").weights[0].value.device
    everything = sys.argv[3:] == ["all"]
    out: dict[str, Any] = {"placed": placed}
    out["pass"] = {xla: passes(data, folder / f"pass-{xla}", xla) for xla in ("off", *["on"] * everything)}
    cases = CASES | (MORE if everything else {})
    out["training"] = {name: training(data, folder / name, **case) for name, case in cases.items()}
    out["resumed"] = resumed(data, folder / "resumed")
    choosing.KIND = "CPU"  # as if they were GPUs
    out["chosen"] = list(tl.apply_runtime(devices=2).devices)
    if everything:
        out["sparse"], out["pipeline"] = sparse_gradients(), pipeline(data, folder)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
