"""The GLM network: numbers of transformers' own, padding, what weights are kept in, streaming, and memory's plan."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from glm_folders import GOLDEN, TINY, write_folder
from numpy.typing import NDArray

from kerastl.backbones._glm import memory_plan as room
from kerastl.backbones._glm.assign import set_tensor
from kerastl.backbones._glm.checkpoint import open_checkpoint
from kerastl.backbones._glm.config import read_sizes
from kerastl.backbones._glm.layers import BLOCK, KeptDense
from kerastl.backbones._glm.network import GlmBackbone, arguments, backbone_from, embedding_of
from kerastl.backbones._glm.sizes import Sizes
from kerastl.backbones._glm.stream import Streamed
from kerastl.errors import OptionError
from kerastl.runtime import KEPT

SIZES = Sizes()
KNOWN = np.load(Path(__file__).parent / "golden/glm.npz")
LEAST_COSINE = {"bfloat16": 0.999, "int8": 0.999, "int4": 0.95}  # of a row of states, random weights, 3 blocks


def states_of(backbone: Any, tokens: NDArray[Any], mask: NDArray[Any]) -> list[NDArray[np.float32]]:
    """After the embedding, after each block, and the normed last ones; each [batch, length, dim]."""
    count = len([layer for layer in backbone.layers if layer.name.startswith("transformer_layer_")])
    names = ["token_embedding", *(BLOCK.format(n) for n in range(count)), "final_norm"]
    every = keras.Model(backbone.input, [backbone.get_layer(name).output for name in names])
    return [np.asarray(one) for one in every({"token_ids": tokens, "padding_mask": mask})]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glm")
    write_folder(path, GOLDEN, shards=3)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_the_states_after_every_block_are_those_of_transformers(layout: str, side: str, tmp_path: Path) -> None:
    write_folder(tmp_path, GOLDEN, layout=layout)
    mask = KNOWN[f"{side}_mask"]
    found = states_of(GlmBackbone.from_preset(str(tmp_path)), np.where(mask, KNOWN["tokens"], 0), mask)
    wanted = KNOWN[f"{side}_states"]
    assert len(found) == len(wanted) == GOLDEN.layers + 2
    for one, other in zip(found, wanted, strict=True):
        assert np.abs(one - other)[mask > 0].max() < 1e-4
    assert np.abs(wanted[-1]).mean() > 0.5  # numbers, not zeros


@pytest.mark.slow
def test_states_do_not_depend_on_the_side_of_the_padding_nor_on_the_batch(folder: Path) -> None:
    backbone = backbone_from(str(folder))
    random = np.random.default_rng(0)
    rows = [random.integers(1, GOLDEN.vocabulary, n) for n in (12, 7, 1, 4)]
    right = np.array([np.pad(row, (0, 12 - len(row))) for row in rows])
    left = np.array([np.pad(row, (12 - len(row), 0)) for row in rows])
    by_right, by_left = (states_of(backbone, some, some > 0)[-1] for some in (right, left))
    for i, row in enumerate(rows):
        alone = states_of(backbone, row[None], np.ones((1, len(row)), int))[-1][0]
        assert np.abs(by_right[i, :len(row)] - alone).max() < 1e-5
        assert np.abs(by_left[i, 12 - len(row):] - alone).max() < 1e-5


def test_a_token_sees_none_that_come_after(folder: Path) -> None:
    backbone, tokens = backbone_from(str(folder)), np.arange(1, 11)[None]
    other = tokens.copy()
    other[0, 6:] += 20
    one, two = (states_of(backbone, some, np.ones((1, 10), int))[-1][0] for some in (tokens, other))
    assert np.abs(one - two)[:6].max() < 1e-6 < np.abs(one - two)[6:].max()


def test_kerashub_saves_it_and_reads_it_back(folder: Path, tmp_path: Path) -> None:
    backbone = backbone_from(str(folder))
    backbone.save_to_preset(str(tmp_path / "preset"))
    again = GlmBackbone.from_preset(str(tmp_path / "preset"))
    assert again.get_config() == backbone.get_config() and isinstance(again, GlmBackbone)
    for one, other in zip(backbone.weights, again.weights, strict=True):
        assert np.array_equal(one.numpy(), other.numpy())
    empty = GlmBackbone.from_preset(str(folder), load_weights=False)
    assert empty.get_config()["hidden_dim"] == GOLDEN.dim


# What weights are kept in


@pytest.mark.slow
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize("kept", KEPT[1:])
def test_weights_in_fewer_bits_give_nearly_the_same_states(kept: str, compute: str, folder: Path) -> None:
    tokens, mask = KNOWN["tokens"], np.ones_like(KNOWN["tokens"])
    wanted = states_of(backbone_from(str(folder)), tokens, mask)[-1]
    found = states_of(backbone_from(str(folder), kept=kept, dtype=compute), tokens, mask)[-1]
    cosine = (wanted * found).sum(-1) / np.linalg.norm(wanted, axis=-1) / np.linalg.norm(found, axis=-1)
    assert found.dtype == np.float32 and LEAST_COSINE[kept] < cosine.min() < 1


@pytest.mark.parametrize("kept", KEPT)
def test_the_planned_bytes_are_those_of_the_weights(kept: str) -> None:
    backbone = GlmBackbone(**arguments(TINY), kept=kept)
    held = sum(weight.numpy().nbytes for weight in backbone.weights)
    assert room.weight_bytes(TINY, kept) == held


@pytest.mark.parametrize("kept", ["int8", "int4"])
def test_a_kept_kernel_is_within_half_a_step_of_the_true_one(kept: str) -> None:
    kernel = np.random.default_rng(0).standard_normal((256, 24)).astype(np.float32)
    kernel[:, 3] = 0  # has no scale of its own
    kernel[0, 5] = 100  # int4: spoils its own group of inputs alone
    layer = KeptDense(24, kept)
    layer.build((None, 256))
    block = type("Block", (), {"query": layer})
    set_tensor(block, "query", kernel.T)
    back = np.asarray(layer(np.eye(256, dtype=np.float32)))
    groups = kernel.reshape(4, 64, 24) if kept == "int4" else kernel[None]
    step = np.abs(groups).max(axis=1, keepdims=True) / (7 if kept == "int4" else 127)
    assert (np.abs(back.reshape(groups.shape) - groups) <= 0.51 * step + 1e-6).all()


# Memory


def test_the_most_exact_that_fits_is_chosen_and_what_fits_not_is_streamed() -> None:
    def chosen(gib: float, precision: str = "auto", sizes: Sizes = SIZES) -> tuple[str, bool]:
        found = room.choose(sizes, precision, int(gib * 2**30))
        return found.kept, found.streamed

    assert chosen(64) == ("bfloat16", False)  # float32 would fit, but gains nothing on weights published in 16 bits
    assert chosen(16) == ("bfloat16", False) and chosen(8) == ("int8", False) and chosen(6) == ("int4", False)
    assert chosen(4) == ("bfloat16", True) and chosen(8, "bfloat16") == ("bfloat16", True)
    assert chosen(64, "float32") == ("float32", False) and chosen(64, "int4") == ("int4", False)
    assert chosen(2, sizes=TINY) == ("float32", False)


def test_too_little_memory_for_a_block_is_said_before_anything_is_read() -> None:
    with pytest.raises(OptionError, match=r"in bfloat16 needs 2\.\d GiB, but only 1\.0 GiB of memory are free"):
        room.choose(Sizes(), "auto", 2**30)


def test_the_word_says_the_numbers() -> None:
    reason = room.choose(Sizes(), "auto", 9 * 2**30, "glm2_6b").reason
    assert "bfloat16 11.1, int8 5.6, int4 3.1 GiB, and 9.0 GiB of memory are free: stored in int8" in reason


# Streaming


@pytest.mark.slow
@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize(("blocks", "pooling"), [(3, "mean"), (3, "last"), (2, "none")])
def test_streamed_block_by_block_it_gives_what_it_gives_in_memory(kept: str, blocks: int, pooling: str, folder: Path
                                                                  ) -> None:
    sizes, layout = read_sizes(folder)
    streamed = Streamed(sizes, open_checkpoint(folder, sizes, layout), kept, "float32", blocks=blocks, pad=0,
                        pooling=pooling, name="glm")
    random = np.random.default_rng(0)
    batches = [random.integers(1, 100, shape).astype(np.int32) for shape in ((3, 9), (2, 4), (5, 6))]
    batches[0][1, 5:] = 0
    found = list(streamed.through(iter(batches)))
    backbone = backbone_from(str(folder), kept=kept, dtype="float32")
    for tokens, one in zip(batches, found, strict=True):
        states = states_of(backbone, tokens, tokens > 0)[-1 if blocks == 3 else blocks]
        mask = (tokens > 0)[..., None].astype(np.float32)
        counts = mask.sum(1)[:, 0].astype(int)
        wanted = {"mean": (states * mask).sum(1) / mask.sum(1), "none": states * mask,
                  "last": states[np.arange(len(tokens)), counts - 1]}[pooling]
        assert one.shape == wanted.shape and np.abs(one - wanted).max() < 1e-5


@pytest.mark.slow
def test_texts_that_would_fill_the_scratch_are_taken_in_several_passes(folder: Path, monkeypatch: pytest.MonkeyPatch
                                                                       ) -> None:
    sizes, layout = read_sizes(folder)
    streamed = Streamed(sizes, open_checkpoint(folder, sizes, layout), "float32", "float32", blocks=3, pad=0,
                        pooling="mean", name="glm")
    batches = [np.full((2, 5), n + 1, np.int32) for n in range(5)]
    wanted = list(streamed.through(batches))
    passes = []
    original = Streamed._pass
    monkeypatch.setattr(Streamed, "_pass", lambda self, group, scratch: passes.append(len(group)) or
                        original(self, group, scratch))
    monkeypatch.setattr("kerastl.backbones._glm.stream.MOST_STATES", 4 * GOLDEN.dim * 25)
    found = list(streamed.through(batches))
    assert passes == [2, 2, 1] and all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("kept", ["int8", "int4"])
def test_a_tensor_is_rounded_a_slice_at_a_time(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole copies of ChatGLM2-6B's table of tokens in float32 would take 1 GB each."""
    tensor = np.random.default_rng(0).standard_normal((3000, 1024)).astype(np.float32)
    layer, whole = KeptDense(3000, kept), KeptDense(3000, kept)
    table = embedding_of(replace(TINY, vocabulary=3000, dim=1024), kept)
    for one in (layer, whole, table):
        one.build((None, 1024))
    set_tensor(type("Block", (), {"query": whole}), "query", tensor)
    monkeypatch.setattr("kerastl.backbones._glm.assign.SLICE", 64 * 1024)
    peaks = []
    for target, name in ((type("Block", (), {"query": layer}), "query"), (table, "")):
        tracemalloc.start()
        set_tensor(target, name, tensor)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < tensor.nbytes  # what is made of it, twice, and a slice; whole copies were three times it
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(layer.weights, whole.weights, strict=True))


@pytest.mark.slow
def test_a_graph_unpacks_no_kernel_before_its_turn(folder: Path) -> None:
    """Else all of them are in memory in the compute type at once: what reads a kernel waits for what it multiplies."""
    backbone = backbone_from(str(folder), kept="int8", dtype="float32")
    graph = tf.function(lambda tokens, mask: backbone({"token_ids": tokens, "padding_mask": mask}), autograph=False,
                        input_signature=[tf.TensorSpec([None, None], tf.int32)] * 2).get_concrete_function().graph
    kernels = {id(weight.value.handle) for weight in backbone.weights if weight.name == "kernel" and weight.path !=
               "token_embedding/kernel"}
    held = {id(inner) for outer, inner in graph.captures if id(outer) in kernels}
    reads = [node for node in graph.get_operations() if node.type == "ReadVariableOp" and id(node.inputs[0]) in held]
    assert len(reads) == 6 * GOLDEN.layers and all(node.control_inputs for node in reads)
