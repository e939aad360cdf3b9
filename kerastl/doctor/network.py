"""What is wrong in the network itself: layers that train or act at random where they should not, half precision."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.doctor import Diagnosis, some
from kerastl.doctor.watch import layers_of, watched
from kerastl.inputs import floats
from kerastl.model import parts_of

RATE = 1e-3  # a usual one: it only has to move the weights that train
BATCH_NORM, FROZEN, INFERENCE, PRECISION = "batch norm", "frozen weights", "inference", "half precision"
HALF = ("float16", "bfloat16")
SAME = 1e-4  # of outputs, to their size: sums of a batch's rows may be taken in another order


@dataclass(frozen=True)
class Step:
    """What one training step moved, by a bit or more. moved: paths of the backbone's weights."""

    moved: tuple[str, ...]
    head_moved: bool


def one_step(model: Any, values: NDArray[Any], targets: NDArray[np.float32]) -> Step:
    """Train a spliced model for one step as it stands, a fresh copy of its head in the head's place, and undo it.

    values: what the model takes, [n, ...]; targets: [n, outputs] of 0 and 1.
    """
    parts = parts_of(model)
    backbone, head = parts.backbone, parts.head
    fresh = fresh_copy(head)
    first = fresh.get_weights()
    weights, before = backbone.weights, backbone.get_weights()
    with tf.GradientTape() as tape:
        taken = floats(tf.constant(values))
        features = backbone(taken, training=True)
        given = features if parts.raw_branch is None else [features, parts.raw_branch(taken, training=False)]
        logits = fresh(given, training=True)
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, tf.cast(logits, tf.float32)))
    variables = backbone.trainable_variables + fresh.trainable_variables
    found = tape.gradient(loss, [variable.value for variable in variables])
    apply(keras.optimizers.Adam(RATE), found, variables)
    moved = tuple(weight.path for weight, old, new in zip(weights, before, backbone.get_weights(), strict=True)
                  if old.tobytes() != new.tobytes())
    head_moved = any(old.tobytes() != new.tobytes() for old, new in zip(first, fresh.get_weights(), strict=True))
    backbone.set_weights(before)
    return Step(moved, head_moved)


def fresh_copy(head: Any) -> Any:
    """The same layers with new weights, all of them trainable."""
    keras.utils.set_random_seed(0)
    copy = keras.models.clone_model(head)
    copy.trainable = False  # first: told True while it is True, Keras passes nothing on to the layers in it
    copy.trainable = True
    return copy


def apply(optimizer: Any, gradients: list[Any], variables: list[Any]) -> None:
    """One step; a variable that has no part in the loss stays."""
    having = [i for i, gradient in enumerate(gradients) if gradient is not None]
    if having:
        optimizer.apply([gradients[i] for i in having], [variables[i] for i in having])


def batch_norm(backbone: Any, step: Step) -> Diagnosis:
    """Whether BatchNorm keeps the statistics it learnt: no such layer is trainable, and a step moved none of them."""
    norms, statistics = _norms(backbone), _statistics(backbone)
    live = {layer.name for layer in norms if layer.trainable}
    live |= {statistics[path] for path in step.moved if path in statistics}
    if live:
        return Diagnosis(BATCH_NORM, False, f"{len(live)} layers would learn new statistics: {some(sorted(live))}",
                       "freeze them: kerastl.splice does, or layer.trainable = False")
    word = f"{len(norms)} layers, all in inference mode" if norms else "the backbone has none"
    return Diagnosis(BATCH_NORM, True, word)


def frozen(backbone: Any, step: Step) -> Diagnosis:
    """Whether the backbone stays as it is when the head trains: no weight is trainable, and a step moved none. Those
    of BatchNorm are `batch_norm`'s."""
    others = {weight.path for layer in _norms(backbone) for weight in layer.weights} | set(_statistics(backbone))
    free = [weight.path for weight in backbone.trainable_weights if weight.path not in others]
    moved = [path for path in step.moved if path not in others]
    if free or moved:
        return Diagnosis(FROZEN, False, f"{len(free)} weights of the backbone are trainable, a step moved "
                         f"{len(moved)}: "
                                      f"{some(free or moved)}", "freeze the backbone: model.trainable = False")
    if not step.head_moved:
        return Diagnosis(FROZEN, None, "none is trainable, but the step moved no weight of the head either")
    return Diagnosis(FROZEN, True, f"{len(backbone.weights)} weights, none moved by a bit in a training step")


def _norms(backbone: Any) -> list[Any]:
    return [layer for layer in layers_of(backbone) if isinstance(layer, keras.layers.BatchNormalization)]


def _statistics(backbone: Any) -> dict[str, str]:
    """The layer of each weight that is not made to train, as moving means are; others may be frozen. By path."""
    return {weight.path: layer.name for layer in layers_of(backbone) for weight in layer._non_trainable_variables}


def steady(model: Any, values: NDArray[Any]) -> Diagnosis:
    """Whether nothing acts at random outside training: one input, twice in a batch, gives the same each time.
    values: [n, ...], the first is taken. Keras 3 tells every layer that it is no training, also those built with
    training=True, so what acts does not heed that."""
    twice = floats(tf.constant(np.stack([values[0]] * 2)))
    runs: list[dict[int, Any]] = []
    first: list[str] = []

    def seen(layer: Any, given: Any, gave: Any) -> None:
        if not (tf.is_tensor(given) and tf.is_tensor(gave) and gave.shape.rank and gave.shape[0] == 2):
            return
        place = len(runs[-1])
        runs[-1][place] = (np.asarray(given, np.float32), np.asarray(gave, np.float32))
        before = runs[0].get(place, runs[-1][place])
        inputs, outputs = ([run[i][row] for run in (before, runs[-1][place]) for row in (0, 1)] for i in (0, 1))
        if _alike(inputs) and not _alike(outputs):
            first.append(layer.name)

    answers = []
    with watched(layers_of(model), seen):
        for _ in range(2):
            runs.append({})
            answers += list(np.asarray(model(twice, training=False), np.float32))
    if _alike(answers):
        return Diagnosis(INFERENCE, True, "the same input gives the same answer")
    off = max(float(np.abs(one - answers[0]).max()) for one in answers)
    return Diagnosis(INFERENCE, False, f"the same input gives answers up to {off:.2g} apart: {_layer(first)} acts at "
                                     "random outside training", "let it act only where training is True")


def _layer(names: list[str]) -> str:
    return names[0] if names else "a layer"


def _alike(arrays: list[NDArray[np.float32]]) -> bool:
    size = max(float(np.abs(arrays[0]).max(initial=0.0)), 1e-6)
    return all(float(np.abs(one - arrays[0]).max(initial=0.0)) <= SAME * size for one in arrays[1:])


def precision(model: Any) -> Diagnosis:
    """Whether the answers are computed in float32: the model's output, the head's last layer with weights, and every
    softmax, sigmoid, exp or log in the head."""
    head = parts_of(model).head
    half = [f"{name} in {dtype}" for name, dtype in _last(head) if dtype in HALF]
    if model.output.dtype in HALF:
        half.append(f"the model's output in {model.output.dtype}")
    if half:
        return Diagnosis(PRECISION, False, some(half), 'give the last layers dtype="float32": half precision rounds '
                                                     "probabilities to 3 digits, and overflows")
    return Diagnosis(PRECISION, True, "logits and what follows them are in float32")


def _last(head: Any) -> Iterator[tuple[str, str]]:
    """(name, dtype it computes in) of the last layer with weights, and of what takes a softmax or its like."""
    weighty = [layer for layer in layers_of(head) if layer.weights]
    if weighty:
        yield weighty[-1].name, weighty[-1].compute_dtype
    for part in [*layers_of(head), *(one for one in getattr(head, "operations", ()) if one not in layers_of(head))]:
        function = getattr(getattr(part, "activation", None), "__name__", type(part).__name__).lower()
        if function in ("softmax", "logsoftmax", "log_softmax", "sigmoid", "exp", "log", "logsumexp"):
            dtype = getattr(part, "compute_dtype", None) or part.input.dtype
            if not (weighty and part is weighty[-1]):
                yield part.name, str(dtype)
