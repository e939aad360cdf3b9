"""How the `linear` head compares with another head, as the run record holds it."""

from dataclasses import dataclass

from kerastl.fields import Section


@dataclass(frozen=True)
class LinearBeside(Section):
    """The `linear` head on the same `n` held-out rows. accuracy: in [0, 1]; log_loss: in nats, before calibration, as
    is `head_log_loss`. gain: the head's accuracy minus that of `linear`, with the interval of the paired difference.
    verdict: helped | hurt | unclear; `sentence` states it. seconds: that it took to fit it in all folds."""

    n: int
    accuracy: float
    log_loss: float
    head_log_loss: float
    gain: float
    gain_ci95: tuple[float, float]
    verdict: str
    sentence: str
    seconds: float = 0.0
