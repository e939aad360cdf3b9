"""For the `blend` head: an inner linear head is solved first and stays fixed; then the shares and the side network are
trained by gradient descent."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.features.compute import Features
from kerastl.heads import ConfiguredHead, blend
from kerastl.training.fitters import Fitter, RowsFit
from kerastl.training.fitters.convex import solve_sample
from kerastl.training.fitters.gradient import descend
from kerastl.training.options import TrainingOptions
from kerastl.training.scaling import blocks_of, mean_and_scale


def fit_rows(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
             options: TrainingOptions, *, epochs: int | None = None) -> RowsFit:
    """See `Fitter`."""

    def prepare(model: Any, training: NDArray[np.intp], choosing: NDArray[np.intp] | None) -> None:
        solved = None
        if blend.starts_solved(head):
            solution = solve_sample(features, training, choosing, options)
            solved = (solution.kernel, solution.bias)
        raw_blocks = (features.raw_rows(block) for block in blocks_of(training))
        blend.prepare(model, *mean_and_scale(features, training), raw_blocks, solved)

    fitted = descend(head, features, rows, validation, options, epochs=epochs, prepare=prepare,
                     on_epoch_begin=blend.schedule_shares)
    return RowsFit(fitted.model, {**fitted.settings, **blend.learned_shares(fitted.model)}, fitted.curve, fitted.epochs)


FITTER = Fitter(fit_rows, descends=True)
