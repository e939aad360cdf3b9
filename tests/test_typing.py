"""A user's program is checked by mypy in strict mode: every public name has its real type."""

import subprocess
import sys
from pathlib import Path

import pytest

GOOD = '''
from pathlib import Path

import kerastl

record = kerastl.classify_images("photos", name="flowers", backbone="inception_v3", head="mlp:hidden=64", search=5)
accuracy: float = record.test.accuracy
low, high = record.test.accuracy_ci95
classifier = kerastl.load(Path(record.path))
labels: list[str] = [prediction.label for prediction in classifier.predict(["a.jpg", b"bytes"])]

runtime = kerastl.apply_runtime(seed=1)
examples = kerastl.split(kerastl.read_texts("reviews.csv"))
backbone = kerastl.fit_length(kerastl.load_backbone("minilm"), examples)
features = kerastl.compute_features(examples, backbone, runtime, cache_dir=kerastl.cache_dir(None))
rows: int = len(features.examples)
'''
BAD = {
    'kerastl.classify_images("photos", nme="flowers")': "nme",
    'kerastl.classify_texts("reviews.csv", name="r", epochs="many")': "epochs",
    'kerastl.load("saved_models/m").predict_all([])': "predict_all",
    'kerastl.no_such_name': "no_such_name",
}


def mypy(program: str, folder: Path) -> tuple[int, str]:
    path = folder / "program.py"
    path.write_text(program)
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--ignore-missing-imports",
                           "--follow-imports", "silent", "--cache-dir", str(folder / "cache"), str(path)],
                          capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_types_of_public_names_reach_a_users_program(tmp_path: Path) -> None:
    code, output = mypy(GOOD, tmp_path)
    assert code == 0, output
    lines = ["import kerastl", *BAD]
    code, output = mypy("\n".join(lines) + "\n", tmp_path)
    assert code == 1
    for number, word in enumerate(BAD.values(), 2):
        assert any(f"program.py:{number}: error" in line and word in line for line in output.splitlines()), output
