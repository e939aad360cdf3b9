"""Text networks: the answers of transformers for its own folders, poolings, padding, saving, folders that are wrong.

Of DeBERTa there is no golden answer: no converter of Hugging Face folders exists, so only KerasHub's own presets are
read, and what is tested is that they come back as they were saved.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import ml_dtypes
import numpy as np
import pytest
from keras_hub.src.utils.preset_utils import BUILTIN_PRESETS
from numpy.typing import NDArray
from safetensors.numpy import save_file
from text_folders import (
    HUGGING_FACE,
    KERAS_HUB,
    POSITIONS,
    change,
    hugging_face_folder,
    keras_hub_folder,
    recipe,
    tensors,
)

from kerastl.backbones import Backbone, BuildOptions, Network, _hugging_face, minilm, specs
from kerastl.backbones._text_memory import memory_needed
from kerastl.backbones._text_network import POOLINGS, longest
from kerastl.errors import OptionError, WeightsError
from kerastl.model import blocks, leaves

GOLDEN = np.load(Path(__file__).parent / "golden/text_networks.npz")
BACKBONE = {"bert": "bert_base", "roberta": "roberta_base", "xlm-roberta": "xlm_roberta_base",
            "distilbert": "distil_bert", "deberta-v2": "deberta_v3_base"}
TEXTS = [spec for spec in specs().values() if spec.modality.name == "text"]


def made(folder: Path, family: str, pooling: str = "mean") -> Network:
    return specs()[BACKBONE[family]].build(BuildOptions(str(folder), pooling=pooling))


def answer(model: Any, tokens: Any) -> NDArray[np.float32]:
    return np.asarray(model(np.asarray(tokens, np.int32), training=False))


def rows(family: str) -> NDArray[np.int32]:
    return np.array(recipe(family)["tokens"], np.int32)


def mask_of(tokens: NDArray[np.int32], family: str) -> NDArray[np.int32]:
    return (tokens != (1 if "roberta" in family else 0)).astype(np.int32)


def states(folder: Path, family: str, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
    """The last hidden states of the network in a folder. [batch, length] -> [batch, length, 32], 0 where padded."""
    backbone = _hugging_face.load(folder, family).backbone
    mask = mask_of(tokens, family)
    given = {"token_ids": tokens, "padding_mask": mask}
    if family == "bert":
        segments = np.array([[0, 0, 0, 0, 0, 1, 1, 1, 1], [0] * 9], np.int32)
        given["segment_ids"] = segments[-len(tokens):, :tokens.shape[1]]
    out = backbone(given)
    return np.asarray(out["sequence_output"] if family == "bert" else out) * mask[..., None]


@pytest.mark.slow
@pytest.mark.parametrize("family", HUGGING_FACE)
def test_hidden_states_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    """See golden/make_text_networks.py."""
    folder = hugging_face_folder(tmp_path / "m", family)
    wanted = GOLDEN[f"{family}_states"]
    assert wanted.std() > 0.5  # answers, not zeros
    assert np.abs(states(folder, family, rows(family)) - wanted).max() < 1e-4
    alone = rows(family)[1:, :len(GOLDEN[f"{family}_alone"])]  # the second row without its padding
    assert np.abs(states(folder, family, alone)[0] - GOLDEN[f"{family}_alone"]).max() < 1e-4


@pytest.mark.slow
def test_bundled_minilm_answers_as_the_original_does() -> None:
    """See golden/make_text_networks.py."""
    found = specs()["minilm"].build(BuildOptions("bundled"))
    features = answer(found.model, GOLDEN["minilm_tokens"])
    assert GOLDEN["minilm_mean"].std() > 0.1  # answers, not zeros
    assert np.abs(features - GOLDEN["minilm_mean"]).max() < 1e-4
    assert found.model.count_params() == specs()["minilm"].parameters
    assert (found.tokenizer.start, found.tokenizer.end) == ((101,), (102,))


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("bert", {"variant": "head"}), ("bert", {"variant": "classifier"}), ("bert", {"variant": "no_pooler"}),
    ("bert", {"shards": 3}), ("roberta", {"variant": "head"}), ("roberta", {"variant": "classifier"}),
    ("roberta", {"variant": "no_pooler"}), ("xlm-roberta", {"variant": "head", "shards": 2}),
    ("distilbert", {"variant": "head"}), ("distilbert", {"variant": "classifier"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "way"), WAYS, ids=[f"{family}-{'-'.join(map(str, way.values()))}"
                                                       for family, way in WAYS])
def test_every_way_of_saving_gives_the_same_states(family: str, way: dict[str, Any], tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "m", family, **way)
    assert np.abs(states(folder, family, rows(family)) - GOLDEN[f"{family}_states"]).max() < 1e-4
    assert _hugging_face.load(folder, family).pooler == (family == "bert" and way.get("variant") != "no_pooler")


@pytest.mark.slow
def test_half_precision_old_names_and_buffers_are_read(tmp_path: Path) -> None:
    for name, dtype, far in (("f16", np.float16, 0.02), ("bf16", ml_dtypes.bfloat16, 0.1)):
        folder = hugging_face_folder(tmp_path / name, "bert", cast=lambda tensor, dtype=dtype: tensor.astype(dtype))
        apart = np.abs(states(folder, "bert", rows("bert")) - GOLDEN["bert_states"]).max()
        assert 1e-5 < apart < far  # rounded, and no more than that
    old = {f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"):
           tensor for name, tensor in tensors("bert").items()}
    folder = hugging_face_folder(tmp_path / "old", "bert")
    save_file(old | {"bert.embeddings.position_ids": np.arange(64)[None]}, folder / "model.safetensors")
    assert np.abs(states(folder, "bert", rows("bert")) - GOLDEN["bert_states"]).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("family", HUGGING_FACE)
def test_poolings_are_of_the_golden_states(family: str, tmp_path: Path) -> None:
    """Segments and mask, which the network finds for itself, are those that transformers was given."""
    folder = hugging_face_folder(tmp_path / "m", family)
    tokens = rows(family)
    golden, mask = GOLDEN[f"{family}_states"], mask_of(tokens, family)
    wanted = {"mean": golden.sum(axis=1) / mask.sum(axis=1, keepdims=True), "cls": golden[:, 0],
              "none": golden * mask[..., None],
              "last": golden[np.arange(len(golden)), mask.sum(axis=1).astype(int) - 1]}
    if family == "bert":
        wanted["pooled"] = GOLDEN["bert_pooled"]
    for pooling in POOLINGS:
        if pooling not in wanted:
            with pytest.raises(OptionError, match="no trained pooler"):
                made(folder, family, pooling)
            continue
        model = made(folder, family, pooling).model
        assert model.input_shape == (None, None) and model.inputs[0].dtype == "int32"
        assert model.output_shape == ((None, None, 32) if pooling == "none" else (None, 32))
        assert longest(model) == POSITIONS
        assert np.abs(answer(model, tokens) - wanted[pooling]).max() < 1e-4
    with pytest.raises(OptionError, match="one of mean, cls, pooled"):
        made(folder, family, "max")


def test_a_bert_saved_without_its_pooler_has_no_pooled_features(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "m", "bert", variant="no_pooler")
    with pytest.raises(OptionError, match="the weights of bert_base have no trained pooler"):
        made(folder, "bert", "pooled")
    assert made(folder, "bert").model.count_params() == made(
        hugging_face_folder(tmp_path / "with", "bert"), "bert").model.count_params()  # an unused pooler is left out


@pytest.mark.slow
@pytest.mark.parametrize("family", KERAS_HUB)
def test_preset_folders_padding_and_saving(family: str, tmp_path: Path) -> None:
    """A row's features depend neither on how far it is padded nor on its neighbours, nor on being saved and loaded."""
    folder = keras_hub_folder(tmp_path / "preset", family)
    found = made(folder, family)
    pad, (start,), (end,) = found.tokenizer.pad, found.tokenizer.start, found.tokenizer.end
    short, long = [start, 10, 20, 30, end], [start, *range(5, 25), end]
    batch = np.full((2, 30), pad, np.int32)
    batch[0, :len(short)], batch[1, :len(long)] = short, long
    features = answer(found.model, batch)
    assert features.dtype == np.float32 and features.std() > 0.1
    for i, row in enumerate((short, long)):
        assert np.abs(answer(found.model, [row])[0] - features[i]).max() < 1e-5
    found.model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert (answer(again, batch) == features).all()
    original = getattr(keras_hub.models, f"{KERAS_HUB[family]}Backbone").from_preset(str(folder))
    given = {"token_ids": batch, "padding_mask": batch != pad}
    out = original(given | ({"segment_ids": batch * 0} if family == "bert" else {}))
    first = np.asarray(out["sequence_output"] if family == "bert" else out)[:, 0]
    assert np.abs(answer(made(folder, family, "cls").model, batch) - first).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", HUGGING_FACE)
def test_what_a_folder_says_of_the_network_is_saved_with_it(family: str, tmp_path: Path) -> None:
    """KerasHub's backbones would save neither an exact gelu nor an epsilon."""
    model = made(hugging_face_folder(tmp_path / "m", family), family).model
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert (answer(again, rows(family)) == answer(model, rows(family))).all()


@pytest.mark.slow
@pytest.mark.parametrize("family", KERAS_HUB)
def test_blocks_are_the_embeddings_and_the_transformer_layers(family: str, tmp_path: Path) -> None:
    spec = specs()[BACKBONE[family]]
    model = made(keras_hub_folder(tmp_path / "preset", family), family).model
    found = blocks(Backbone(spec.name, spec, model, None, 32, "none", ""))  # type: ignore[arg-type]
    assert [block[0].name for block in found[1:]] == [layer.name for layer in leaves(model) if "layer_" in layer.name
                                                      and "norm" not in layer.name]
    assert len(found) == 3
    inside = [id(weight) for block in found for layer in block for weight in layer.weights]
    assert sorted(inside) == sorted(map(id, model.weights))


def rewrite(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Writes BERT's tensors again after an edit."""

    def apply(folder: Path) -> None:
        given = tensors("bert")
        edit(given)
        save_file(given, folder / "model.safetensors")
    return apply


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lose_a_shard(folder: Path) -> None:
    hugging_face_folder(folder, "bert", shards=2)
    (folder / "model.safetensors").unlink()
    (folder / "model-00002-of-00002.safetensors").unlink()


def leave_the_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../a.safetensors"}}')


KEY = "encoder.layer.1.attention.self.key.weight"


@pytest.mark.slow
@pytest.mark.parametrize(("harm", "told"), [
    (lambda folder: (folder / "config.json").unlink(), "config.json cannot be read"),
    (lambda folder: (folder / "config.json").write_text("[1"), "config.json cannot be read"),
    (lambda folder: (folder / "config.json").write_text("[1]"), "not a JSON object"),
    (change(model_type=...), "neither registered_name nor model_type"),
    (change(model_type="gpt2"), r"of the family 'gpt2' \(model_type"),
    (change(hidden_size=...), "no hidden_size"),
    (change(vocab_size=..., num_hidden_layers="2"), "no vocab_size; num_hidden_layers '2', not a whole number"),
    (change(hidden_act="gelu_new"), "hidden_act 'gelu_new', not 'gelu'"),
    (change(position_embedding_type="relative_key"), "position_embedding_type 'relative_key', not 'absolute'"),
    (change(is_decoder=True), "is_decoder True"),
    (change(quantization_config={"bits": 4}), "quantization_config"),
    (change(num_attention_heads=5), "not a multiple of num_attention_heads 5"),
    (change(num_hidden_layers=3), "has no tensor encoder.layer.2"),
    (change(num_hidden_layers=1), "unexpected tensor encoder.layer.1"),
    (change(vocab_size=115), r"embeddings.word_embeddings.weight has the shape \[116, 32\]"),
    (change(vocab_size=10), "embeddings.word_embeddings.weight has the shape"),
    (rewrite(lambda given: given.pop(KEY)), f"has no tensor {KEY}"),
    (rewrite(lambda given: given.pop("pooler.dense.bias")), "has no tensor pooler.dense.bias"),
    (rewrite(lambda given: given.update(odd=given[KEY])), "unexpected tensor odd"),
    (rewrite(lambda given: given.update({f"bert.{KEY}": given[KEY]})), "twice"),
    (rewrite(lambda given: given.update({KEY: given[KEY][:, :31].copy()})), rf"{KEY} has the shape \[32, 31\]"),
    (rewrite(lambda given: given.update({KEY: given[KEY].astype(np.int8)})), f"{KEY} is of type I8"),
    (cut, "damaged or missing"),
    (lose_a_shard, "model-00002-of-00002.safetensors is damaged or missing"),
    (leave_the_folder, "outside the folder"),
    (lambda folder: (folder / "model.safetensors").unlink(), "has no weights"),
    (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "can run arbitrary code"),
])
def test_a_folder_that_is_wrong_is_refused_by_name(harm: Callable[[Path], Any], told: str, tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "m", "bert")
    harm(folder)
    with pytest.raises(WeightsError, match=told):
        made(folder, "bert")


@pytest.mark.slow
@pytest.mark.parametrize("pad", [-1, 66, "1"])
def test_positions_begin_after_the_padding(pad: Any, tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "m", "roberta", pad_token_id=pad)
    with pytest.raises(WeightsError, match="outside the table of positions"):
        made(folder, "roberta")


def test_the_way_out_of_a_pickle_is_a_command(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "m", "roberta")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError) as told:
        made(folder, "roberta")
    command = told.value.hint.partition("python -c ")[2]
    assert command.endswith(f'" {folder} OUT') and "save_pretrained" in command
    compile(command.split('"')[1], "command", "exec")


def test_a_folder_of_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="of the family 'xlm-roberta'"):
        made(hugging_face_folder(tmp_path / "a", "xlm-roberta"), "roberta")
    preset = keras_hub_folder(tmp_path / "b", "distilbert")
    with pytest.raises(WeightsError, match="a preset of keras_hub>DistilBertBackbone"):
        made(preset, "bert")
    (preset / "model.weights.h5").write_bytes((preset / "model.weights.h5").read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        made(preset, "distilbert")
    folder = hugging_face_folder(tmp_path / "c", "bert")
    change(model_type="deberta-v2")(folder)
    with pytest.raises(WeightsError, match="the only format supported for DebertaV3"):
        made(folder, "deberta-v2")


@pytest.mark.parametrize("name", [spec.name for spec in TEXTS if spec.weights[0].kind == "preset"])
def test_a_preset_that_cannot_be_had_says_what_to_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                     ) -> None:
    spec = specs()[name]

    def no_network(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", no_network)
    with pytest.raises(WeightsError) as told:
        spec.build(BuildOptions("preset"))
    preset = spec.weights[0].origin.split()[2]
    handle = BUILTIN_PRESETS[preset]["kaggle_handle"]
    for part in (preset, handle, "no route to host", "`weights`", "the backbone minilm"):
        assert part in str(told.value)
    assert "and more" not in str(told.value)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    assert spec.weights[0].find() is None
    place = tmp_path / "models" / handle.removeprefix("kaggle://")
    (place.parent / ".complete" / place.name).mkdir(parents=True)
    place.mkdir()
    (place / "model.weights.h5").touch()
    assert spec.weights[0].find() is None  # a download that was not finished
    (place.parent / ".complete" / place.name / "model.weights.h5.complete").touch()
    assert spec.weights[0].find() == place / "model.weights.h5"


@pytest.mark.slow
def test_specs_say_what_kerashub_says() -> None:
    """KerasHub counts BERT's pooler, which is not in the network unless asked for."""
    for spec in TEXTS:
        if spec.weights[0].kind == "preset":
            about = BUILTIN_PRESETS[spec.weights[0].origin.split()[2]]
            pooler = spec.dim * (spec.dim + 1) if spec.name.startswith("bert") else 0
            assert about["metadata"]["params"] == spec.parameters + pooler


def test_memory_is_estimated_as_it_was_measured() -> None:
    """MiB of peak resident memory above the libraries' own, TensorFlow 2.21, 2 cores, float32, AdamW, no XLA: a process
    each, the third step or batch of 3, on batches of random tokens."""
    bert, mini = specs()["bert_base"].parameters, specs()["minilm"].parameters
    for parameters, training, batch, length, layers, measured in (
            (bert, 0, 32, 128, 12, 784), (bert, 0, 64, 256, 12, 1339), (bert, bert, 16, 128, 12, 4857),
            (bert, bert, 8, 256, 12, 5228), (bert, bert, 4, 128, 12, 2796), (bert, 42_528_002, 16, 128, 12, 2657),
            (bert, 14_177_282, 16, 128, 12, 1364), (mini, 0, 32, 128, 6, 280), (mini, mini, 32, 128, 6, 2106),
            (mini, mini, 16, 256, 6, 2522)):
        needed = memory_needed(parameters, training, batch, length, 768 if layers == 12 else 384, layers)
        assert 0.94 < needed / 2**20 / measured < 1.13


@pytest.mark.slow
def test_random_weights_need_no_folder() -> None:
    found = specs()["minilm"].build(BuildOptions("none", pooling="cls"))
    assert found.model.count_params() == specs()["minilm"].parameters
    assert answer(found.model, [[2, 9, 9, 3]]).shape == (1, 384)


def test_the_bundled_folder_is_checked_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = minilm.bundled()
    assert path is not None, "the package with the weights is one of the dependencies"
    copy = tmp_path / "model"
    copy.mkdir()
    for name in minilm.SHA256:
        (copy / name).symlink_to(path.with_name(name))
    monkeypatch.setattr(minilm, "bundled", lambda: copy / path.name)
    assert minilm.folder() == copy
    (copy / "vocab.txt").unlink()
    with pytest.raises(WeightsError, match="vocab.txt is missing"):
        minilm.folder()
    (copy / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(WeightsError, match=f"(?s)vocab.txt has SHA-256 .* SHA-256 {minilm.SHA256['vocab.txt']}"):
        minilm.folder()
    monkeypatch.setattr(minilm, "bundled", lambda: None)
    with pytest.raises(WeightsError, match="kerastl weights minilm"):
        specs()["minilm"].build(BuildOptions("bundled"))
