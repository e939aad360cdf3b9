"""A GLM network's sizes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """What decides a network of the family. Defaults are ChatGLM2-6B's.

    inner: of SwiGLU, each of its two halves. groups: heads of keys and values. rotary: how many of a head's dimensions
    are turned by position, the first ones, in neighbouring pairs. base: of the angles' wavelengths. length: the most
    tokens it was made for.
    """

    layers: int = 28
    dim: int = 4096
    inner: int = 13_696
    heads: int = 32
    head_dim: int = 128
    groups: int = 2
    vocabulary: int = 65_024
    epsilon: float = 1e-5
    rotary: int = 64
    base: float = 10_000.0
    length: int = 32_768
