"""A network that does not fit in memory, run block by block: each block over all texts before the next is read.

The weights are read once per pass; the states between blocks are in a scratch file. A pass takes as many texts as fill
a scratch file of one gigabyte: its features are then stored, whatever happens later, and reading the weights once more
takes little time compared with computing a pass.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from kerastl.backbones import NO_POOLING
from kerastl.backbones._glm.assign import set_tensor
from kerastl.backbones._glm.checkpoint import Checkpoint
from kerastl.backbones._glm.layers import GlmBlock, GlmPlaces
from kerastl.backbones._glm.names import block_shapes
from kerastl.backbones._glm.network import block_of, embedding_of, norm_of
from kerastl.backbones._glm.sizes import Sizes
from kerastl.backbones._text_network import pool
from kerastl.errors import OptionError
from kerastl.files import open_file, remove_leftovers, temporary_folder

MOST_STATES = 2**30  # bytes of the scratch file
SCRATCH = "kerastl-states"  # begins the name of its folder
Tensors = list[tuple[str, NDArray[Any]]]


def scratch_place() -> Path:
    """The folder for large temporary files: TMPDIR, else /var/tmp, because /tmp may be in memory."""
    keeps = not os.environ.get("TMPDIR") and os.access("/var/tmp", os.W_OK)
    return Path("/var/tmp" if keeps else tempfile.gettempdir())


class Streamed:
    """Stands in for the keras.Model of a backbone whose head is exported alone: it has the attributes that are used.

    blocks: how many blocks are run. The final norm is applied only after the last block of the network.
    """

    def __init__(self, sizes: Sizes, checkpoint: Checkpoint, kept: str, compute: str, *, blocks: int, pad: int,
                 pooling: str, name: str) -> None:
        self.sizes, self.checkpoint, self.kept, self.compute = sizes, checkpoint, kept, compute
        self.blocks, self.pad, self.pooling, self.name = blocks, pad, pooling, name

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """The shape of a batch of features."""
        return (None, None, self.sizes.dim) if self.pooling == NO_POOLING else (None, self.sizes.dim)

    def repooled(self, pooling: str) -> "Streamed":
        """The same with another pooling."""
        other = copy(self)
        other.pooling = pooling
        return other

    def through(self, batches: Iterable[NDArray[np.int32]]) -> Iterator[NDArray[np.float32]]:
        """Batches of tokens, [batch, length] each -> the features of each batch, in order. A pass takes as many batches
        as the scratch file can hold."""
        remove_leftovers(scratch_place(), name=SCRATCH)  # of killed runs
        with temporary_folder(scratch_place(), SCRATCH) as scratch:
            limit = min(MOST_STATES, shutil.disk_usage(scratch).free // 2)
            rest = iter(batches)
            while group := list(_up_to(rest, limit, 4 * self.sizes.dim)):
                yield from self._pass(group, scratch)

    def _pass(self, group: list[NDArray[np.int32]], scratch: Path) -> Iterator[NDArray[np.float32]]:
        """One pass: the weights are read once."""
        places = [0, *itertools.accumulate(tokens.size for tokens in group)]
        self._reserve(4 * places[-1] * self.sizes.dim, scratch)
        states = np.memmap(scratch / "states", np.float32, "r+", shape=(places[-1], self.sizes.dim))
        parts = [(tokens, states[start:end].reshape(*tokens.shape, self.sizes.dim))
                 for tokens, start, end in zip(group, places, places[1:], strict=False)]
        self._embed(parts)
        block, run = self._block
        with tqdm(total=self.blocks, desc=f"{self.name}, {len(group)} batches", unit=" blocks") as bar:
            for tensors in self._read_ahead():
                for name, tensor in tensors:
                    set_tensor(block, name.partition("/")[2], tensor)
                tensors.clear()
                for tokens, part in parts:
                    part[:] = run(tf.constant(tokens), tf.constant(part)).numpy()
                bar.update(1)
        yield from self._features(parts)

    def _reserve(self, needed: int, scratch: Path) -> None:
        """Create the scratch file with its space allocated: a sparse file would end the process when the disk is full.

        Raises OptionError if it does not fit."""
        free = shutil.disk_usage(scratch).free
        message = (f"the states of {self.name} between blocks take {needed / 2**30:.2f} GiB in {scratch.parent}, whose "
                   f"disk has {free / 2**30:.2f} GiB free")
        if needed > free:
            raise OptionError(message, "enough disk space", "free some space, set TMPDIR to a folder on another disk, "
                              "or use a smaller `batch_size`")
        print(message, flush=True)
        with open_file(scratch / "states", "wb") as file:
            file.truncate(needed)
            if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
                os.posix_fallocate(file.fileno(), 0, needed)

    @cached_property
    def _block(self) -> tuple[GlmBlock, Any]:
        """The block that is in memory, and its graph from tokens and states to states."""
        block = block_of(self.sizes, self.kept, "block", self.compute)
        block.build((None, None, self.sizes.dim))
        places = GlmPlaces(self.sizes.rotary, self.sizes.base)

        @tf.function(autograph=False, input_signature=[
            tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None, self.sizes.dim], tf.float32)])
        def run(tokens: tf.Tensor, states: tf.Tensor) -> tf.Tensor:
            return block(states, *places(tf.cast(tf.not_equal(tokens, self.pad), tf.int32)))

        return block, run

    def _embed(self, parts: list[tuple[NDArray[np.int32], NDArray[np.float32]]]) -> None:
        layer = embedding_of(self.sizes, self.kept)
        layer.build((None, None))
        for _, tensor in self.checkpoint.tensors(["token_embedding"]):
            set_tensor(layer, "", tensor)
        for tokens, states in parts:
            states[:] = np.asarray(layer(tokens))

    def _read_ahead(self) -> Iterator[Tensors]:
        """The tensors of each block, read while the previous block computes."""
        def read(number: int) -> Tensors:
            return list(self.checkpoint.tensors(f"layer_{number}/{name}" for name in block_shapes(self.sizes)))

        with ThreadPoolExecutor(1) as executor:
            upcoming: Future[Tensors] = executor.submit(read, 0)
            for number in range(self.blocks):
                tensors = upcoming.result()
                if number + 1 < self.blocks:
                    upcoming = executor.submit(read, number + 1)
                yield tensors

    def _features(self, parts: list[tuple[NDArray[np.int32], NDArray[np.float32]]]) -> Iterator[NDArray[np.float32]]:
        norm = norm_of(self.sizes)
        norm.build((None, None, self.sizes.dim))
        if whole := self.blocks == self.sizes.layers:
            for _, tensor in self.checkpoint.tensors(["final_norm"]):
                set_tensor(norm, "", tensor)
        for tokens, states in parts:
            normalized = norm(states) if whole else states
            yield np.asarray(pool(normalized, tokens != self.pad, self.pooling), np.float32)


def _up_to(batches: Iterator[NDArray[np.int32]], limit: int, bytes_per_token: int) -> Iterator[NDArray[np.int32]]:
    """Batches until their states reach the limit; at least one."""
    taken = 0
    for tokens in batches:
        taken += tokens.size * bytes_per_token
        yield tokens
        if taken + tokens.size * bytes_per_token > limit:
            return
