"""What can be asked of training."""

from dataclasses import dataclass

from kerastl.training.fine_tuning.plan import TuningOptions


@dataclass(frozen=True)
class TrainingOptions:
    """How a head is fitted and, with `fine_tuning`, how the backbone is trained with it."""

    epochs: int | None = None
    batch_size: int = 32
    class_weights: str = "auto"
    label_smoothing: float = 0.0
    fine_tuning: TuningOptions = TuningOptions()
