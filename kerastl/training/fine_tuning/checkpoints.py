"""What is kept of each epoch, so that a killed run goes on, and the best of it can be taken at the end."""

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.files import atomic_folder, remove_leftovers, write_atomically
from kerastl.training.fine_tuning.frozen import prove_frozen
from kerastl.training.fine_tuning.plan import Plan
from kerastl.training.fine_tuning.trainee import Trainee, weights_of

BEST, SUM, LATEST, LOSSES = "best.npz", "sum.npz", "latest.npz", "epochs.json"


class Checkpoints(keras.callbacks.Callback):
    """Keeps what going on after an epoch needs in a folder, which gets its name when all is in it: the state of the
    training, the losses so far, the weights of the best epoch if they beat the frozen backbone's loss, and the sum of
    those that are averaged. Before, it proves that what is frozen did not move."""

    def __init__(self, state: Path, trainee: Trainee, plan: Plan, before: float, original: list[NDArray[Any]]) -> None:
        super().__init__()
        self.state, self.trainee, self.plan, self.before, self.original = state, trainee, plan, before, original
        self.folder = max(state.glob("after-*"), default=None)
        self.record: list[dict[str, float]] = json.loads((self.folder / LOSSES).read_text()) if self.folder else []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras."""
        one = {"epoch": epoch + 1.0, **{name: float(value) for name, value in (logs or {}).items()}}
        values = weights_of(self.trainee)
        prove_frozen([weight.path for weight in self.trainee.weights], self.original, values,
                     [start is not None and start <= epoch for start in self.trainee.starts])
        last, folder = self.folder, self.state / f"after-{epoch + 1:06d}"
        remove_leftovers(self.state, older_than=0)  # no other process writes here
        with atomic_folder(folder) as partial:
            if one["val_loss"] < min([self.before, *(past["val_loss"] for past in self.record)]):
                np.savez(partial / BEST, *values)
            elif last and (last / BEST).exists():
                shutil.copy(last / BEST, partial)
            if epoch + 1 in averaged(self.plan):
                np.savez(partial / SUM, *_added(values, last))
            self.record.append(one)
            write_atomically(partial / LOSSES, json.dumps(self.record))
            np.savez(partial / LATEST, *(np.asarray(variable) for variable in self._variables()))
        self.folder = folder
        if last:
            shutil.rmtree(last)
        print(f"epoch {epoch + 1}: training loss {one['loss']:.4f}, validation loss {one['val_loss']:.4f} "
              f"(frozen: {self.before:.4f})", flush=True)

    def go_on(self) -> None:
        """Put the training back to where the last epoch left it; nothing where there was none."""
        if self.folder:
            training = self.trainee.training
            training.optimizer.build(training.trainable_variables)  # else it has no state yet
            for variable, value in zip(self._variables(), stored(self.folder / LATEST), strict=True):
                variable.assign(value)

    def _variables(self) -> list[Any]:
        """Not by Keras' own file, which merges LoRA's changes. With the seeds of augmentation."""
        return [*self.trainee.training.variables, *self.trainee.training.optimizer.variables]

    def best(self) -> list[NDArray[Any]] | None:
        """Weights of the best epoch, if any beat the frozen backbone."""
        assert self.folder is not None, "at least one epoch is trained"
        return stored(self.folder / BEST) if (self.folder / BEST).exists() else None

    def average(self) -> list[NDArray[Any]] | None:
        """The mean of the last epochs' weights, if more than one is wanted. What is frozen is as it was."""
        assert self.folder is not None, "at least one epoch is trained"
        if not averaged(self.plan):
            return None
        return [(value / self.plan.average).astype(np.float32) if start is not None else old for value, old, start
                in zip(stored(self.folder / SUM), self.original, self.trainee.starts, strict=True)]


def averaged(plan: Plan) -> tuple[int, ...]:
    """The epochs, from 1, whose weights are averaged: as a soup (Wortsman et al. 2022) of one run's last epochs, whose
    mean lies where the loss is flat (Izmailov et al. 2018). BatchNorm's statistics stay, so none need a new pass."""
    return tuple(range(plan.epochs - plan.average + 1, plan.epochs + 1)) if plan.average > 1 else ()


def _added(values: list[NDArray[Any]], last: Path | None) -> list[NDArray[Any]]:
    if last is None or not (last / SUM).exists():
        return [value.astype(np.float64) for value in values]
    return [total + value for total, value in zip(stored(last / SUM), values, strict=True)]


def stored(path: Path) -> list[NDArray[Any]]:
    """The arrays of a file, in order."""
    with np.load(path) as found:
        return [found[name] for name in found.files]
