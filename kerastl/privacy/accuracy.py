"""The reported accuracy of a private head: one noised pair of counts, paid by the held-out groups."""

import math
from dataclasses import dataclass

import numpy as np

from kerastl.privacy.head import PrivateHead
from kerastl.privacy.noise import SYSTEM, Entropy, gaussian
from kerastl.privacy.record import Payment
from kerastl.privacy.rows import Rows

Z = 1.959964
WIDEST = 0.25  # half an interval that is wider says nothing: the accuracy is then null
INTERVAL = "normal approximation; sampling of groups and noise"


@dataclass(frozen=True)
class PaidAccuracy:
    """groups: the noised number of held-out groups. accuracy: of groups, each the mean over its rows; NaN, as are the
    ends of its 95% confidence interval, where the noise is too large."""

    groups: float
    accuracy: float
    ci95: tuple[float, float]
    payment: Payment


def paid_accuracy(head: PrivateHead, rows: Rows, strength: float, entropy: Entropy = SYSTEM) -> PaidAccuracy:
    """The accuracy of a head on held-out rows, from the number of groups that it predicts correctly and incorrectly. A
    group changes the pair by at most 1 in L2 norm."""
    correct = (head.logits(rows.x).argmax(axis=1) == rows.y).astype(np.float64)
    noise, weights = 1 / strength, rows.weights
    exact = np.array([(correct * weights).sum(), ((1 - correct) * weights).sum()])
    right, wrong = (exact + gaussian((2,), noise, entropy)).tolist()
    payment = Payment("groups predicted correctly and incorrectly", "held-out", strength, noise)
    total = right + wrong
    if total <= 0:
        return PaidAccuracy(max(total, 0.0), math.nan, (math.nan, math.nan), payment)
    accuracy = min(1.0, max(0.0, right / total))
    sampling = accuracy * (1 - accuracy) / total
    half = Z * math.sqrt(sampling + noise**2 * (right**2 + wrong**2) / total**4)
    if half > WIDEST:
        return PaidAccuracy(total, math.nan, (math.nan, math.nan), payment)
    return PaidAccuracy(total, accuracy, (max(0.0, accuracy - half), min(1.0, accuracy + half)), payment)
