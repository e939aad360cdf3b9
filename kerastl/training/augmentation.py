"""Augmentation: what is done to images while a backbone is fine-tuned, and how `auto` chooses.

A preset is a fixed list of operations with their ranges. `training.fine_tuning.augment` builds the layers from it, so
that what is recorded is what is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kerastl.errors import unknown
from kerastl.fields import Section

AUTO, NONE, LIGHT, STANDARD, STRONG = "auto", "none", "light", "standard", "strong"
CHOICES = (AUTO, NONE, LIGHT, STANDARD, STRONG)
FLIP = "flip"
WORSE = 0.02  # nats of log loss, or a share of the accuracy, by which mirror images may be predicted worse
FEWEST = 30  # training rows, below which the mirror test shows nothing


@dataclass(frozen=True)
class Operation(Section):
    """What is done to an image. The amount is drawn evenly from `low` to `high` for each image. unit: `degrees`,
    `percent` (of the size for shift, zoom and shear; of the full range for colours), `bits`, or empty where there is no
    amount. share: of the images that it is done to, in [0, 1]."""

    name: str
    low: float = 0.0
    high: float = 0.0
    unit: str = ""
    share: float = 1.0

    def __str__(self) -> str:
        if not self.unit:
            return self.name if self.share == 1 else f"{self.name} of {self.share:.0%} of the images"
        if self.low == -self.high:
            return f"{self.name} by up to {self.high:g} {self.unit}"
        amount = f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"
        return f"{self.name} {amount} {self.unit}"


def _around(name: str, most: float, unit: str = "percent") -> Operation:
    return Operation(name, -most, most, unit)


MIRROR = Operation(FLIP, share=0.5)
# name: the operations for every image, in order; how many are drawn for each image; the operations they are drawn from
PRESETS: dict[str, tuple[tuple[Operation, ...], int, tuple[Operation, ...]]] = {
    NONE: ((), 0, ()),
    LIGHT: ((_around("rotation", 5, "degrees"), _around("shift", 5), _around("zoom", 5), _around("brightness", 10),
             _around("contrast", 10)), 0, ()),
    STANDARD: ((MIRROR, _around("rotation", 18, "degrees"), _around("shift", 10), _around("zoom", 10)), 0, ()),
    STRONG: ((MIRROR, _around("shift", 10), _around("zoom", 10)), 2, (
        _around("rotation", 30, "degrees"), _around("shear", 15), _around("shift", 20), _around("brightness", 30),
        _around("contrast", 30), Operation("loss of colour", 0, 50, "percent"),
        Operation("sharpening", 0, 50, "percent"), Operation("posterisation to", 4, 4, "bits"),
        Operation("solarisation above", 0, 100, "percent"), Operation("automatic contrast"),
        Operation("equalisation"))),
}


@dataclass(frozen=True)
class MirrorTest(Section):
    """How heads that were trained on images as they are predict images and their mirror images, neither of which they
    were trained on.

    n: training images, each held out in turn. accuracy, mirrored_accuracy: in [0, 1]; log_loss, mirrored_log_loss: in
    nats; constant_log_loss: of predicting the shares of the classes. The errors are the standard errors of the
    differences; near-duplicates count as one image.
    """

    n: int
    accuracy: float
    mirrored_accuracy: float
    accuracy_error: float
    log_loss: float
    mirrored_log_loss: float
    log_loss_error: float
    constant_log_loss: float

    @property
    def flips(self) -> bool:
        """Whether mirror images can be trained on: neither figure is worse by more than `WORSE`, a standard error
        included. A flip that does not fit does more harm than one that is missing, so where too few images were tested
        to tell, or the heads learned nothing, there is none."""
        loss, accuracy = self.mirrored_log_loss - self.log_loss, self.accuracy - self.mirrored_accuracy
        return (self.informative and loss + self.log_loss_error <= WORSE
                and accuracy + self.accuracy_error <= WORSE)

    @property
    def informative(self) -> bool:
        """Whether the heads learned anything."""
        return self.log_loss < self.constant_log_loss

    @property
    def sentence(self) -> str:
        """The figures, in words."""
        change, loss = 100 * (self.mirrored_accuracy - self.accuracy), self.mirrored_log_loss - self.log_loss
        verdict = "predict mirror images as well as" if self.flips else "may predict mirror images worse than"
        what = (f"linear heads on the frozen backbone {verdict} {self.n:,} training images as they are"
                if self.informative else
                f"linear heads on the frozen backbone learned nothing from {self.n:,} training images")
        return (f"{what}: accuracy {self.mirrored_accuracy:.3f} and {self.accuracy:.3f} "
                f"({change:+.1f} points, standard error {100 * self.accuracy_error:.1f}), log loss "
                f"{loss:+.3f} (standard error {self.log_loss_error:.3f}); the limit is "
                f"{100 * WORSE:.0f} points and {WORSE} nats, a standard error included")


@dataclass(frozen=True)
class Augmentation(Section):
    """What is done to the images of a fine-tuning run, in training only.

    preset: one of CHOICES except auto. operations: for every image, in order; then `drawn` operations are drawn from
    `pool` for each image. reason: why this one. mirror: the figures behind the choice of the flip, where there was one.
    flips_in_folds: in how many folds of a cross-validation the flip was used; None elsewhere.
    """

    preset: str
    operations: tuple[Operation, ...] = ()
    drawn: int = 0
    pool: tuple[Operation, ...] = ()
    reason: str = ""
    mirror: MirrorTest | None = None
    flips_in_folds: int | None = None

    @property
    def acts(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.operations or self.drawn)

    @property
    def flips(self) -> bool:
        """Whether images are mirrored."""
        return any(operation.name == FLIP for operation in self.operations)

    def __str__(self) -> str:
        if not self.acts:
            return "none"
        parts = [str(operation) for operation in self.operations]
        if self.drawn:
            parts.append(f"RandAugment ({self.drawn} of {len(self.pool)} operations, drawn for each image)")
        return ", ".join(parts)


def augmentation_named(preset: str, reason: str = "as requested") -> Augmentation:
    """The augmentation of a preset. Raises OptionError for an unknown one, and for auto, which needs data."""
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    return Augmentation(preset, *PRESETS[preset], reason)


def automatic(mirror: MirrorTest | None) -> Augmentation:
    """What `auto` chooses: `standard`, without its flip where mirror images are or may be predicted worse. mirror: None
    where there are too few images for the test."""
    chosen = augmentation_named(STANDARD)
    operations = chosen.operations
    if mirror is None or not mirror.flips:
        operations = tuple(operation for operation in operations if operation.name != FLIP)
    why = mirror.sentence if mirror else f"there are fewer than {FEWEST} training images to test mirror images on"
    flip = "with" if mirror and mirror.flips else "without"
    return Augmentation(STANDARD, operations, 0, (), f"auto: standard {flip} the flip, because {why}", mirror)


def counted(chosen: Augmentation | None, folds: Sequence[Augmentation | None]) -> Augmentation | None:
    """The augmentation that ships, with the number of folds that used the flip. folds: of each fold its own choice."""
    if chosen is None:
        return None
    return replace(chosen, flips_in_folds=sum(fold.flips for fold in folds if fold))
