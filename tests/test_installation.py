"""kerastl as a user gets it: the wheel's content, the installed command in an empty folder, `python -m kerastl`."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import HERE, draw_folder
from text_folders import hugging_face_folder

import kerastl

ROOT = Path(kerastl.__file__).parent.parent
Command = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(
        ".*", "samples", "saved_models", "*.egg-info", "tests", "build"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
                    "--disable-pip-version-check", "-w", folder, copy], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs a program of a fresh environment, which has the wheel installed, in an empty folder that lies elsewhere.

    The environment sees the packages of the one that runs the tests, but not the checkout: the wheel is installed while
    nothing else is there, and comes first.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env/bin/python"
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index",
                    "--disable-pip-version-check", wheel], check=True)
    site = next((folder / "env/lib").glob("python*/site-packages"))
    shared = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "shared.pth").write_text("".join(f"{path}\n" for path in shared))  # .pth files in these are not read
    work = folder / "work"
    work.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(program: str, *words: object) -> str:
        done = subprocess.run([python.with_name(program), *map(str, words)], cwd=work, env=environment,
                              capture_output=True, text=True)
        assert done.returncode == 0, f"{program} {words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    home = run("python", "-c", "import kerastl; print(kerastl.__file__)").strip()
    assert Path(home).is_relative_to(site), "the test would run something else than the wheel"
    return run


@pytest.mark.slow
def test_the_wheel_carries_every_module_the_recipes_the_pages_and_nothing_large(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "kerastl").rglob("*")
             if path.suffix in (".py", ".html", ".js", ".css") or path.name in ("py.typed", "LICENSE")
             if "node_modules" not in path.parts}  # of `make web`
    recipes = {f"kerastl/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.py")}
    assert {"kerastl/py.typed", "kerastl/report/report.html"} <= files and recipes
    assert {name for name in names if ".dist-info/" not in name} == files | recipes


def test_python_m_kerastl_is_the_command() -> None:
    command = [sys.executable, "-m", "kerastl"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"kerastl {kerastl.__version__}\n"), done.stderr
    assert subprocess.run([*command, "no_such_verb"], capture_output=True).returncode == 2


@pytest.mark.slow
def test_an_installed_kerastl_knows_its_version_and_its_recipes(installed: Command) -> None:
    assert installed("kerastl", "--version") == f"kerastl {kerastl.__version__}\n"
    listed = json.loads(installed("kerastl", "recipes", "--json"))["recipes"]
    assert {recipe["name"] for recipe in listed} == {path.stem for path in (ROOT / "recipes").glob("[!_]*.py")}
    assert not [recipe for recipe in listed if not Path(recipe["path"]).is_file() or str(ROOT) in recipe["path"]]


@pytest.mark.slow
def test_an_installed_kerastl_trains_on_images_and_predicts(installed: Command, tmp_path: Path) -> None:
    images = draw_folder(tmp_path / "images", 12)
    run = json.loads(installed("kerastl", "run", "efficientnet_lite_images", "--data", images, "--name", "images",
                               "--weights", "none", "--backbone", HERE / "dropin/backbones/tiny_net.py", "--tflite",
                               "none", "--json"))
    assert run["n_test"] == 36 and run["path"] == "saved_models/images/1"
    answers = json.loads(installed("python", "-m", "kerastl", "predict", "saved_models/images", images, "--json"))
    assert len(answers["predictions"]) == 36 and {row["label"] for row in answers["predictions"]} <= set(run["classes"])


@pytest.mark.slow
def test_an_installed_kerastl_trains_on_texts_and_predicts(installed: Command, tmp_path: Path) -> None:
    table = tmp_path / "texts.csv"
    rows = [f"a good film {i},fine\na dull scene {i},poor\n" for i in range(12)]
    table.write_text("text,label\n" + "".join(rows))
    weights = hugging_face_folder(tmp_path / "bert", "bert")
    run = json.loads(installed("kerastl", "run", "bert_text", "--data", table, "--name", "texts", "--weights", weights,
                               "--unfreeze", "0", "--tflite", "none", "--json"))
    assert run["n_test"] == 24 and run["path"] == "saved_models/texts/1"
    answers = json.loads(installed("kerastl", "predict", "saved_models/texts", "a good film", table, "--json"))
    assert len(answers["predictions"]) == 25 and {row["label"] for row in answers["predictions"]} == {"fine", "poor"}
