"""A network that does not fit in memory: block by block, each over all texts before the next is read from disk.

The weights are read once a pass; the states between blocks lie in a scratch file. A pass ends when that has grown to a
gigabyte: what it computed is kept then, whatever comes after, and a read more is little beside the work it feeds.
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

MOST_STATES = 2**30  # bytes of the scratch file
Tensors = list[tuple[str, NDArray[Any]]]


def scratch_place() -> str | None:
    """Where large temporary files belong: TMPDIR, else /var/tmp, which is on a disk where /tmp may be memory."""
    return None if os.environ.get("TMPDIR") or not os.access("/var/tmp", os.W_OK) else "/var/tmp"


class Streamed:
    """As a keras.Model of tokens to features, for as much as is asked of a backbone that stays apart from its head.

    blocks: how many of them are run; the last norm follows only after all.
    """

    def __init__(self, sizes: Sizes, checkpoint: Checkpoint, kept: str, compute: str, *, blocks: int, pad: int,
                 pooling: str, name: str) -> None:
        self.sizes, self.checkpoint, self.kept, self.compute = sizes, checkpoint, kept, compute
        self.blocks, self.pad, self.pooling, self.name = blocks, pad, pooling, name

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Of a batch's features."""
        return (None, None, self.sizes.dim) if self.pooling == NO_POOLING else (None, self.sizes.dim)

    def repooled(self, pooling: str) -> "Streamed":
        """The same, pooled in another way."""
        other = copy(self)
        other.pooling = pooling
        return other

    def through(self, batches: Iterable[NDArray[np.int32]]) -> Iterator[NDArray[np.float32]]:
        """tokens: [batch, length] of each -> features of each, in order. As many at a time as scratch has room for."""
        with tempfile.TemporaryDirectory(prefix="kerastl-states-", dir=scratch_place()) as scratch:
            limit = min(MOST_STATES, shutil.disk_usage(scratch).free // 2)
            rest = iter(batches)
            while group := list(_up_to(rest, limit, 4 * self.sizes.dim)):
                yield from self._pass(group, scratch)

    def _pass(self, group: list[NDArray[np.int32]], scratch: str) -> Iterator[NDArray[np.float32]]:
        """One read of the weights."""
        places = [0, *itertools.accumulate(tokens.size for tokens in group)]
        self._reserve(4 * places[-1] * self.sizes.dim, Path(scratch))
        states = np.memmap(f"{scratch}/states", np.float32, "r+", shape=(places[-1], self.sizes.dim))
        parts = [(tokens, states[start:end].reshape(*tokens.shape, self.sizes.dim))
                 for tokens, start, end in zip(group, places, places[1:], strict=False)]
        self._embed(parts)
        block, run = self._block
        with tqdm(total=self.blocks, desc=f"{self.name}, {len(group)} batches", unit=" blocks") as bar:
            for tensors in self._read_ahead():
                for name, tensor in tensors:
                    set_tensor(block, name.partition("/")[2], tensor)
                tensors.clear()
                for tokens, kept in parts:
                    kept[:] = run(tf.constant(tokens), tf.constant(kept)).numpy()
                bar.update(1)
        yield from self._features(parts)

    def _reserve(self, needed: int, scratch: Path) -> None:
        """The scratch file, with its room on the disk: a sparse one would end the process when the disk is full.

        Raises OptionError when it does not fit."""
        free = shutil.disk_usage(scratch).free
        said = (f"states of {self.name} between blocks take {needed / 2**30:.2f} GiB in {scratch.parent}, its disk has "
                f"{free / 2**30:.2f} free")
        if needed > free:
            raise OptionError(said, "room for them", "free some, set TMPDIR to a place on another disk, or give a "
                              "smaller --batch-size")
        print(said, flush=True)
        with (scratch / "states").open("wb") as file:
            file.truncate(needed)
            if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
                os.posix_fallocate(file.fileno(), 0, needed)

    @cached_property
    def _block(self) -> tuple[GlmBlock, Any]:
        """The one block that is in memory, and its graph, of tokens and states to states."""
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
        for tokens, kept in parts:
            kept[:] = np.asarray(layer(tokens))

    def _read_ahead(self) -> Iterator[Tensors]:
        """Each block's tensors, read while the block before is at work."""
        def read(number: int) -> Tensors:
            return list(self.checkpoint.tensors(f"layer_{number}/{name}" for name in block_shapes(self.sizes)))

        with ThreadPoolExecutor(1) as pool_of_one:
            coming: Future[Tensors] = pool_of_one.submit(read, 0)
            for number in range(self.blocks):
                tensors = coming.result()
                if number + 1 < self.blocks:
                    coming = pool_of_one.submit(read, number + 1)
                yield tensors

    def _features(self, parts: list[tuple[NDArray[np.int32], NDArray[np.float32]]]) -> Iterator[NDArray[np.float32]]:
        norm = norm_of(self.sizes)
        norm.build((None, None, self.sizes.dim))
        if whole := self.blocks == self.sizes.layers:
            for _, tensor in self.checkpoint.tensors(["final_norm"]):
                set_tensor(norm, "", tensor)
        for tokens, kept in parts:
            states = norm(kept) if whole else kept
            yield np.asarray(pool(states, tokens != self.pad, self.pooling), np.float32)


def _up_to(batches: Iterator[NDArray[np.int32]], limit: int, bytes_a_token: int) -> Iterator[NDArray[np.int32]]:
    """Batches until their states come to the limit; at least one."""
    taken = 0
    for tokens in batches:
        taken += tokens.size * bytes_a_token
        yield tokens
        if taken + tokens.size * bytes_a_token > limit:
            return
