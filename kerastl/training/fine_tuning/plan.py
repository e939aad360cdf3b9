"""The plan of a fine-tuning run: the options, and what follows from them and from the number of rows."""

from dataclasses import dataclass, fields

from kerastl.errors import OptionError
from kerastl.fields import Section, key
from kerastl.modality import Modality
from kerastl.training.augmentation import CHOICES

SCHEDULES = ("auto", "cosine", "linear", "one-cycle")
MIXING = ("auto", "none", "mixup", "cutmix")
MIXUP_ROWS = 20_000  # from so many images on, `auto` is MixUp
LORA_FACTOR = 10  # LoRA's learning rate over that of the kernels themselves (Hu et al. 2021)


@dataclass(frozen=True)
class TuningOptions:
    """The options of fine-tuning. Defaults follow from the modality and the number of rows.

    learning_rate: the peak, of the head. find_learning_rate: run a learning-rate range test for it instead. gradual:
    unfreeze one more block from the top each epoch. layer_decay: the factor from the learning rate of a block to that
    of the block below. lora: the rank of the update that is trained in place of the attention's query and value
    kernels; 0: the kernels themselves. mixing: of images in training, one of MIXING. average_epochs: average the
    weights of this many last epochs; 1: no averaging. augment: what is done to images in training, one of
    `training.augmentation.CHOICES`; auto is standard, without the flip where mirror images are predicted worse.
    """

    schedule: str = "auto"
    learning_rate: float | None = None
    find_learning_rate: bool = False
    gradual: bool = False
    layer_decay: float | None = None
    lora: int = 0
    mixing: str = "auto"
    average_epochs: int = 1
    augment: str = "auto"


DEFAULTS = TuningOptions()


@dataclass(frozen=True, kw_only=True)
class Plan(Section):
    """How a run trains. learning_rate: the peak, of the head. warmup: the share of the steps in which it rises to the
    peak; then it falls to 0 by `schedule` (cosine | linear); one-cycle has its own course. accumulate: batches whose
    gradients make one step. gamma: of the focal loss; 0: cross-entropy. The others: see `TuningOptions`."""

    epochs: int
    learning_rate: float = key("rate")
    schedule: str
    warmup: float
    layer_decay: float
    weight_decay: float
    accumulate: int = 1
    find_learning_rate: bool = key("find", default=False)
    gradual: bool = False
    lora: int = 0
    mixing: str = key("mix", default="none")
    average_epochs: int = key("average", default=1)
    augment: str = ""  # in earlier records
    gamma: float = 0.0

    @property
    def averaged_epochs(self) -> tuple[int, ...]:
        """The epochs, from 1, whose weights are averaged: a soup (Wortsman et al. 2022) of the last epochs of one run,
        whose mean lies where the loss is flat (Izmailov et al. 2018). BatchNorm's statistics are frozen, so they need
        no new pass."""
        last = self.epochs + 1
        return tuple(range(last - self.average_epochs, last)) if self.average_epochs > 1 else ()


def plan_for(modality: Modality, rows: int, options: TuningOptions = DEFAULTS, *, epochs: int | None = None,
             accumulate: int = 1, gamma: float = 0.0) -> Plan:
    """The plan for a number of training rows; `options` and `epochs` take precedence over the rule.

    As in BiT-HyperRule (Kolesnikov et al. 2020, https://arxiv.org/abs/1912.11370), the number of rows decides how long
    to train, and MixUp is used from 20,000 images on, with its alpha of 0.1. BiT's shortest run sees 256,000 images, on
    a TPU; here a run sees 80,000 images or 40,000 texts, in at least 2 epochs and for few rows at most 8, for texts 4,
    as BERT and RoBERTa were fine-tuned (Devlin et al. 2019, Liu et al. 2019; so is the linear decay). For texts, blocks
    closer to the input learn more slowly (Howard and Ruder 2018).
    Raises OptionError for what does not fit.
    """
    rule = modality.fine_tuning
    epochs = epochs or min(rule.most_epochs, max(2, round(rule.rows_seen / rows)))
    if faults := tuning_faults(options, modality, epochs):
        raise OptionError("\n".join(faults))
    schedule = rule.schedule if options.schedule == "auto" else options.schedule
    mixing = options.mixing
    if mixing == "auto":
        mixing = "mixup" if modality.augments and rows >= MIXUP_ROWS else "none"
    learning_rate = options.learning_rate or rule.learning_rate * (LORA_FACTOR if options.lora else 1)
    return Plan(epochs=epochs, learning_rate=learning_rate, schedule=schedule, warmup=0.1,
                layer_decay=options.layer_decay or rule.layer_decay, weight_decay=rule.weight_decay,
                accumulate=accumulate, find_learning_rate=options.find_learning_rate, gradual=options.gradual,
                lora=options.lora, mixing=mixing, average_epochs=options.average_epochs,
                augment=options.augment if modality.augments else "none", gamma=gamma)


def unused_note(options: TuningOptions) -> str:
    """A sentence about options that were set for a backbone that stays frozen; empty where none was."""
    unused = [field.name for field in fields(options) if getattr(options, field.name) != getattr(DEFAULTS, field.name)]
    if not unused:
        return ""
    own = "; the learning rate of a head is a setting of the head, as in mlp:learning_rate=0.01"
    return (f"{', '.join(unused)} {'has' if len(unused) == 1 else 'have'} no effect, because only fine-tuning uses "
            f"{'it' if len(unused) == 1 else 'them'}, and no blocks are unfrozen"
            + own * ("learning_rate" in unused or "find_learning_rate" in unused))


def tuning_faults(options: TuningOptions, modality: Modality | None = None, epochs: int | None = None) -> list[str]:
    """One sentence for each fault of these options. modality, epochs: if they are known already."""
    rate, decay = options.learning_rate, options.layer_decay
    faults = [
        (options.schedule not in SCHEDULES,
         f"`schedule` must be one of {', '.join(SCHEDULES)} (got {options.schedule})"),
        (options.augment not in CHOICES, f"`augment` must be one of {', '.join(CHOICES)} (got {options.augment})"),
        (options.mixing not in MIXING, f"`mixing` must be one of {', '.join(MIXING)} (got {options.mixing})"),
        (rate is not None and not 0 < rate <= 1, f"`learning_rate` must be in (0, 1] (got {rate})"),
        (rate is not None and options.find_learning_rate,
         "`learning_rate` and `find_learning_rate` cannot be combined; set one of them"),
        (decay is not None and not 0 < decay <= 1, f"`layer_decay` must be in (0, 1] (got {decay})"),
        (options.lora < 0, f"`lora` must be a rank of at least 1, or 0 for none (got {options.lora})"),
        (options.average_epochs < 1, f"`average_epochs` must be at least 1 (got {options.average_epochs})"),
        (epochs is not None and options.average_epochs > epochs,
         f"`average_epochs` must be at most `epochs`, {epochs} (got {options.average_epochs})"),
    ]
    if modality is not None:
        faults += [
            (options.lora > 0 and not modality.has_length,
             f"`lora` must be 0 for {modality.nouns}, whose networks have no attention kernels (got {options.lora})"),
            (options.mixing in MIXING[2:] and not modality.augments,
             f"`mixing` must be auto or none for {modality.nouns} (got {options.mixing})"),
            (options.augment in CHOICES[2:] and not modality.augments,
             f"`augment` must be auto or none for {modality.nouns} (got {options.augment})"),
        ]
    return [message for wrong, message in faults if wrong]
