"""The options of training, and the only place where they are checked."""

from dataclasses import dataclass, replace

from kerastl.errors import OptionError
from kerastl.heads import ConfiguredHead
from kerastl.tasks import Task
from kerastl.training.fine_tuning.plan import TuningOptions

CLASS_WEIGHTS = ("auto", "none", "balanced")
CROSS_ENTROPY, FOCAL = "cross-entropy", "focal"
LOSSES = ("auto", CROSS_ENTROPY, FOCAL)
GAMMA = 2.0  # of the focal loss, as in its paper (see `tasks._focal`)


@dataclass(frozen=True)
class TrainingOptions:
    """How a head is fitted and, by `fine_tuning`, how the backbone is trained with it.

    epochs: the maximum; None: early stopping decides (in fine-tuning: the number of rows). batch_size: for
    fine-tuning; head_batch_size: for heads trained by gradient descent on features. class_weights: `balanced` weights
    the loss of a row by the rarity of its class, `auto` does so when the largest class has at least 10 times the rows
    of the smallest. label_smoothing: the fraction of a target that is spread evenly over the classes, in [0, 1).
    allow_baseline: whether the `best` head may ship the simple model without transfer. loss: of fine-tuning and of
    heads that are trained by gradient descent, one of LOSSES; auto is cross-entropy. Heads that are solved have no
    focal loss.
    """

    epochs: int | None = None
    batch_size: int = 32
    class_weights: str = "auto"
    label_smoothing: float = 0.0
    fine_tuning: TuningOptions = TuningOptions()
    head_batch_size: int = 64
    allow_baseline: bool = False
    loss: str = "auto"

    @property
    def gamma(self) -> float:
        """Of the focal loss; 0: cross-entropy."""
        return GAMMA if self.loss == FOCAL else 0.0

    def with_cross_entropy(self) -> "TrainingOptions":
        """For a head that is solved, beside something else that has the focal loss."""
        return replace(self, loss=CROSS_ENTROPY) if self.gamma else self


DEFAULTS = TrainingOptions()


def option_faults(options: TrainingOptions, task: Task | None = None) -> list[str]:
    """One sentence for each fault of these options. task: if it is known already."""
    faults = [
        (options.epochs is not None and options.epochs < 1, f"`epochs` must be at least 1 (got {options.epochs})"),
        (options.batch_size < 1, f"`batch_size` must be at least 1 (got {options.batch_size})"),
        (options.head_batch_size < 1, f"`head_batch_size` must be at least 1 (got {options.head_batch_size})"),
        (options.class_weights not in CLASS_WEIGHTS,
         f"`class_weights` must be one of {', '.join(CLASS_WEIGHTS)} (got {options.class_weights})"),
        (not 0 <= options.label_smoothing < 1,
         f"`label_smoothing` must be in [0, 1) (got {options.label_smoothing})"),
        (options.loss not in LOSSES, f"`loss` must be one of {', '.join(LOSSES)} (got {options.loss})"),
        (options.class_weights == "balanced" and task is not None and not task.exclusive,
         "`class_weights` is 'balanced', which needs one label per row; with several labels per row each class has a "
         "threshold of its own"),
    ]
    return [message for wrong, message in faults if wrong]


def check_options(options: TrainingOptions, head: ConfiguredHead, task: Task, *, minimises_loss: bool = True,
                  descends: bool = True) -> None:
    """Raises one OptionError that lists all that is wrong. minimises_loss, descends: see `Fitter`."""
    faults = option_faults(options, task)
    if options.gamma and not descends:
        how = "solved with cross-entropy" if minimises_loss else "computed without a loss"
        faults.append(f"`loss` is 'focal', but the head {head.text} is {how}; choose a head that is trained by "
                      "gradient descent, such as mlp, or fine-tune blocks (`unfreeze`)")
    if not minimises_loss:
        reason = f"but the head {head.text} is computed without a loss; omit it"
        if options.class_weights == "balanced":
            faults.append(f"`class_weights` is 'balanced', {reason}")
        if options.label_smoothing:
            faults.append(f"`label_smoothing` is {options.label_smoothing}, {reason}")
    if faults:
        raise OptionError("\n".join(faults))
