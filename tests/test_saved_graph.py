"""A version's graph is checked before it is loaded: what reads or writes files, or runs Python, needs the user's trust.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers operations
from tensorflow.core.protobuf import saved_model_pb2
from text_folders import hugging_face_folder

import kerastl as tl
from kerastl.errors import ModelError
from kerastl.files import file_sha256
from kerastl.inputs import vocabulary
from kerastl.inputs.texts import Texts
from kerastl.versions.operations import ALLOWED
from kerastl.versions.saved_graph import check_graph, check_tflite, operations

Shell = Callable[..., tuple[int, str, str]]


class Served(tf.Module):
    """Answers as a model of images would; `work` runs beside."""

    def __init__(self, classes: list[str], work: Callable[[tf.Tensor], tf.Operation | tf.Tensor]) -> None:
        super().__init__()
        self.weight = tf.Variable(1.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
        def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([work(image_bytes)]):
                p = self.weight * tf.ones([tf.shape(image_bytes)[0], len(classes)]) / len(classes)
            label = tf.repeat(tf.constant(classes[:1]), tf.shape(image_bytes)[0])
            return {"label": label, "score": p[:, 0], "top_labels": label[:, None], "top_scores": p[:, :1],
                    "probabilities": p}

        self.serve = serve


def model_with(trained: Path, folder: Path, work: Callable[[tf.Tensor], tf.Operation | tf.Tensor]) -> Path:
    shutil.copytree(trained, folder / "m/1", ignore=shutil.ignore_patterns("tflite", "variables", "saved_model.pb"))
    module = Served(["blue", "green", "red"], work)
    tf.saved_model.save(module, str(folder / "m/1"), signatures={"serving_default": module.serve})
    manifest = json.loads((folder / "m/1/manifest.json").read_text())
    manifest["files"]["saved_model.pb"] = file_sha256(folder / "m/1/saved_model.pb")
    (folder / "m/1/manifest.json").write_text(json.dumps(manifest))
    return folder / "m/1"


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def deep(path: tf.Tensor) -> tf.Tensor:
    return tf.cond(tf.equal(path, ""), lambda: tf.constant(b""), lambda: tf.io.read_file(path))


@pytest.mark.slow
@pytest.mark.parametrize(("work", "name"), [
    (lambda sent: tf.io.write_file("PWNED", "x"), "WriteFile"),
    (lambda sent: tf.map_fn(lambda one: deep("/etc/hostname"), sent), "ReadFile"),
    (lambda sent: tf.io.matching_files("/*"), "MatchingFiles"),
    (lambda sent: tf.py_function(lambda: None, [], []), "EagerPyFunc"),
    (lambda sent: tf.print("x", output_stream="file://PWNED"), "PrintV2"),
    (lambda sent: tf.raw_ops.Save(filename="PWNED", tensor_names=["x"], data=[tf.constant(1)]), "Save"),
])
def test_a_graph_that_does_more_than_compute_is_refused(work: Callable[[tf.Tensor], tf.Tensor], name: str,
                                                        trained: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = model_with(trained, tmp_path, work)
    with pytest.raises(ModelError, match=rf"\b{name}\b") as raised:
        tl.load(model)
    assert "`trust`" in str(raised.value) and not (tmp_path / "PWNED").exists()


@pytest.mark.slow
def test_trust_loads_it_and_a_graph_that_only_computes_needs_none(trained: Path, tmp_path: Path, images: Path,
                                                                   monkeypatch: pytest.MonkeyPatch, shell: Shell
                                                                   ) -> None:
    monkeypatch.chdir(tmp_path)
    image = next(images.rglob("*.png"))
    model = model_with(trained, tmp_path / "a", lambda sent: tf.io.write_file(str(tmp_path / "PWNED"), "x"))
    code, _, err = shell("predict", model, image)
    assert code == 2 and "WriteFile" in err and "--trust" in err and not (tmp_path / "PWNED").exists()
    assert tl.load(model, trust=True).predict([image])[0].label == "blue" and (tmp_path / "PWNED").exists()
    assert tl.load(model_with(trained, tmp_path / "b", lambda sent: tf.size(sent))).predict([image])


def test_what_only_the_saver_does_does_not_count(trained: Path) -> None:
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((trained / "saved_model.pb").read_bytes())
    everything = {node.op for function in saved.meta_graphs[0].graph_def.library.function for node in function.node_def}
    assert "RestoreV2" in everything and "SaveV2" not in everything
    assert operations(saved.meta_graphs[0]) <= ALLOWED and not {"SaveV2", "RestoreV2"} & ALLOWED
    check_graph(trained)
    for path in (trained / "tflite").glob("*.tflite"):
        check_tflite(str(path), path.read_bytes())


def test_a_saved_model_of_tensorflow_1_is_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "saved_model.pb", tmp_path)
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((trained / "saved_model.pb").read_bytes())
    saved.meta_graphs[0].ClearField("object_graph_def")  # its loader would run whatever the file calls the saver
    (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
    with pytest.raises(ModelError, match="TensorFlow 2"):
        check_graph(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_the_tokenizers_only_compute(family: str, tmp_path: Path) -> None:
    source = Texts(vocabulary.read(hugging_face_folder(tmp_path / "w", family)), 16, "head+tail")
    module = tf.Module()
    module.tables = source.tables()
    module.serve = tf.function(lambda text: {"tokens": source.decode(text)[0]}, input_signature=[source.raw_spec],
                               autograph=False)
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.serve})
    check_graph(tmp_path / "m")


def test_no_operation_that_is_allowed_touches_files_or_python() -> None:
    for word in ("File", "Py", "Save", "Restore", "Dataset", "Print", "Rpc", "Reader", "Summary", "Queue", "Send"):
        assert not [name for name in ALLOWED if word in name], word
