"""What the tests share: small folders of images, a tiny backbone dropped in as a file, one run of a recipe on it."""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kerastl.backbones
import kerastl.heads
from kerastl.cli import main
from kerastl.server.memory import keep_imports, return_memory
from kerastl.shell import recipes as finding

HERE = Path(__file__).parent
ROOT = HERE.parent
# A backbone and a head, each one file put beside ours; nothing else is edited. Here and not in a fixture, so that the
# sweeping tests, which ask for names when they are collected, take them up.
kerastl.backbones.__path__.append(str(HERE / "dropin/backbones"))
kerastl.heads.__path__.append(str(HERE / "dropin/heads"))

GROWTH = 600  # MB
COLOURS = {"red": (200, 60, 60), "green": (60, 180, 60), "blue": (60, 80, 210)}


def pytest_collection_finish() -> None:
    """Half a million objects of imported packages are here to stay: Python no longer looks for cycles among them."""
    keep_imports()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test touches the user's cache or data directory."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield folder


@pytest.fixture(autouse=True)
def memory_is_returned(after_collection: list[int]) -> Iterator[None]:
    """A graph is part of a cycle, so that what a test compiled or loaded, 100 MB and more, stays until Python looks for
    cycles, which it does by counting small objects. Linux alone tells how much memory is in use."""
    yield
    statm = Path("/proc/self/statm")
    in_use = int(statm.read_text().split()[1]) // 256 if statm.exists() else 0  # MB, for pages of 4 KB
    if in_use > after_collection[0] + GROWTH:
        return_memory()
        after_collection[0] = int(statm.read_text().split()[1]) // 256


@pytest.fixture(scope="session")
def after_collection() -> list[int]:
    """The memory in use, in MB, after cycles were last collected; at first that of the imports."""
    return [900]


@pytest.fixture(autouse=True)
def graphs_outlive_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow drops every compiled graph when it is seeded, also the image decoder's, which takes two seconds of
    every run of a recipe. So it is seeded only with another number. Keras, NumPy and Python are seeded as ever, and the
    package itself draws from no other generator."""
    if "tensorflow" not in sys.modules:
        return
    import tensorflow as tf
    from tensorflow.python.eager import context

    seed_anew = tf.random.set_seed
    monkeypatch.setattr(tf.random, "set_seed", lambda seed: None if seed == context.global_seed() else seed_anew(seed))


@pytest.fixture(scope="session", autouse=True)
def dropped_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A recipe of one file put beside ours."""
    folder = tmp_path_factory.mktemp("recipes")
    for path in [*finding.recipes().values(), HERE / "dropin/recipes/tiny_images.py"]:
        shutil.copy(path, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finding, "recipes_folder", lambda: folder)
        yield folder


def draw(path: Path, colour: tuple[int, int, int], seed: int, size: int = 40) -> None:
    """A noisy image of one colour; every seed gives other content."""
    noise = np.random.default_rng(seed).normal(0, 25, (size, size, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)).save(path)


def draw_folder(root: Path, per_class: int, classes: dict[str, tuple[int, int, int]] = COLOURS, seed: int = 0) -> Path:
    """`root/<class>/<number>.png`, as many of each class."""
    for c, (name, colour) in enumerate(classes.items()):
        for i in range(per_class):
            draw(root / name / f"{i}.png", colour, seed + 10_000 * c + i)
    return root


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 14 images."""
    return draw_folder(tmp_path_factory.mktemp("images"), 14)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process: its exit code, standard output and standard error."""

    def run(*words: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as stopped:  # how tyro ends after help and bad flags
            code = int(stopped.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, images: Path, dropped_in: Path) -> Path:
    """A version of a model of the tiny recipe, with all TFLite kinds. Tests that change it copy it first."""

    def train(out: Path) -> None:
        words = ["run", "tiny_images", "--data", str(images), "--name", "tiny", "--out", str(out), "--weights", "none"]
        assert main(words) in (0, 1)

    return made_once(tmp_path_factory, "models", train) / "tiny" / "1"


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first process of a test run that asks for it fills by `make`, and that the others use."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / name
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / f"{name}.made").exists():
            make(folder)
            (root / f"{name}.made").touch()
    return folder
