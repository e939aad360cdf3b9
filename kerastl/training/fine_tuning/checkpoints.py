"""Checkpoints after each epoch, so that a killed run resumes, and the best weights can be restored at the end."""

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kerastl.files import atomic_folder, read_text, remove_folder, remove_leftovers, write_atomically
from kerastl.training.fine_tuning.frozen import prove_frozen
from kerastl.training.fine_tuning.plan import Plan
from kerastl.training.fine_tuning.trainee import Trainee, weights_of

BEST, SUM, LATEST, LOSSES = "best.npz", "sum.npz", "latest.npz", "epochs.json"


class Checkpoints(keras.callbacks.Callback):
    """After each epoch, writes a folder with all that resuming needs, which gets its name when it is complete: the
    state of the training, the losses so far, the weights of the best epoch if they beat the frozen backbone's loss, and
    the sum of the weights that are averaged. Before that, it checks that frozen weights did not change.

    before: the validation loss of the frozen backbone, infinite where it cannot be compared. original: the model's
    weights before training.
    """

    def __init__(self, state: Path, trainee: Trainee, plan: Plan, before: float, original: list[NDArray[Any]]) -> None:
        super().__init__()
        self.state, self.trainee, self.plan, self.before, self.original = state, trainee, plan, before, original
        self.folder = max(state.glob("after-*"), default=None)
        self.epochs: list[dict[str, float]] = json.loads(read_text(self.folder / LOSSES)) if self.folder else []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras."""
        losses = {"epoch": epoch + 1.0, **{name: float(value) for name, value in (logs or {}).items()}}
        weights = weights_of(self.trainee)
        prove_frozen([weight.path for weight in self.trainee.weights], self.original, weights,
                     [start is not None and start <= epoch for start in self.trainee.starts])
        last, folder = self.folder, self.state / f"after-{epoch + 1:06d}"
        remove_leftovers(self.state, older_than=0)  # no other process writes here
        with atomic_folder(folder) as partial:
            if losses["val_loss"] < min([self.before, *(past["val_loss"] for past in self.epochs)]):
                np.savez(partial / BEST, *weights)
            elif last and (last / BEST).exists():
                shutil.copy(last / BEST, partial)
            if epoch + 1 in self.plan.averaged_epochs:
                np.savez(partial / SUM, *_added(weights, last))
            self.epochs.append(losses)
            write_atomically(partial / LOSSES, json.dumps(self.epochs))
            np.savez(partial / LATEST, *(np.asarray(variable) for variable in self._variables()))
        self.folder = folder
        if last:
            remove_folder(last)
        frozen = f" (frozen backbone: {self.before:.4f})" if np.isfinite(self.before) else ""
        print(f"epoch {epoch + 1}: training loss {losses['loss']:.4f}, validation loss "
              f"{losses['val_loss']:.4f}{frozen}", flush=True)

    def resume(self) -> None:
        """Put the training back to where the last epoch left it; do nothing where there was none."""
        if self.folder:
            training = self.trainee.training
            if not training.optimizer.built:  # it has no state yet
                training.optimizer.build(training.trainable_variables)
            for variable, value in zip(self._variables(), read_arrays(self.folder / LATEST), strict=True):
                variable.assign(value)

    def _variables(self) -> list[Any]:
        """Also the seeds of dropout. Not by Keras' own file format, which merges LoRA's updates."""
        return [*self.trainee.training.variables, *self.trainee.training.optimizer.variables]

    def best(self) -> list[NDArray[Any]] | None:
        """The weights of the best epoch, if any beat the frozen backbone."""
        assert self.folder is not None, "at least one epoch is trained"
        return read_arrays(self.folder / BEST) if (self.folder / BEST).exists() else None

    def average(self) -> list[NDArray[Any]] | None:
        """The mean of the last epochs' weights, if requested. Frozen weights are unchanged."""
        assert self.folder is not None, "at least one epoch is trained"
        if not self.plan.averaged_epochs:
            return None
        return [(total / self.plan.average_epochs).astype(np.float32) if start is not None else old
                for total, old, start in zip(read_arrays(self.folder / SUM), self.original, self.trainee.starts,
                                             strict=True)]


def _added(weights: list[NDArray[Any]], last: Path | None) -> list[NDArray[Any]]:
    if last is None or not (last / SUM).exists():
        return [weight.astype(np.float64) for weight in weights]
    return [total + weight for total, weight in zip(read_arrays(last / SUM), weights, strict=True)]


def read_arrays(path: Path) -> list[NDArray[Any]]:
    """The arrays of a file, in order."""
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]
