"""The reference tokenizer beside a TFLite file gives the ids that the model's own graph gives, for every kind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from kerastl.export import reference_tokenizer
from kerastl.inputs import vocabulary
from kerastl.inputs.packing import pack
from kerastl.inputs.tokenizer import TokenIds

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).parent / "golden/tokenizers"
FOLDERS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
PAIRS = [("short", "a much longer text that has to give way first"), ("", ""), ("one two three four five six", "seven")]


def strings() -> list[str]:
    found = json.loads((GOLDEN / "strings.json").read_text())
    return [one for one in found if isinstance(one, str)]


@pytest.mark.parametrize("name", FOLDERS)
def test_the_reference_gives_the_graphs_ids(name: str, tmp_path: Path) -> None:
    tokenizer = vocabulary.read(GOLDEN / name)
    vocabulary.save(tokenizer, tmp_path)
    graph = TokenIds(tokenizer)
    texts = strings()
    assert len(texts) > 150
    encoded = tf.constant([one.encode("utf-8", "surrogatepass") for one in texts])
    wanted = pack(graph(encoded), tokenizer, 1000)[0].numpy().tolist()
    for text, ids in zip(texts, wanted, strict=True):
        assert reference_tokenizer.tokens(tmp_path, text, length=len(ids)) == ids, repr(text)
    for first, second in PAIRS:
        for length in (8, 16, 60):
            both = graph(tf.constant([first])), graph(tf.constant([second]))
            ids = pack(both, tokenizer, length)[0].numpy()[0].tolist()
            given = reference_tokenizer.tokens(tmp_path, first, second, length)
            assert given[:len(ids)] == ids and set(given[len(ids):]) <= {tokenizer.pad}


def test_it_runs_alone_beside_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = vocabulary.read(GOLDEN / "bert-uncased")
    vocabulary.save(tokenizer, tmp_path / "tokenizer")
    script = tmp_path / "tflite/tokenize_text.py"
    script.parent.mkdir()
    script.write_bytes(Path(reference_tokenizer.__file__).read_bytes())
    done = subprocess.run([sys.executable, "-I", script, "a text", "and another"], capture_output=True, text=True,
                          check=True)
    ids = [int(word) for word in done.stdout.split()]
    assert (ids[0],) == tokenizer.start and ids.count(*tokenizer.end) == 2
