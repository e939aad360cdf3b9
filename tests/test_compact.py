"""A SavedModel's graph in fewer bytes: it answers as before, wherever it is loaded."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kerastl.export.chunks import checked_shape
from kerastl.export.compact import FILE, compact

SPEC = tf.TensorSpec([None, 3], tf.float32, name="values")
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3) - 5


class Module(tf.Module):
    """Functions in functions, equal ones, loops, a table and variables."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = [tf.Variable(np.full((3, 3), i + 1, np.float32), name=f"a_long_name_{i}") for i in range(4)]
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([0, 1], ["zero", "one"]), "many")

        @tf.function(input_signature=[tf.TensorSpec([3])], autograph=False)
        def row(values: tf.Tensor) -> tf.Tensor:
            for weight in self.weights:
                values = tf.cond(values[0] > 0, lambda values=values, weight=weight: values @ weight
                                 if values.shape.rank == 2 else tf.linalg.matvec(weight, values),
                                 lambda values=values: tf.abs(values) + 1)
            return values

        def serve(values: tf.Tensor) -> dict[str, tf.Tensor]:
            values = checked_shape(values, SPEC)
            result = tf.map_fn(row, values)
            return {"result": result, "name": self.table.lookup(tf.cast(values[:, 0] > 0, tf.int32))}

        self.serve = tf.function(serve, input_signature=[SPEC], autograph=False)
        self.other = tf.function(lambda values: {"result": tf.map_fn(row, values)}, input_signature=[SPEC],
                                 autograph=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A SavedModel as TensorFlow writes it, and the same made compact."""
    before, after = (tmp_path_factory.mktemp("saved") / name for name in ("before", "after"))
    module = Module()
    tf.saved_model.save(module, str(before), {"serving_default": module.serve, "other": module.other})
    shutil.copytree(before, after)
    compact(after)
    return before, after


def answers(folder: Path) -> dict[str, Any]:
    signatures = tf.saved_model.load(str(folder)).signatures
    return {f"{name} {key}": value.numpy() for name in ("serving_default", "other")
            for key, value in signatures[name](values=tf.constant(ROWS)).items()}


@pytest.mark.slow
def test_a_loaded_model_answers_the_same_in_fewer_bytes(folders: tuple[Path, Path]) -> None:
    before, after = map(answers, folders)
    assert before.keys() == after.keys() and all((before[key] == after[key]).all() for key in before)
    assert set(before["serving_default name"].tolist()) == {b"zero", b"one"}
    sizes = [(folder / FILE).stat().st_size for folder in folders]
    assert sizes[1] < 0.6 * sizes[0]  # of large graphs, a third


@pytest.mark.slow
def test_a_session_as_tf_serving_has_it_answers_the_same(folders: tuple[Path, Path]) -> None:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(folders[1])).signature_def["serving_default"]
        result = session.run(signature.outputs["result"].name, {signature.inputs["values"].name: ROWS})
    assert (result == answers(folders[0])["serving_default result"]).all()


def test_signatures_and_the_names_in_their_messages_stay(folders: tuple[Path, Path]) -> None:
    signatures = [tf.saved_model.load(str(folder)).signatures["serving_default"] for folder in folders]
    before, after = ((one.structured_input_signature, one.structured_outputs) for one in signatures)
    assert str(before) == str(after)
    with pytest.raises(tf.errors.InvalidArgumentError, match="values_must_be_a_list_of_inputs"):
        signatures[1](values=tf.constant(ROWS[0]))


def test_the_fingerprint_is_that_of_the_file(folders: tuple[Path, Path]) -> None:
    before, after = (tf.saved_model.experimental.read_fingerprint(str(folder)) for folder in folders)
    assert before.saved_model_checksum != after.saved_model_checksum
    assert before.checkpoint_hash == after.checkpoint_hash
