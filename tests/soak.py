"""Long checks, by hand: `make soak`, or `python tests/soak.py [MINUTES]`.

A classifier of images and one of texts, loaded once, answer mixed requests from several threads: good inputs of every
kind, bad ones, batches of 0 to 300. Each answer is compared with the one that the same input got alone. Then 2,000
damaged images go through the decoder and 200 damaged tables through their readers. Prints the figures; the exit code is
1 if an answer was wrong or a reason was not in words.
"""

import os
import platform
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import conftest  # brings the tiny backbone
import image_files
from mutants import SLANG, image_mutants
from PIL import Image
from test_table_properties import test_no_damage_crashes_a_reader
from text_folders import hugging_face_folder

import kerastl as tl
from kerastl.cli import main
from kerastl.inputs import images
from kerastl.serving.classifier import Classifier
from kerastl.serving.predictions import Prediction

THREADS, LARGEST, MUTANTS = 4, 300, 2000
CLOSE = 1e-4  # of scores: sums are in another order in a batch of another size
TEXTS = ["red", "a dog and a cat", "one two three " * 200, "RED", "café naïve", "", "   ", "\u200b", "😀", "\ud800",
         "\x00", "-awful", "docs", "=1+1", "<script>alert(1)</script>", "\u202egnitset", "one\ntwo\r\nthree", "日本語",
         "a" * 10_000]


def image_contents() -> list[bytes]:
    """Images of every kind and of several sizes, and files that are refused or damaged."""
    sizes = [(1, 1), (3, 700), (700, 3), (500, 375), (1600, 1200)]
    scaled = [image_files.jpeg(Image.fromarray(image_files.scene(*size))) for size in sizes]
    return [*image_files.made().values(), *scaled, *(data for data, _ in image_files.refused().values()),
            *(data for _, data in image_mutants(100, seed=1))]


def trained(folder: Path) -> tuple[Classifier, Classifier]:
    """A classifier of images and one of texts, both tiny, with random weights."""
    words = ["one two three", "cat dog bird", "red green blue"]
    rows = [f"{words[i % 3]} {i},{'abc'[i % 3]}" for i in range(60)]
    (folder / "texts.csv").write_text("\n".join(["text,label", *rows]))
    data = conftest.draw_folder(folder / "images", 14)
    hugging_face_folder(folder / "bert", "bert")
    shared = ["--out", folder / "models", "--cache-dir", folder / "cache", "--tflite", "none"]
    recipe = Path(__file__).parent / "dropin/recipes/tiny_images.py"
    for command in (["run", recipe, "--data", data, "--name", "images", "--weights", "none", *shared],
                    ["run", "bert_text", "--data", folder / "texts.csv", "--name", "texts", "--weights",
                     folder / "bert", *shared]):
        if code := main([str(word) for word in command]):
            raise SystemExit(code)
    return tl.load(folder / "models/images"), tl.load(folder / "models/texts")


@dataclass
class Soak:
    """Requests to a classifier. alone: the answer that each input got alone."""

    classifier: Classifier
    inputs: Sequence[Any]
    alone: Sequence[Prediction]
    wrong: list[str] = field(default_factory=list)
    requests: int = 0
    answers: int = 0

    def request(self, chance: random.Random) -> None:
        """One request of random inputs, and its answers compared."""
        size = chance.choice((0, 1, 1, 2, 8, 31, 32, 33, chance.randint(0, LARGEST), LARGEST))
        chosen = [chance.randrange(len(self.inputs)) for _ in range(size)]
        answers = self.classifier.predict_each([self.inputs[i] for i in chosen])
        if len(answers) != size:
            self.wrong.append(f"{len(answers)} answers to {size} inputs")
        for i, answer in zip(chosen, answers, strict=False):
            alone = self.alone[i]
            same = (answer.label, answer.error) == (alone.label, alone.error)
            if not same or abs(answer.score - alone.score) > CLOSE:
                self.wrong.append(f"{self.inputs[i][:40]!r}: {answer} instead of {alone}")
        self.requests, self.answers = self.requests + 1, self.answers + size


def soak_of(classifier: Classifier, inputs: Sequence[Any]) -> Soak:
    """The requests to a classifier, with the answers that each input gets alone."""
    return Soak(classifier, inputs, [classifier.predict_each([one])[0] for one in inputs])


def megabytes() -> float:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def answer(soaks: Sequence[Soak], minutes: float) -> None:
    """Send requests from several threads for so many minutes, and print the memory in between."""
    end, failures = time.monotonic() + 60 * minutes, []

    def work(number: int) -> None:
        chance = random.Random(number)
        try:
            while time.monotonic() < end:
                soaks[chance.random() < 0.5].request(chance)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    start = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        print(f"{(time.monotonic() - start) / 60:5.1f} min: {megabytes():,.0f} MiB, "
              f"{sum(soak.answers for soak in soaks):,} answers, {sum(len(soak.wrong) for soak in soaks)} wrong",
              flush=True)
        time.sleep(min(60.0, 6 * minutes, max(1.0, end - time.monotonic())))
    if failures:
        raise SystemExit(f"a request failed: {failures[0]!r}")


def damaged_images() -> list[str]:
    """The reasons that are not in words."""
    decode, outcomes, slang, slowest = images.decoder(224), Counter[str](), [], (0.0, "")
    decode(image_files.jpeg())  # the first call is slower
    for name, data in image_mutants(MUTANTS, seed=2):
        start = time.monotonic()
        result = decode(data)
        slowest = max(slowest, (time.monotonic() - start, name))
        outcomes["refused" if isinstance(result, str) else "decoded"] += 1
        if isinstance(result, str) and (SLANG.search(result) or not result.strip()):
            slang.append(f"{name}: {result}")
    print(f"damaged images: {dict(outcomes)}, the slowest {slowest[0]:.2f} s ({slowest[1]}), "
          f"{len(slang)} reasons not in words, {megabytes():,.0f} MiB", flush=True)
    return slang


def run(minutes: float) -> int:
    """All of it. Returns the exit code."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "home")
        pictures, texts = trained(folder)
        soaks = [soak_of(pictures, image_contents()), soak_of(texts, TEXTS)]
        answer(soaks, minutes)
        wrong = [line for soak in soaks for line in soak.wrong]
        for soak, noun in zip(soaks, ("images", "texts"), strict=True):
            print(f"{noun}: {soak.requests:,} requests, {soak.answers:,} answers, {len(soak.wrong)} wrong; "
                  f"{sum(bool(alone.error) for alone in soak.alone)} of {len(soak.inputs)} inputs have no answer")
        slang = damaged_images()
        test_no_damage_crashes_a_reader(folder)
        print("damaged tables: 200, each read or refused by its name")
    print(*[*wrong, *slang][:20], sep="\n")
    return 1 if wrong or slang else 0


if __name__ == "__main__":
    raise SystemExit(run(float(sys.argv[1]) if len(sys.argv) > 1 else 8.0))
