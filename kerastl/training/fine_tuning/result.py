"""The result of fine-tuning, which the run record holds as it is."""

from collections.abc import Sequence
from dataclasses import dataclass

from kerastl.fields import Section, key
from kerastl.training.augmentation import Augmentation
from kerastl.training.fine_tuning.plan import Plan

Epoch = dict[str, float]


def as_history(epochs: Sequence[Epoch]) -> dict[str, list[float]]:
    """Records of epochs as Keras' `History.history` has them: `{"epoch": [1, 2], "loss": [...], "val_loss": [...]}`."""
    return {name: [epoch[name] for epoch in epochs] for name in (epochs[0] if epochs else ())}


@dataclass(frozen=True, kw_only=True)
class LearningRateCurve(Section):
    """learning_rates: those tried, rising. losses: for each the smoothed loss of the training rows it was tried on, in
    nats. suggested: a tenth of the learning rate of the lowest loss; None where the loss did not fall, as with a head
    that fits its rows already."""

    learning_rates: tuple[float, ...] = key("rates")
    losses: tuple[float, ...]
    suggested: float | None


@dataclass(frozen=True, kw_only=True)
class FineTuneResult(Section):
    """The result of fine-tuning the backbone. Losses are on the validation rows, in nats.

    method: `blocks`, the last blocks, or `contrast`. epochs: epoch, loss and val_loss for each epoch; of `contrast` for
    each step, without val_loss. blocks: 0 where nothing was fine-tuned, because the frozen backbone leaves little to
    gain.
    loss_before, loss_after: of the frozen and the fine-tuned backbone on the rows that chose between them. Those are
    the validation rows; with cross-validation all rows, each predicted by models that were not trained on it: then
    `folds_kept` is in how many folds the fine-tuned backbone was chosen, by the rows of the other folds.
    frozen_accuracy, tuned_accuracy: on the held-out rows, to be printed side by side; in the run record, where both
    predict these rows.
    curve: of the learning-rate range test, if one was run. average_loss: of the mean of the last epochs' weights, if
    they were averaged; averaged_epochs: those epochs, if their mean is what is kept. augmentation: of the training
    images; None for `contrast`, which has none. With the focal loss, `loss` and `val_loss` of the epochs are focal;
    loss_before and loss_after are log losses after a temperature is fitted, because it makes logits less confident.
    """

    kept: bool
    blocks: int
    layers: tuple[str, ...]
    loss_before: float
    loss_after: float
    epochs: tuple[Epoch, ...] = key("history")
    seconds: float
    method: str = key("how", default="blocks")
    frozen_accuracy: float | None = None
    plan: Plan | None = None
    curve: LearningRateCurve | None = key("rates", default=None)
    average_loss: float | None = None
    averaged_epochs: tuple[int, ...] = key("averaged", default=())
    tuned_accuracy: float | None = None
    folds_kept: int | None = None
    augmentation: Augmentation | None = None

    def __repr__(self) -> str:
        return (f"FineTuneResult({self.method}, {self.blocks} blocks, validation loss {self.loss_before:.4f} -> "
                f"{self.loss_after:.4f}, {'kept' if self.kept else 'not kept'})")

    @property
    def history(self) -> dict[str, list[float]]:
        """The epochs as Keras' `History.history` has them."""
        return as_history(self.epochs)


def kept_sentence(result: FineTuneResult) -> str:
    """Which backbone is exported and why, after a choice between the frozen and the fine-tuned one."""
    losses = f"log loss {result.loss_after:.3f}, {result.loss_before:.3f} with the frozen backbone"
    if result.kept:
        return f"the fine-tuned backbone is better ({losses}) and is exported"
    return (f"the fine-tuned backbone is not better by more than one standard error ({losses}): the frozen backbone is "
            "exported")
