"""Taggers on the Turkish web treebank and on a made-up language, for docs/results.md."""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
COLUMNS = ("data", "head", "test sentences, words", "accuracy (95% CI)", "on unknown words", "most frequent tag",
           "same head, random network", "seconds of states, head")
TREEBANK = "samples/treebank"
ENDINGS = {"NOUN": "um", "VERB": "it", "ADJ": "os"}  # of the made-up language


def made_up(path: Path, sentences: int = 1500) -> None:
    """A language whose words are random syllables, most of them new in each sentence: their endings say the tag. A
    language model for another language knows nothing of it, and need not."""
    generator, lines = random.Random(0), []
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    for _ in range(sentences):
        for tag in generator.choices(list(ENDINGS), k=generator.randint(4, 12)):
            stem = "".join(generator.choices(syllables, k=2))
            lines.append(f"{stem}{ENDINGS[tag]}\t{tag}\n")
        lines.append("\n")
    path.write_text("".join(lines), encoding="utf-8")


def run(out: str, data: str | Path, *more: object) -> dict[str, Any]:
    """The run record of the recipe."""
    words = ["run", "tag_tokens", "--data", str(data), "--name", "tags", "--out", out, "--tflite", "none",
             *map(str, more), "--json"]
    print("kerastl", *words, file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "kerastl", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    if done.returncode:
        raise SystemExit(f"{words} ended with exit code {done.returncode}")
    return dict(json.loads(done.stdout))


def as_rows() -> Iterator[tuple[object, ...]]:
    """A row for each data set and head."""
    with tempfile.TemporaryDirectory() as out:
        language = Path(out) / "made_up.tsv"
        made_up(language)
        for name, data, more in (
                ("Turkish web treebank, part of speech", TREEBANK, ("--head", "linear", "--epochs", 30)),
                ("Turkish web treebank, part of speech", TREEBANK,
                 ("--head", "bilstm", "--no-untrained", "--epochs", 15)),
                ("made-up language", language, ("--head", "linear", "--pieces", "mean", "--epochs", 30))):
            record = run(out, data, *more)
            test, other = record["test"], record["untrained"]
            low, high = test["accuracy_ci95"]
            yield (name, record["head"], f"{test['sentences']:,}, {test['n']:,}",
                   f"{test['accuracy']:.3f} ({low:.3f} to {high:.3f})", f"{test['unknown_accuracy']:.3f}",
                   f"{record['baseline']['accuracy']:.3f}",
                   f"{other['accuracy']:.3f}" if other else "not measured",
                   f"{record['seconds']['features']:.0f}, {record['seconds']['head']:.0f}")
