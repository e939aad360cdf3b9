"""For a head of one Dense layer: its convex problem is solved. Where the rows do not fit into memory, the layer is
trained by gradient descent on scaled features instead."""

import numpy as np
from numpy.typing import NDArray

from kerastl.features.compute import Features
from kerastl.heads import ConfiguredHead
from kerastl.runtime import free_memory
from kerastl.training.fitters import Fitter, RowsFit
from kerastl.training.fitters.gradient import descend
from kerastl.training.fitters.solver import Linear, solve
from kerastl.training.options import TrainingOptions
from kerastl.training.rows import inner_folds
from kerastl.training.targets import loss_settings, row_weights, smoothed_targets


def fit_rows(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
             options: TrainingOptions, *, epochs: int | None = None) -> RowsFit:
    """See `Fitter`."""
    if not fits_in_memory(features):
        return descend(head, features, rows, validation, options, epochs=epochs, scaled=True)
    solution = solve_rows(features, rows, validation, options)
    model = head.build(features.shape, len(features.examples.classes))
    model.set_weights([solution.kernel, solution.bias])
    settings = loss_settings(features.examples, rows, options.class_weights, options.label_smoothing)
    return RowsFit(model, {"solver": "L-BFGS", "l2": solution.l2, **settings},
                   tuple({"l2": l2, "log_loss": loss} for l2, loss in solution.path))


def solve_rows(features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
               options: TrainingOptions) -> Linear:
    """The linear head of these rows, its L2 strength chosen on the validation rows, or by cross-validation."""
    examples = features.examples
    return solve(features.rows(rows), smoothed_targets(examples, rows, options.label_smoothing),
                 row_weights(examples, rows, options.class_weights),
                 inner_folds(examples, rows) if validation is None else [], task=examples.task, parts=features.parts,
                 validation=None if validation is None else (features.rows(validation), examples.one_hot(validation)))


def fits_in_memory(features: Features) -> bool:
    """Whether the solver's four copies of all rows in float32 fit into half of the free memory. All rows are counted,
    so that the heads of folds are fitted as the one that ships."""
    return 4 * len(features) * features.dim * 4 < free_memory() / 2


FITTER = Fitter(fit_rows)
