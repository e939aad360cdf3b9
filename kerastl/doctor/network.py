"""Checks of the network itself: layers that train or are random where they should not be, half precision."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.doctor import Diagnosis, first_few
from kerastl.doctor.watch import layers_of, watched
from kerastl.inputs import floats
from kerastl.model import parts_of
from kerastl.optimizers import Adam

LEARNING_RATE = 1e-3  # a common one: it only has to change the weights that train
BATCH_NORM, FROZEN, INFERENCE, PRECISION = "batch norm", "frozen weights", "inference", "half precision"
HALF = ("float16", "bfloat16")
SAME = 1e-4  # of outputs, relative to their size: sums over a batch may be taken in another order


@dataclass(frozen=True)
class Step:
    """What one training step changed, by a bit or more. moved: paths of the backbone's weights."""

    moved: tuple[str, ...]
    head_moved: bool


def one_step(model: Any, values: NDArray[Any], targets: NDArray[np.float32]) -> Step:
    """Train a model for one step, with a fresh copy of its head in place of the head, and undo it.

    values: what the model takes, [n, ...]; targets: [n, outputs] of 0 and 1.
    """
    parts = parts_of(model)
    backbone, head = parts.backbone, parts.head
    fresh = fresh_copy(head)
    first = fresh.get_weights()
    weights, before = backbone.weights, backbone.get_weights()
    with tf.GradientTape() as tape:
        inputs = floats(tf.constant(values))
        features = backbone(inputs, training=True)
        logits = fresh(features if parts.raw_branch is None else
                       [features, parts.raw_branch(inputs, training=False)], training=True)
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, tf.cast(logits, tf.float32)))
    variables = backbone.trainable_variables + fresh.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    apply(Adam(LEARNING_RATE), gradients, variables)
    moved = tuple(weight.path for weight, old, new in zip(weights, before, backbone.get_weights(), strict=True)
                  if old.tobytes() != new.tobytes())
    head_moved = any(old.tobytes() != new.tobytes() for old, new in zip(first, fresh.get_weights(), strict=True))
    backbone.set_weights(before)
    return Step(moved, head_moved)


def fresh_copy(head: Any) -> Any:
    """The same layers with new weights, all trainable."""
    keras.utils.set_random_seed(0)
    copy = keras.models.clone_model(head)
    copy.trainable = False  # first: setting True where it is True already would not reach the inner layers
    copy.trainable = True
    return copy


def apply(optimizer: Any, gradients: list[Any], variables: list[Any]) -> None:
    """Take one step; a variable that the loss does not depend on stays as it is."""
    having = [i for i, gradient in enumerate(gradients) if gradient is not None]
    if having:
        optimizer.apply([gradients[i] for i in having], [variables[i] for i in having])


def batch_norm(backbone: Any, step: Step) -> Diagnosis:
    """Whether BatchNorm keeps its stored statistics: no such layer is trainable, and a step changed none of them."""
    norms, statistics = _norms(backbone), _statistics(backbone)
    live = {layer.name for layer in norms if layer.trainable}
    live |= {statistics[path] for path in step.moved if path in statistics}
    if live:
        return Diagnosis(BATCH_NORM, False, f"{_count(len(live), 'layer')} would update the stored statistics: "
                         f"{first_few(sorted(live))}", "freeze them: layer.trainable = False; kerastl.splice does so")
    finding = f"{_count(len(norms), 'layer')}, all in inference mode" if norms else "the backbone has no BatchNorm"
    return Diagnosis(BATCH_NORM, True, finding)


def frozen(backbone: Any, step: Step) -> Diagnosis:
    """Whether the backbone stays unchanged when the head trains: no weight is trainable, and a step changed none. The
    statistics of BatchNorm are left to `batch_norm`."""
    others = {weight.path for layer in _norms(backbone) for weight in layer.weights} | set(_statistics(backbone))
    free = [weight.path for weight in backbone.trainable_weights if weight.path not in others]
    moved = [path for path in step.moved if path not in others]
    if free or moved:
        return Diagnosis(FROZEN, False, f"{_count(len(free), 'weight')} of the backbone can be trained, and a training "
                         f"step changed {len(moved)}: {first_few(free or moved)}",
                         "freeze the backbone: model.trainable = False")
    if not step.head_moved:
        return Diagnosis(FROZEN, None, "no weight is trainable, but the step did not change the head either")
    return Diagnosis(FROZEN, True, f"{_count(len(backbone.weights), 'frozen weight')}, unchanged after a training step")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _norms(backbone: Any) -> list[Any]:
    return [layer for layer in layers_of(backbone) if isinstance(layer, keras.layers.BatchNormalization)]


def _statistics(backbone: Any) -> dict[str, str]:
    """The layer of each weight that never trains by gradient, such as a moving mean. By the weight's path."""
    return {weight.path: layer.name for layer in layers_of(backbone) for weight in layer._non_trainable_variables}


def steady(model: Any, values: NDArray[Any]) -> Diagnosis:
    """Whether nothing is random outside training: the same input, twice in a batch, gives the same output each time.
    values: [n, ...], of which the first is used. Keras 3 passes training=False to every layer, even one that was built
    with training=True, so a layer that is random here ignores it."""
    twice = floats(tf.constant(np.stack([values[0]] * 2)))
    runs: list[dict[int, Any]] = []
    random_layers: list[str] = []

    def observe(layer: Any, inputs: Any, outputs: Any) -> None:
        if not (tf.is_tensor(inputs) and tf.is_tensor(outputs) and outputs.shape.rank and outputs.shape[0] == 2):
            return
        place = len(runs[-1])
        runs[-1][place] = (np.asarray(inputs, np.float32), np.asarray(outputs, np.float32))
        first = runs[0].get(place, runs[-1][place])
        before, after = ([run[i][row] for run in (first, runs[-1][place]) for row in (0, 1)] for i in (0, 1))
        if _alike(before) and not _alike(after):
            random_layers.append(layer.name)

    outputs = []
    with watched(layers_of(model), observe):
        for _ in range(2):
            runs.append({})
            outputs += list(np.asarray(model(twice, training=False), np.float32))
    if _alike(outputs):
        return Diagnosis(INFERENCE, True, "the same input gives the same output")
    difference = max(float(np.abs(output - outputs[0]).max()) for output in outputs)
    layer = random_layers[0] if random_layers else "a layer"
    return Diagnosis(INFERENCE, False, f"the same input gives outputs that differ by up to {difference:.2g}: {layer} "
                     "is random outside training", "make it random only when `training` is True")


def _alike(arrays: list[NDArray[np.float32]]) -> bool:
    size = max(float(np.abs(arrays[0]).max(initial=0.0)), 1e-6)
    return all(float(np.abs(array - arrays[0]).max(initial=0.0)) <= SAME * size for array in arrays[1:])


def precision(model: Any) -> Diagnosis:
    """Whether predictions are computed in float32: the model's output, the head's last layer with weights, and every
    softmax, sigmoid, exp or log in the head."""
    head = parts_of(model).head
    half = [f"{name} in {dtype}" for name, dtype in _last(head) if dtype in HALF]
    if model.output.dtype in HALF:
        half.append(f"the model's output in {model.output.dtype}")
    if half:
        return Diagnosis(PRECISION, False, first_few(half), 'set dtype="float32" in the last layers: half precision '
                         "rounds probabilities to 3 digits, and overflows")
    return Diagnosis(PRECISION, True, "logits and everything after them are in float32")


def _last(head: Any) -> Iterator[tuple[str, str]]:
    """(name, compute dtype) of the last layer with weights, and of every softmax, exp, log and the like."""
    weighty = [layer for layer in layers_of(head) if layer.weights]
    if weighty:
        yield weighty[-1].name, weighty[-1].compute_dtype
    for part in [*layers_of(head), *(op for op in getattr(head, "operations", ()) if op not in layers_of(head))]:
        function = getattr(getattr(part, "activation", None), "__name__", type(part).__name__).lower()
        if function in ("softmax", "logsoftmax", "log_softmax", "sigmoid", "exp", "log", "logsumexp"):
            dtype = getattr(part, "compute_dtype", None) or part.input.dtype
            if not (weighty and part is weighty[-1]):
                yield part.name, str(dtype)
