"""The documentation: its output is what the commands print, its links lead somewhere, its code runs."""

import dataclasses
import importlib
import json
import re
import shlex
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_folder

from kerastl.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")] + sorted(
    (ROOT / "docs").rglob("*.md"))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def test_the_tests_that_the_threat_model_names_are_there() -> None:
    names = re.findall(r"`tests/(\w+\.py)(?:::(\w+))?`", (ROOT / "docs/security.md").read_text())
    assert len(names) > 20
    for file, name in names:
        assert f"def {name}" in (ROOT / "tests" / file).read_text()


@pytest.mark.slow
def test_the_output_in_the_documentation_is_what_the_commands_print() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs/output.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, f"regenerate it: python docs/output.py --quick\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_in_the_documentation_are_verbs_with_known_options(page: Path, capsys: pytest.CaptureFixture[str]
                                                                   ) -> None:
    commands = [shlex.split(line, comments=True)[2:] for line in page.read_text().replace("\\\n", " ").splitlines()
                if line.startswith("$ kerastl ") and "--help" not in line]
    for verb, *rest in commands:
        argv = [verb, rest[0], "--help-all"] if verb == "run" and rest else [verb, "--help-all"]
        with pytest.raises(SystemExit) as stopped:
            raise SystemExit(main(argv))
        known = capsys.readouterr().out
        assert stopped.value.code == 0, f"kerastl {verb}"
        for word in rest:
            if word.startswith("--"):
                assert re.search(rf"{word}\b", known), f"kerastl {verb} has no option {word}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        if link.startswith("http"):
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} leads nowhere"
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, link


def test_each_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    missing = [name for name in NAMES if name.startswith("docs/") and name != "docs/README.md"
               and f"({name.removeprefix('docs/')})" not in index]
    assert not missing


def test_each_dependency_has_a_reason_in_the_reference() -> None:
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed = {re.split(r"[ <>=]", line)[0] for line in setup["options"]["install_requires"].split("\n") if line}
    named = {name.strip() for line in (ROOT / "docs/reference/dependencies.md").read_text().splitlines()
             if line.startswith("| ") for name in line.split("|")[1].split(",")} - {"package"}
    assert named == needed


def test_each_key_of_the_run_record_is_described() -> None:
    from kerastl.versions.record import RunRecord

    page = (ROOT / "docs/reference/run-json.md").read_text()
    described = {name for code in re.findall(r"`([^`]+)`", page) for name in re.findall(r"\w+", code)}
    missing = set(_keys(RunRecord)) - described
    assert not missing


def _keys(kind: type) -> Iterator[str]:
    """The JSON keys of a section of the run record, and of the sections in it."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.name != "extra":
            yield field.metadata.get("key", field.name)
            for inner in [hints[field.name], *typing.get_args(hints[field.name])]:
                if dataclasses.is_dataclass(inner) and isinstance(inner, type):
                    yield from _keys(inner)


def test_the_python_code_in_the_documentation_compiles() -> None:
    blocks = [(name, block) for page, name in zip(PAGES, NAMES, strict=True)
              for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)]
    assert len(blocks) > 5
    for name, block in blocks:
        compile(block, name, "exec")


def test_the_yaml_in_the_documentation_parses_and_names_what_the_server_has() -> None:
    import yaml

    from kerastl.server import drift_gauges
    from kerastl.server.metrics import PATH, metric_name

    documents = [document for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
                 for document in yaml.safe_load_all(block)]
    by_kind = {document.get("kind", "rules"): document for document in documents}
    pod = by_kind["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/v1/models/stamps", "port": "rest"}
    assert pod["metadata"]["annotations"]["prometheus.io/path"] == PATH
    assert by_kind["Service"]["spec"]["selector"] == pod["metadata"]["labels"]
    (rule,) = by_kind["rules"]["groups"][0]["rules"]
    gauges = {metric_name(value) for value in vars(drift_gauges).values()
              if isinstance(value, str) and value.startswith("/kerastl/")}
    assert {*re.findall(r":kerastl:\w+", rule["expr"])} <= gauges
    page = (ROOT / "docs/how-to/drift.md").read_text()
    assert {*re.findall(r"`(:kerastl:\w+)`", page)} == gauges


def test_the_unit_in_the_documentation_has_what_systemd_needs() -> None:
    import configparser

    (unit,) = re.findall(r"```ini\n(.*?)```", (ROOT / "docs/how-to/serve.md").read_text(), re.DOTALL)
    parsed = configparser.ConfigParser()
    parsed.read_string(unit)
    assert {*parsed} >= {"Unit", "Service", "Install"} and " serve " in parsed["Service"]["ExecStart"]


@pytest.mark.slow
def test_the_head_and_backbone_files_in_the_documentation_work() -> None:
    page = (ROOT / "docs/how-to/own-head-or-backbone.md").read_text()
    head, _, backbone = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(head, names)
    assert names["build"]((8,), 3).output_shape == (None, 3)

    from kerastl.backbones import BuildOptions, Spec

    exec(backbone, names)
    spec = names["SPEC"]
    assert isinstance(spec, Spec)
    network = names["build"](BuildOptions("none")).model
    assert network.output_shape == (None, spec.dim) and network.count_params() == spec.parameters
    assert any(re.match(spec.blocks, layer.name) for layer in network._flatten_layers())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images", "texts"])
def test_the_notebooks_run_from_top_to_bottom(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    for seed, (part, rows) in enumerate({"train": 8, "validation": 3, "test": 3}.items()):  # a head is fitted once
        draw_folder(data / part, rows, seed=100 * seed)
    if name == "texts":
        data = tmp_path / "texts.csv"
        parts = {"train": 7, "validation": 3, "test": 3}  # too few to fine-tune on, as the 3,000 texts are too many
        data.write_text("text,label,split\n" + "".join(
            f"a {word} film with number {i} to {part},{word},{part}\n"
            for word in ("good", "bad") for part, rows in parts.items() for i in range(rows)))
    monkeypatch.syspath_prepend(ROOT / "docs")
    run_notebooks = importlib.import_module("run_notebooks")
    monkeypatch.chdir(tmp_path)  # it changes into a temporary folder; this puts the process back
    assert run_notebooks.main([str(ROOT / f"docs/tutorials/{name}.ipynb"), f"DATA={data}",
                               f"OUT={tmp_path / 'models'}"]) == 0
    (record,) = (tmp_path / "models").glob("*/1/run.json")
    assert not json.loads(record.read_text()).get("unfrozen")


def test_notebooks_hold_no_output() -> None:
    for path in (ROOT / "docs/tutorials").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        assert cells and not any(cell.get("outputs") for cell in cells)


def test_without_apt_get_the_samples_say_what_to_use_instead(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, ROOT / "docs/samples.py"], cwd=tmp_path, env={"PATH": str(tmp_path)},
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no apt-get" in done.stderr and "tfds:tf_flowers" in done.stderr and "--data DIR" in done.stderr
    assert not (tmp_path / "samples").exists()


def test_benchmarks_have_names_and_unknown_ones_are_refused(monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")  # which it sets
    assert importlib.import_module("benchmarks.run").main(["no_such"]) == 2
    assert "startup" in capsys.readouterr().err


def test_nothing_generated_or_large_is_in_the_tree() -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a git checkout, so there is no list of what is in it")
    paths = [ROOT / name for name in files.stdout.split("\0") if name and (ROOT / name).exists()]
    assert paths
    large = [str(path) for path in paths if path.stat().st_size > 300_000 and path.name != "constraints.txt"]
    binary = {".pb", ".keras", ".h5", ".tflite", ".pth", ".safetensors"}
    weights = [str(path) for path in paths if path.suffix in binary]
    assert not large + weights
