"""A `prototype` head under differential privacy: noised sums of the rows of each class.

For few rows a class: Wahdany, Jagielski, Dziedzic and Boenisch 2024, "Beyond the Mean: Differentially Private
Prototypes for Private Transfer Learning", https://arxiv.org/abs/2406.08039.
"""

import numpy as np

from kerastl.privacy.accounting import shares
from kerastl.privacy.head import PrivateHead
from kerastl.privacy.noise import SYSTEM, Entropy, gaussian
from kerastl.privacy.record import Payment
from kerastl.privacy.rows import TINY, Array, Rows, dimensions_for, projection, unit

NAME = "prototype"
WEIGHTS = {"count": 0.02, "counts": 0.08, "sums": 0.90}  # of the squared strength
WORDS = {"count": "number of training groups", "counts": "groups of each class", "sums": "sum of each class's features"}
SCALE = 8.0  # logits are cosines times this; fixed, as for the linear head


def sums(rows: Rows, x: Array, classes: int) -> tuple[Array, Array]:
    """The sum of the rows of each class, [classes, k], and their number, [classes]; a group has weight 1. One group
    changes each by at most 1 in L2 norm."""
    member = np.eye(classes)[rows.y] * rows.weights[:, None]
    return np.asarray(member.T @ x), np.asarray(member.sum(axis=0))


def fit(rows: Rows, classes: int, strength: float, entropy: Entropy = SYSTEM) -> PrivateHead:
    """The head from training rows. strength: of all releases together, see `accounting`."""
    parts = shares(strength, WEIGHTS)
    noise = {name: 1 / part for name, part in parts.items()}
    groups = rows.n_groups + float(gaussian((), noise["count"], entropy))
    public = projection(rows.x.shape[1], dimensions_for(2 * groups, strength))
    exact, counts = sums(rows, unit(rows.x @ public), classes)
    total = exact + gaussian(exact.shape, noise["sums"], entropy)
    counts = np.maximum(counts + gaussian(counts.shape, noise["counts"], entropy), 1.0)
    centre = total.sum(axis=0) / counts.sum()
    centre = centre / max(1.0, float(np.linalg.norm(centre)))
    means = total / counts[:, None] - centre
    kernel = SCALE * means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), TINY)
    return PrivateHead(NAME, groups, public, centre, kernel.T, np.zeros(classes), tuple(
        Payment(WORDS[name], "training", parts[name], noise[name]) for name in WEIGHTS))
