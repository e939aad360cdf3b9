"""What is trained: the model, or a copy of it in another policy or with LoRA; and which weights may change."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import Backbone
from kerastl.features.engines.tensorflow import in_policy
from kerastl.model import blocks as blocks_of
from kerastl.model import parts_of
from kerastl.model import unfreeze as unfreeze_last
from kerastl.runtime import Runtime
from kerastl.tasks import Task
from kerastl.training.fine_tuning.divided import Divided, mirrored
from kerastl.training.fine_tuning.lora import adapt, merged
from kerastl.training.fine_tuning.optimizer import heights, optimizer_for
from kerastl.training.fine_tuning.plan import Plan


@dataclass(frozen=True)
class Trainee:
    """network: the model or its copy. training: the network in a model of its own, which is fitted. weights: the
    network's, in the model's order and layout before LoRA. adapted: the layers that LoRA updates, by the id of their
    kernel. starts: for each weight the epoch from which it may change; None where it may not. heights: of the trainable
    variables (see `optimizer.heights`). strategy: what mirrors the network on several devices, if there are several."""

    network: Any
    training: Any
    weights: tuple[Any, ...]
    adapted: dict[int, Any]
    starts: tuple[int | None, ...]
    heights: tuple[int, ...]
    strategy: Any = None

    @property
    def scope(self) -> AbstractContextManager[Any]:
        """Within, variables are made where the network's are."""
        return scope_of(self.strategy)


def make_trainee(model: Any, backbone: Backbone, blocks: int, plan: Plan, runtime: Runtime) -> Trainee:
    """Unfreeze the last blocks and the head: in the model itself, where neither its layout nor its policy changes, and
    one device trains."""
    keras.utils.set_random_seed(runtime.seed)
    policy = runtime.precision if runtime.explicit_precision else "float32"
    strategy = mirrored(runtime.devices)
    with scope_of(strategy):
        network = model if policy == "float32" and not plan.lora and strategy is None else in_policy(model, policy)
    own = replace(backbone, model=parts_of(network)[0])
    for layer in network._flatten_layers():  # Keras passes on only changes, and a copy's composite layers are made
        layer.trainable = True               # frozen with parts that are not
    unfreeze_last(own, blocks)
    head = parts_of(network)[1]
    head.trainable = True
    for norm in batch_norms(head):
        norm.trainable = False
    weights, all_blocks = tuple(network.weights), blocks_of(own)
    with scope_of(strategy):
        adapted = adapt(all_blocks[len(all_blocks) - blocks:], plan.lora) if plan.lora else []
    inputs = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
    training = Divided([inputs, network], strategy) if strategy else keras.Sequential([inputs, network])
    kernels = {id(projection._kernel): projection for projection in adapted}
    free = {id(variable) for variable in training.trainable_variables} | set(kernels)
    free -= {id(weight) for norm in batch_norms(network) for weight in norm.weights}
    starts = tuple((max(0, height - 1) if plan.gradual else 0) if id(weight) in free and height <= blocks else None
                   for weight, height in zip(weights, heights(all_blocks, weights), strict=True))
    return Trainee(network, training, weights, kernels, starts,
                   tuple(heights(all_blocks, training.trainable_variables)), strategy)


def compile_for(trainee: Trainee, plan: Plan, learning_rate: Any, batches: int, task: Task, xla: bool) -> None:
    """Compile it for training. learning_rate: a schedule, by updates. batches: in one epoch."""
    training = trainee.training
    with trainee.scope:
        optimizer = optimizer_for(plan, learning_rate, trainee.heights, batches)
        if trainee.strategy:
            optimizer.build(training.trainable_variables)
    training.compile(optimizer, task.summed_loss(plan.gamma), jit_compile=xla)


def scope_of(strategy: Any) -> AbstractContextManager[Any]:
    """Within, variables are made on the devices of a strategy; without one, as everywhere."""
    scope: AbstractContextManager[Any] = strategy.scope() if strategy else nullcontext()
    return scope


def weights_of(trainee: Trainee) -> list[NDArray[Any]]:
    """The weights as they are now, in the model's order and layout: LoRA's updates are merged into their kernels."""
    return [merged(trainee.adapted[id(weight)]) if id(weight) in trainee.adapted else np.array(weight)
            for weight in trainee.weights]


def batch_norms(model: Any) -> Iterator[Any]:
    """Every BatchNorm of a model, wherever it is nested."""
    return (layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization))
