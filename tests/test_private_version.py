"""A private version: what it contains follows from what was released, and from nothing else."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_folder

import kerastl as tl
from kerastl.modality import IMAGE
from kerastl.pipelines import privately
from kerastl.privacy import fit as fitting
from kerastl.versions.record import RunRecord

pytestmark = pytest.mark.slow  # test_privacy.py is quick
CLASSES = "red,green,blue"
# Every file that a private version may hold. Those that contain released numbers, or what follows from them:
RELEASED = {"run.json", "report.html", "MODEL_CARD.md", "manifest.json", "model.keras", "saved_model.pb",
            "fingerprint.pb", "variables/variables.index", "variables/variables.data-00000-of-00001",
            "tflite/model_fp32.tflite", "tflite/test_vectors/vectors.json"}
PUBLIC_FILES = {"labels.txt", "assets.extra/tf_serving_warmup_requests", "tflite/classify_image.py"} | {
    f"tflite/test_vectors/{name}{ending}.png" for name in ("shrinks", "grows", "wide", "transparent")
    for ending in ("", "_expected")}
# Keys of run.json that are released, follow from the released head, or from the time of day.
RELEASED_KEYS = {"n_train", "n_test", "test", "parity"}


class Fixed:
    """Entropy that is the same each time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, n: int) -> bytes:
        self.calls += 1
        return hashlib.shake_256(f"test {self.calls}".encode()).digest(n)


def arguments_for(data: Path, out: Path, cache: Path, **more: Any) -> dict[str, Any]:
    values = {name: parameter.default for name, parameter in signature(tl.classify_images).parameters.items()}
    return values | {"data": str(data), "name": "m", "out": str(out), "cache_dir": str(cache), "backbone": "tiny_net",
                     "weights": "none", "tflite": "fp32", "private": "epsilon=8", "classes": CLASSES} | more


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def timeless(document: dict[str, Any]) -> dict[str, Any]:
    """run.json without the latency of made-up inputs, and without the sizes of artifacts: TensorFlow numbers the
    functions of a process on and on, and a longer number is a longer name."""
    return document | {"parity": [part | {"milliseconds": 0, "bytes": 0} for part in document["parity"]]}


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three versions with the same noise: of data, of the data without one training group, and of these with what was
    released of the former."""
    root = tmp_path_factory.mktemp("proof")
    data, out = draw_folder(root / "data", 40), root / "out"
    made: dict[str, Any] = {}
    real, released = fitting.fit_private, []

    taken, real_rows = [], fitting.rows_of

    def rows_of(*given: Any, **more: Any) -> Any:
        taken.append(real_rows(*given, **more))
        return taken[-1]

    def kept(*given: Any, **more: Any) -> Any:
        released.append(real(*given, **more))
        return released[-1]

    def run(name: str) -> None:
        privately(IMAGE, arguments_for(data, out, root / "cache"), entropy=Fixed())
        made[name] = contents(out / "m" / "1")
        shutil.rmtree(out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "fit_private", kept)
        patch.setattr(fitting, "rows_of", rows_of)
        run("all")
        examples = tl.split(tl.read_images(data, min_per_class=0), "holdout")
        made["ids"] = set(examples.ids)
        row = examples.split.names.index("train")
        Path(str(examples.items[row])).unlink()
        run("without a group")
        patch.setattr(fitting, "fit_private", lambda *given, **more: (kept(*given, **more), released[0])[1])
        made["rows"] = [{(name, int(y), x.tobytes()) for name, y, x in zip(rows.groups, rows.y, rows.x, strict=True)}
                        for rows in taken]
        run("others' release")
    assert len(released) == 3 and len(released[0].head.kernel) == len(released[1].head.kernel)
    made["changed"] = np.abs(released[0].head.kernel - released[1].head.kernel).max()
    return made


def test_a_version_holds_these_files_and_no_other(proof: dict[str, Any]) -> None:
    assert set(proof["all"]) == RELEASED | PUBLIC_FILES


def test_the_fitter_gets_the_same_numbers_of_the_other_groups(proof: dict[str, Any]) -> None:
    """Features that were scaled, weighted or chosen by the data would differ in all of them."""
    training, held_out, fewer, same = proof["rows"]
    assert fewer < training and len(training - fewer) == 1 and held_out == same and held_out


def test_one_training_group_changes_only_what_was_released(proof: dict[str, Any]) -> None:
    before, after = proof["all"], proof["without a group"]
    assert proof["changed"] > 0  # else this proves nothing
    assert {name for name in before if before[name] != after[name]} <= RELEASED
    old, new = (json.loads(files["run.json"]) for files in (before, after))
    assert {key for key in old if old[key] != new[key]} <= RELEASED_KEYS
    assert set(old["test"]) == set(new["test"])
    assert {key for key in old["test"] if old["test"][key] != new["test"][key]} <= {"n", "accuracy", "accuracy_ci95"}


def test_with_the_same_release_other_data_give_the_same_version(proof: dict[str, Any]) -> None:
    """Nothing but the release depends on the data: not a byte, apart from the time of day, latencies, and the order in
    which TensorFlow numbers its functions."""
    before, after = proof["all"], proof["others' release"]
    different = {name for name in before if before[name] != after[name]}
    assert different <= {"run.json", "manifest.json", "MODEL_CARD.md", "model.keras", "saved_model.pb",
                         "fingerprint.pb", "variables/variables.index", "tflite/model_fp32.tflite"}
    assert before["tflite/test_vectors/vectors.json"] == after["tflite/test_vectors/vectors.json"]  # what it answers
    old, new = (timeless(json.loads(files["run.json"])) for files in (before, after))
    sizes = [[part["bytes"] for part in json.loads(files["run.json"])["parity"]] for files in (before, after)]
    assert old == new
    assert np.abs(np.subtract(*sizes)).max() <= 512  # bytes: names of layers and functions
    manifests = [json.loads(files["manifest.json"]) for files in (before, after)]
    assert {key for key in manifests[0] if manifests[0][key] != manifests[1][key]} <= {"made", "files"}
    cards = [[line for line in files["MODEL_CARD.md"].decode().splitlines()
              if not line.startswith(("Latency", "| `"))] for files in (before, after)]
    assert cards[0] == cards[1]
    assert before["variables/variables.data-00000-of-00001"] == after["variables/variables.data-00000-of-00001"]


def test_no_row_of_the_data_is_named_anywhere(proof: dict[str, Any]) -> None:
    """Nor its hash, nor any image."""
    assert proof["ids"] and not {content for content in proof["ids"] for file in proof["all"].values()
                                 if content.encode() in file or bytes.fromhex(content) in file}
    assert b"<img" not in proof["all"]["report.html"]
    document = json.loads(proof["all"]["run.json"])
    assert document["counts"] == {} and document["left_out"] == [] and document["data_summary"] is None
    assert document["reproduction"] is None and document["seconds"] == {} and document["test"]["confusion"] == []
    assert "data" not in json.loads(proof["all"]["manifest.json"])


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory, dropped_in: Path) -> Path:
    root = tmp_path_factory.mktemp("private")
    data = draw_folder(root / "data", 30)
    record = tl.classify_images(data, name="p", out=root / "out", backbone="tiny_net", weights="none", tflite="none",
                                private="epsilon=20,delta=1e-3", classes=CLASSES, cache_dir=root / "cache")
    return Path(record.path)


def test_a_class_needs_no_row(version: Path, tmp_path: Path) -> None:
    """A run that ended with an error would tell of the data."""
    root = version.parents[2]
    record = tl.classify_images(root / "data", name="p", out=tmp_path / "out", backbone="tiny_net", weights="none",
                                tflite="none", private="epsilon=20,delta=1e-3", classes="purple," + CLASSES,
                                cache_dir=root / "cache")
    assert record.classes == ("purple", *CLASSES.split(",")) and record.private is not None


def test_the_record_the_card_and_the_report_say_the_same(version: Path) -> None:
    record = RunRecord.read(version)
    private = record.private
    assert private is not None and private.epsilon == 20 and private.delta == 1e-3
    assert private.neighbours == "add or remove one group" and private.entropy == "operating system"
    assert RunRecord.from_dict(record.to_dict()).to_dict() == record.to_dict()
    for page in ("MODEL_CARD.md", "report.html"):
        text = (version / page).read_text()
        assert all(word in text for word in ("epsilon 20", "0.001", "add or remove one group", "exact copies"))
    assert json.loads((version / "run.json").read_text())["test"]["macro_f1"] is None
    assert math.isnan(record.test.macro_f1) and record.task.exclusive


def test_reproduce_is_refused_with_the_reason(version: Path, shell: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = shell("reproduce", version)
    assert code == 2 and "noise came from the operating system" in err


def test_the_version_predicts_is_verified_and_evaluated_on_other_data(
        version: Path, shell: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    other = draw_folder(tmp_path / "other", 4, seed=555)
    code, out, _ = shell("verify", version)
    assert code == 0 and "private" in out
    code, out, _ = shell("evaluate", version, other, "--json")
    assert code == 0 and any("privately" in note for note in json.loads(out)["notes"])
    code, out, _ = shell("predict", version, other / "red" / "0.png")
    assert code == 0 and any(name in out for name in CLASSES.split(","))
    code, out, _ = shell("models", version.parent.parent)
    assert code == 0 and "linear" in out


def test_nobody_is_advised_to_do_what_a_private_run_refuses(
        version: Path, shell: Callable[..., tuple[int, str, str]], images: Path, tmp_path: Path) -> None:
    code, _, err = shell("drift", version, images)
    assert code == 2 and "no reference to compare inputs with" in err and "`kerastl evaluate`" in err
    assert "drift_reference" not in err and "drift-reference" not in err  # which is closed
    for words in (["--new-version"], ["--out", tmp_path / "files"], []):
        code, _, err = shell("export", version, *words, "--tflite", "fp16")
        assert code == 2 and "TFLite files are chosen when it is trained" in err, err
    card = (version / "MODEL_CARD.md").read_text()
    assert "shows some of the data" not in card and "kerastl export" not in card and "`kerastl drift`" not in card


def test_explanations_say_why_they_were_not_checked(version: Path, images: Path) -> None:
    result = tl.explain(str(version), [str(next(images.rglob("*.png")))])
    assert "would reveal training data of a private model" in result.check and "earlier version" not in result.check


def test_a_later_version_without_private_says_why_it_is_not_compared(version: Path, images: Path, tmp_path: Path
                                                                     ) -> None:
    shutil.copytree(version.parent, tmp_path / "p")
    record = tl.classify_images(images, name="p", out=tmp_path, backbone="tiny_net", weights="none", tflite="none",
                                cache_dir=tmp_path / "cache", head="linear", drift_reference="off")
    assert record.previous is not None and "`private`" in record.previous.reason


def test_an_audit_stays_below_the_bound(version: Path) -> None:
    data, cache = version.parents[2] / "data", version.parents[2] / "cache"
    result = tl.audit_privacy(version, data, shadows=4, cache_dir=str(cache))
    assert result.members + result.others == 90 and 0.9 < result.bound <= result.allowed <= 1
    assert not result.failed and {attack.name for attack in result.attacks} == {"loss threshold", "likelihood ratio"}
    with pytest.raises(tl.OptionError, match="`shadows`"):
        tl.audit_privacy(version, data, shadows=3)


def test_an_audit_needs_a_private_version(trained: Path, images: Path) -> None:
    with pytest.raises(tl.ModelError, match="not trained with `private`"):
        tl.audit_privacy(trained, images)


def test_flags_of_the_shell(shell: Callable[..., tuple[int, str, str]], images: Path, tmp_path: Path) -> None:
    words = ("run", "tiny_images", "--data", images, "--name", "n", "--out", tmp_path, "--weights", "none")
    code, _, err = shell(*words, "--private", "epsilon=1", "--target", "precision=0.9")
    assert code == 2 and "--classes is missing" in err and "--target" in err
    code, _, err = shell(*words, "--classes", CLASSES)
    assert code == 2 and "--private" in err
    code, _, err = shell("run", "side_blend_images", *words[2:], "--private", "epsilon=1", "--classes", CLASSES)
    assert code == 2 and "seeds" in err
    assert not list(tmp_path.iterdir())
