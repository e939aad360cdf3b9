"""The sizes of a GLM network."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """The sizes that define a network of the family. The defaults are those of ChatGLM2-6B.

    inner: of each half of SwiGLU. groups: the number of key-value heads. rotary: how many dimensions of a head are
    rotated by position (the first ones, in neighbouring pairs). base: of the rotary wavelengths. length: the maximum
    number of tokens.
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
