"""Gaussian noise from the operating system's entropy. A seed never makes it: whoever knows the seed could subtract it.

Samples are made by the method of Box and Muller from 53-bit numbers, and each is the sum of several over the square
root of their number, so that the bits of the result say little about a single one: Holohan and Braghin 2021, "Secure
Random Sampling in Differential Privacy", https://arxiv.org/abs/2107.10138. That makes the attack of Mironov 2012 on
floating-point noise harder. It does not exclude such attacks: the samples are still floating-point numbers.
"""

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Entropy = Callable[[int], bytes]  # a number of bytes -> so many random bytes
SYSTEM: Entropy = os.urandom
SUMMED = 4  # samples in each


def gaussian(shape: tuple[int, ...], deviation: float, entropy: Entropy = SYSTEM) -> NDArray[np.float64]:
    """Independent normal numbers of mean 0. deviation: their standard deviation. entropy: another source than the
    operating system is for tests."""
    n = int(np.prod(shape)) * SUMMED
    first, second = _uniform(n, entropy), _uniform(n, entropy)
    samples = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
    return np.asarray(samples.reshape(*shape, SUMMED).sum(axis=-1) * (deviation / np.sqrt(SUMMED)))


def symmetric(size: int, deviation: float, entropy: Entropy = SYSTEM) -> NDArray[np.float64]:
    """Noise for a symmetric matrix whose Frobenius norm is its sensitivity, [size, size]. An entry off the diagonal
    counts twice in that norm and is drawn once, so its standard deviation is `deviation` over the square root of 2."""
    upper = np.triu(gaussian((size, size), deviation, entropy))
    return np.asarray((upper + upper.T) / np.sqrt(2) + np.diag(np.diag(upper)) * (1 - np.sqrt(2)))


def _uniform(n: int, entropy: Entropy) -> NDArray[np.float64]:
    """In (0, 1], multiples of 2^-53."""
    numbers = np.frombuffer(entropy(8 * n), np.uint64) >> np.uint64(11)
    return (numbers.astype(np.float64) + 1) * 2.0**-53
