"""Published checkpoints of the GLM family: sizes, tensors one at a time, and every way a folder can be wrong."""

import json
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from glm_folders import (
    TINY,
    Arrays,
    as_pickle,
    name_of,
    pickled,
    string,
    tensor,
    write_archive,
    write_folder,
)
from text_folders import change

from kerastl.backbones import _stored, _torch_archive, _torch_file
from kerastl.backbones._glm.checkpoint import Checkpoint, open_checkpoint
from kerastl.backbones._glm.config import read_sizes
from kerastl.backbones._glm.sizes import Sizes
from kerastl.errors import WeightsError

LAYOUTS = ("original", "transformers")
SHARD = "model-00002-of-00002.safetensors"
BARE = "encoder.layers.1.self_attention.query_key_value.weight"
JOINT = f"transformer.{BARE}"


def opened(folder: Path, *, pickles: bool = False) -> Checkpoint:
    return open_checkpoint(folder, *read_sizes(folder), pickles=pickles)


def refusal(call: Callable[[], Any], told: str) -> WeightsError:
    """The error, which says what came, what was wanted and what to do."""
    with pytest.raises(WeightsError, match=told) as caught:
        call()
    assert caught.value.got and caught.value.expected and caught.value.hint
    return caught.value


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("form", ["safetensors", "pickle"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_form_and_type_gives_the_weights(layout: str, form: str, dtype: str, tmp_path: Path) -> None:
    for shards, prefix in ((1, False), (3, True)):
        folder = tmp_path / f"{shards}"
        weights = write_folder(folder, layout=layout, form=form, dtype=dtype, shards=shards, prefix=prefix)
        checkpoint = opened(folder, pickles=form == "pickle")
        found = dict(checkpoint.tensors(weights))
        assert set(found) == set(weights) == set(checkpoint.places)
        for name, wanted in weights.items():
            assert found[name].dtype.name == dtype
            np.testing.assert_array_equal(found[name].astype(np.float32), wanted, err_msg=name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sizes", [TINY, replace(TINY, groups=4, base=5_000_000.0, epsilon=1.5625e-7, length=131_072)])
def test_sizes_come_from_either_config(sizes: Sizes, layout: str, tmp_path: Path) -> None:
    weights = write_folder(tmp_path, sizes, layout=layout)
    assert read_sizes(tmp_path) == (sizes, layout)
    assert weights["layer_0/key"].shape == (sizes.groups * 8, 32)
    dict(opened(tmp_path).tensors(weights))


def test_the_sizes_of_the_published_models(tmp_path: Path) -> None:
    write_folder(tmp_path, Sizes(layers=1, dim=8, inner=8, heads=2, head_dim=4, groups=1, vocabulary=8, rotary=2))
    named = {"num_layers": 28, "hidden_size": 4096, "ffn_hidden_size": 13_696, "num_attention_heads": 32,
             "kv_channels": 128, "multi_query_group_num": 2, "padded_vocab_size": 65_024, "layernorm_epsilon": 1e-05,
             "seq_length": 32_768, "rope_ratio": ..., "interleaved_qkv": False, "quantization_bit": 0}
    change(**named)(tmp_path)
    assert read_sizes(tmp_path) == (Sizes(), "original")
    change(_name_or_path="THUDM/chatglm2-6b", rope_ratio=1)(tmp_path)
    assert read_sizes(tmp_path) == (Sizes(), "original")
    change(_name_or_path="THUDM/glm-4-9b-chat", rope_ratio=500, num_layers=40)(tmp_path)
    assert read_sizes(tmp_path)[0] == Sizes(layers=40, base=5_000_000.0)


def test_transformers_before_its_version_5_has_the_base_at_the_top(tmp_path: Path) -> None:
    write_folder(tmp_path, layout="transformers")
    change(rope_parameters=..., rope_theta=20_000.0, rope_scaling=None)(tmp_path)
    assert read_sizes(tmp_path)[0] == replace(TINY, base=20_000.0)
    change(partial_rotary_factor=0.25)(tmp_path)
    assert read_sizes(tmp_path)[0] == replace(TINY, base=20_000.0, rotary=2)


@pytest.mark.parametrize(("fields", "told"), [
    ({"model_type": "llama"}, "of the family 'llama'"),
    ({"model_type": ["glm"]}, r"of the family \['glm'\]"),
    ({"model_type": ...}, "of the family None"),
    ({"padded_vocab_size": ..., "position_encoding_2d": True}, "the first ChatGLM-6B"),
    ({"padded_vocab_size": ..., "inner_hidden_size": 64}, "the first ChatGLM-6B"),
    ({"hidden_size": ..., "seq_length": ...}, "no hidden_size; no seq_length"),
    ({"num_layers": "2", "rmsnorm": False}, 'num_layers "2", not a whole number above 0; rmsnorm false, not true'),
    ({"ffn_hidden_size": True}, "ffn_hidden_size true, not a whole number"),
    ({"kv_channels": None}, "kv_channels null, not a whole number"),
    ({"layernorm_epsilon": 0}, "layernorm_epsilon 0, not a number above 0"),
    ({"layernorm_epsilon": float("nan")}, "layernorm_epsilon NaN, not a number"),
    ({"multi_query_attention": ...}, "no multi_query_attention"),
    ({"multi_query_group_num": 0}, "multi_query_group_num 0, not a whole number"),
    ({"multi_query_group_num": 3}, "4 heads are not a multiple of 3 key-value heads"),
    ({"kv_channels": 6}, "3 of the 6 dimensions of a head would be rotary"),
    ({"kv_channels": 1}, "0 of the 1 dimensions of a head would be rotary"),
    ({"add_qkv_bias": ...}, "no add_qkv_bias"),
    ({"add_qkv_bias": False}, "add_qkv_bias false, not true"),
    ({"add_bias_linear": True}, "add_bias_linear true, not false"),
    ({"apply_residual_connection_post_layernorm": True}, "post_layernorm true, not false"),
    ({"post_layer_norm": False}, "post_layer_norm false, not true"),
    ({"original_rope": False}, "original_rope false, not true"),
    ({"interleaved_qkv": True}, "interleaved_qkv true, not false"),
    ({"quantization_bit": 4}, "quantization_bit 4, not 0"),
    ({"pre_seq_len": 128}, "pre_seq_len 128, not null"),
    ({"vision_config": {}}, r"vision_config \{\}, not null"),
    ({"rope_ratio": 0}, "rope_ratio 0, not a number above 0"),
    ({"_name_or_path": "THUDM/chatglm2-6b-32k", "rope_ratio": 50}, r"rope_ratio 50 in a ChatGLM2 \(THUDM/chatglm2"),
], ids=str)
def test_an_original_config_that_is_wrong_is_refused(fields: dict[str, Any], told: str, tmp_path: Path) -> None:
    write_folder(tmp_path)
    change(**fields)(tmp_path)
    refusal(lambda: read_sizes(tmp_path), told)


@pytest.mark.parametrize(("fields", "told"), [
    ({"model_type": "glm4"}, "of the family 'glm4'"),
    ({"head_dim": ..., "num_key_value_heads": None}, "num_key_value_heads null, .*; no head_dim"),
    ({"num_key_value_heads": 3}, "4 heads are not a multiple of 3 key-value heads"),
    ({"attention_bias": False}, "attention_bias false, not true"),
    ({"attention_bias": ...}, "no attention_bias"),
    ({"hidden_act": "gelu"}, 'hidden_act "gelu", not "silu"'),
    ({"quantization_config": {"bits": 4}}, "quantization_config .*, not null"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, 'rope_scaling {"type": "linear"'),
    ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, 'rope_parameters {"rope_type": "yarn"'),
    ({"rope_parameters": "default"}, 'rope_parameters "default", not of the type'),
    ({"rope_parameters": {"rope_type": "default"}}, "no rope_theta"),
    ({"rope_parameters": {"rope_theta": -1}}, "rope_theta -1, not a number above 0"),
    ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 1.5}}, "partial_rotary_factor 1.5, not .* 1"),
    ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.4}}, "3 of the 8 dimensions"),
], ids=str)
def test_a_config_of_transformers_that_is_wrong_is_refused(fields: dict[str, Any], told: str, tmp_path: Path) -> None:
    write_folder(tmp_path, layout="transformers")
    change(**fields)(tmp_path)
    refusal(lambda: read_sizes(tmp_path), told)


@pytest.mark.parametrize(("harm", "told"), [
    (lambda given: given.pop(JOINT), f"has no tensor {BARE}"),
    (lambda given: given.update(odd=given[JOINT]), "has an unexpected tensor odd"),
    (lambda given: given.update({f"{JOINT}_scale": given[JOINT]}), f"has an unexpected tensor {JOINT}_scale"),
    (lambda given: given.update({BARE: given[JOINT]}), f"has two tensors named .*{BARE}"),
    (lambda given: given.update({JOINT: given[JOINT][:-1]}), rf"{JOINT} of the shape \[63, 32\], not \[64, 32\]"),
    (lambda given: given.update({JOINT: given[JOINT].astype(np.int8)}), f"the tensor {JOINT} of type I8"),
    (lambda given: given.update({JOINT: given[JOINT].astype(np.float64)}), f"the tensor {JOINT} of type F64"),
    (lambda given: [given.pop(name) for name in list(given) if "layers.1" in name],
     "no tensor encoder.layers.1.input_layernorm.weight; .*; .*; and 4 more"),
    (lambda given: given.update(a=given.pop(JOINT)), "no tensor .*query_key_value.weight, and an unexpected tensor a"),
], ids=range(9))
def test_a_tensor_that_is_wrong_is_named(harm: Callable[[Arrays], Any], told: str, tmp_path: Path) -> None:
    write_folder(tmp_path, change=harm)
    refusal(lambda: opened(tmp_path), told)


def test_tensors_of_another_count_of_layers_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, layout="transformers")
    change(num_hidden_layers=1)(tmp_path)
    refusal(lambda: opened(tmp_path), "has an unexpected tensor model.layers.1.input_layernorm.weight; .* and 8 more")


def cut(folder: Path) -> None:
    os.truncate(folder / SHARD, (folder / SHARD).stat().st_size - 1)


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def header(**about: Any) -> bytes:
    content = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | about}).encode()
    return len(content).to_bytes(8, "little") + content + bytes(8)


@pytest.mark.parametrize(("harm", "told"), [
    (cut, f"{SHARD} is damaged or missing: the tensor .* ends at byte"),
    (lambda folder: (folder / SHARD).unlink(), f"{SHARD} is damaged or missing: .*No such file"),
    (write(SHARD, b""), f"{SHARD} is damaged or missing: its header"),
    (write(SHARD, (2**40).to_bytes(8, "little") + b"{}"), "its header claims 1,099,511,627,776 bytes"),
    (write(SHARD, (2).to_bytes(8, "little") + b"[]"), f"{SHARD} is damaged"),
    (write(SHARD, (10**5).to_bytes(8, "little") + b"[" * 10**5), f"{SHARD} is damaged"),
    (write(SHARD, header(shape=[3])), r"the tensor a has the shape \[3\] of F32, but 8 bytes"),
    (write(SHARD, header(data_offsets=[8, 16])), "ends at byte"),
    (write(SHARD, header(data_offsets=[-8, 0])), "not a list of whole numbers"),
    (write(SHARD, header(shape=["2"])), "not a list of whole numbers"),
    (write(SHARD, header(shape=2)), f"{SHARD} is damaged"),
    (write("model.safetensors.index.json", b'{"weight_map": {"a": "../a.safetensors"}}'), "refers to files outside"),
    (write("model.safetensors.index.json", b'{"weight_map": {"a": "/etc/passwd"}}'), "refers to files outside"),
    (write("model.safetensors.index.json", b"{}"), "index.json cannot be read"),
    (write("model.safetensors.index.json", b'{"weight_map": {}}'), "has no tensor embedding.word_embeddings.weight"),
    (lambda folder: (folder / "model.safetensors.index.json").unlink(), "has no weights in a supported format"),
], ids=range(16))
def test_files_that_are_wrong_are_named(harm: Callable[[Path], Any], told: str, tmp_path: Path) -> None:
    write_folder(tmp_path)
    assert (tmp_path / SHARD).is_file()
    harm(tmp_path)
    refusal(lambda: opened(tmp_path), told)


def test_a_file_that_changes_under_the_reader_is_an_error(tmp_path: Path) -> None:
    names = write_folder(tmp_path)
    checkpoint = opened(tmp_path)
    os.truncate(tmp_path / SHARD, (tmp_path / SHARD).stat().st_size // 2)  # what is last is the head, which is not read
    refusal(lambda: dict(checkpoint.tensors(names)), f"{SHARD} ends within the tensor ")
    (tmp_path / SHARD).unlink()
    refusal(lambda: dict(checkpoint.tensors(names)), f"{SHARD} cannot be read")


@pytest.mark.parametrize("shards", [1, 2])
def test_pickles_are_read_with_leave_only(shards: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path, form="pickle", shards=shards)
    told = refusal(lambda: opened(tmp_path), r"only as a pickle \(pytorch_model.bin")
    assert "set `pickles`" in told.hint and capsys.readouterr().out == ""
    opened(tmp_path, pickles=True)
    line = "pytorch_model.bin is a pickle, read with an unpickler that admits tensors only\n"
    assert capsys.readouterr().out == line
    write_folder(tmp_path, shards=shards)  # safetensors come first
    assert opened(tmp_path, pickles=True).files[0].suffix == ".safetensors" and capsys.readouterr().out == ""


@pytest.mark.parametrize(("module", "name", "arguments"), [
    ("os", "system", "touch {}"), ("posix", "system", "touch {}"), ("builtins", "eval", "open({!r}, 'w').close()"),
    ("builtins", "getattr", "{}"), ("torch", "load", "{}"), ("torch.serialization", "load", "{}"),
    ("collections", "OrderedDict.fromkeys", "{}"), ("torch", "load_FloatStorage", "{}"),
])
def test_a_pickle_runs_nothing_that_it_names(module: str, name: str, arguments: str, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    call = name_of(module, name) + string(arguments.format(str(proof))) + pickle.TUPLE1 + pickle.REDUCE
    content = as_pickle(string("a") + call)
    write_archive(tmp_path / "bad.bin", content, [])
    refusal(lambda: _torch_archive.tensors(tmp_path / "bad.bin"), f"refers to {module}.{name}, which is not a tensor")
    assert not proof.exists()
    if name in ("system", "eval"):
        pickle.loads(content)
        assert proof.exists()  # the trap works on a reader that admits all


def test_a_pickle_changes_nothing_that_outlives_it(tmp_path: Path) -> None:
    for found in (name_of("torch._utils", "_rebuild_tensor_v2"), name_of("torch", "FloatStorage")):
        state = (pickle.NONE + pickle.EMPTY_DICT + string("__defaults__") + pickle.EMPTY_TUPLE + pickle.SETITEM
                 + pickle.TUPLE2)
        write_archive(tmp_path / "bad.bin", as_pickle(string("a") + found + state + pickle.BUILD), [])
        refusal(lambda: _torch_archive.tensors(tmp_path / "bad.bin"), "bad.bin cannot be read")
    reader = _torch_file.TensorsOnly((tmp_path / "bad.bin").open("rb"))
    with reader._file:
        one, other = (reader.find_class("torch._utils", "_rebuild_tensor_v2") for _ in range(2))
    assert one is not other


WHOLE = {"key": 0, "shape": (2, 3), "strides": (3, 1), "count": 6, "kind": "FloatStorage"}


@pytest.mark.parametrize(("fields", "archive", "told"), [
    ({"strides": (1, 2)}, {}, "the tensor a is not contiguous"),
    ({"strides": (0, 0)}, {}, "is not contiguous"),
    ({"strides": (1,)}, {}, "cannot be read"),
    ({"count": 5}, {}, "tensor a extends beyond its storage"),
    ({"offset": 1}, {}, "tensor a extends beyond its storage"),
    ({"offset": -1}, {}, "not a list of whole numbers"),
    ({"shape": (-2, -3)}, {}, "not a list of whole numbers"),
    ({"count": 7}, {}, "archive/data/0 has 24 bytes, too few for 7 of F32"),
    ({"key": 1}, {}, "refers to a storage that it does not contain"),
    ({"kind": "CharStorage"}, {}, "refers to torch.CharStorage"),
    ({}, {"compression": zipfile.ZIP_DEFLATED}, "archive/data/0 is compressed"),
    ({}, {"byteorder": b"big"}, "not little-endian"),
], ids=str)
def test_a_storage_that_does_not_hold_the_tensor_is_refused(fields: dict[str, Any], archive: dict[str, Any],
                                                            told: str, tmp_path: Path) -> None:
    path, numbers = tmp_path / "a.bin", np.arange(6, dtype=np.float32)
    write_archive(path, as_pickle(string("a") + tensor(**WHOLE)), [numbers.tobytes()])
    (whole,) = _torch_archive.tensors(path)
    with path.open("rb") as file:
        np.testing.assert_array_equal(whole.rows(file, 1, 2), [[3, 4, 5]])
    write_archive(path, as_pickle(string("a") + tensor(**(WHOLE | fields))), [numbers.tobytes()], **archive)
    refusal(lambda: _torch_archive.tensors(path), told)


def test_views_of_one_storage_are_read_where_they_lie(tmp_path: Path) -> None:
    path, numbers = tmp_path / "a.bin", np.arange(6, dtype=np.float32)
    pairs = (string("a") + tensor(**WHOLE)
             + string("b") + tensor(**(WHOLE | {"shape": (2,), "strides": (1,), "offset": 3}))
             + string("c") + tensor(**(WHOLE | {"shape": (1, 2), "strides": (99, 1), "offset": 4})))
    write_archive(path, as_pickle(pairs), [numbers.tobytes()])
    with path.open("rb") as file:
        found = {one.name: one.rows(file, 0, one.shape[0]).tolist() for one in _torch_archive.tensors(path)}
    assert found == {"a": [[0, 1, 2], [3, 4, 5]], "b": [3, 4], "c": [[4, 5]]}


def test_a_pickle_cannot_ask_for_memory_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for content in (pickle.EMPTY_DICT + pickle.LONG_BINPUT + b"\xff\xff\xff\x7f" + pickle.STOP,
                    pickle.EMPTY_DICT + pickle.PUT + b"2147483647\n" + pickle.STOP):
        write_archive(path, content, [])
        refusal(lambda: _torch_archive.tensors(path), "numbers more objects than it contains")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"no zip", pickle.dumps({})], ids=range(4))
def test_what_is_no_archive_is_one_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    refusal(lambda: _torch_archive.tensors(tmp_path / "a.bin"), "a.bin cannot be read")
    refusal(lambda: _torch_archive.tensors(tmp_path / "gone.bin"), "gone.bin cannot be read: .*No such file")


def test_tensors_come_in_the_files_order_and_only_those_asked_for(tmp_path: Path) -> None:
    write_folder(tmp_path, shards=3)
    checkpoint = opened(tmp_path)
    names = [name for name, _ in checkpoint.tensors(checkpoint.places)]
    numbers = [checkpoint.files.index(checkpoint.places[name][0].path) for name in names]
    assert numbers == sorted(numbers) and set(numbers) == {0, 1, 2}
    asked = ["layer_1/value", "final_norm", "layer_1/query", "layer_0/down", "layer_1/value"]
    found = [name for name, _ in checkpoint.tensors(asked)]
    assert sorted(found) == sorted(set(asked)) and found == [name for name in names if name in asked]
    assert found.index("layer_1/query") < found.index("layer_1/value")


@pytest.mark.parametrize("form", ["safetensors", "pickle"])
def test_one_tensor_is_in_memory_at_a_time(form: str, tmp_path: Path) -> None:
    sizes = replace(TINY, layers=4, dim=128, inner=512, vocabulary=400)
    weights = write_folder(tmp_path, sizes, form=form, dtype="float16", shards=2)
    largest = max(array.nbytes for array in weights.values()) // 2
    total = sum(array.nbytes for array in weights.values()) // 2
    del weights
    checkpoint = opened(tmp_path, pickles=form == "pickle")
    read, seen = checkpoint.tensors(checkpoint.places), 0
    tracemalloc.start()
    try:
        for _, array in read:
            seen += array.nbytes
            del array
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == total and 4 * largest < total
    assert largest < peak < 1.5 * largest  # one, and small things; two of the largest would be 2.0


def test_one_file_is_open_at_a_time(tmp_path: Path) -> None:
    write_folder(tmp_path, shards=3)
    checkpoint = opened(tmp_path)

    def files() -> set[str]:
        held = Path("/proc/self/fd")
        paths = {os.readlink(held / one) for one in os.listdir(held) if (held / one).is_symlink()}
        return {path for path in paths if path.startswith(str(tmp_path))}

    assert not files()
    seen = [files() for _ in checkpoint.tensors(checkpoint.places)]
    assert {len(one) for one in seen} == {1} and len(set.union(*seen)) == 3
    assert not files()


def test_the_fingerprint_changes_with_any_file(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", shards=2)
    write_folder(tmp_path / "b", shards=2)
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b")
    print_of = first.fingerprint()
    assert len(print_of) == 32 and int(print_of, 16) and second.fingerprint() == print_of
    for name in (SHARD, "model-00001-of-00002.safetensors", "config.json"):
        path = tmp_path / "b" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert second.fingerprint() != print_of
        path.write_bytes(whole)
    assert second.fingerprint() == print_of
    write_folder(tmp_path / "b", shards=2, seed=1)
    assert opened(tmp_path / "b").fingerprint() != print_of


def test_the_torch_archives_of_the_tests_are_of_torchs_form(tmp_path: Path) -> None:
    given = {"a": np.arange(6, dtype=np.float16).reshape(2, 3)}
    write_archive(tmp_path / "a.bin", pickled(given), [given["a"].tobytes()])
    (one,) = _torch_archive.tensors(tmp_path / "a.bin")
    assert one.offset % 64 == 0 and one.kind == "F16"
    raw = (tmp_path / "a.bin").read_bytes()[one.offset:one.offset + 12]
    assert raw == given["a"].tobytes() and set(_stored.TYPES) == set(_torch_file.TensorsOnly.kinds.values())
