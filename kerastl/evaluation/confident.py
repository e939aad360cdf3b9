"""Confident learning, Northcutt et al. 2021, https://arxiv.org/abs/1911.00068, in NumPy.

p: calibrated probabilities of rows by models that were not trained on them, [n, classes]; labels: [n] class numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ROUNDING = 1e-12  # of a mean: a row is as likely as itself


def confident_joint(p: Array, labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The estimated number of rows of each pair of labels, [given, actual], and the label that each row seems to have,
    [n].

    A row is confidently of a class if the class is at least as likely for it as for the rows of that class on average,
    so that rare classes, whose probabilities are low, count as well. Of several such classes it is the most likely; a
    row without one seems to have its most likely class. The rows of each given label add up to their number.
    """
    n, classes = p.shape
    rows_of = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, weights=p[np.arange(n), labels], minlength=classes)
    average = np.where(rows_of > 0, own / np.maximum(1, rows_of), np.inf)
    confident = np.where(p >= average - ROUNDING, p, -1.0)
    sure, actual = confident.max(axis=1) >= 0, confident.argmax(axis=1)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels[sure], actual[sure]), 1)
    unknown = np.flatnonzero(counts.sum(axis=1) == 0)  # classes that no row is confidently of anything in
    counts[unknown, unknown] = 1
    joint = counts / counts.sum(axis=1, keepdims=True) * rows_of[:, None]
    return joint, np.where(sure, actual, p.argmax(axis=1))
