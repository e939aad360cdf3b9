"""The house's rules that a machine can check: import floors, public names, nothing heavy at import, sizes."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

import kerastl

ROOT = Path(kerastl.__file__).parent.parent
FLOORS = (
    ("kerastl.display",),
    ("kerastl.errors",),
    ("kerastl.devices",),
    ("kerastl.compact", "kerastl.fields", "kerastl.files", "kerastl.frames", "kerastl.stats", "kerastl.runtime",
     "kerastl.decision", "kerastl.optimizers"),
    ("kerastl.tasks", "kerastl.modality", "kerastl.user_code", "kerastl.shards"),
    ("kerastl.inputs",),
    ("kerastl.heads", "kerastl.data"),
    ("kerastl.backbones",),
    ("kerastl.model",),
    ("kerastl.features", "kerastl.explanation"),
    ("kerastl.training", "kerastl.evaluation", "kerastl.privacy", "kerastl.tokens"),
    ("kerastl.versions",),
    ("kerastl.export",),
    ("kerastl.serving",),
    ("kerastl.studies", "kerastl.audit", "kerastl.doctor", "kerastl.server"),
    ("kerastl.report",),
    ("kerastl.tagging", "kerastl.dependencies"),
    ("kerastl.pipelines", "kerastl.shell"),
    ("recipes",),
    ("kerastl.rerun",),
    ("kerastl.verbs",),
    ("kerastl.cli",),
    ("kerastl.__main__",),
)
PUBLIC = set("""
    __version__ ablate Ablation apply_runtime as_main Backbone Baseline baseline best_head by_folder cache_dir
    cache_info CacheInfo Calibration check CheckFailed CheckResult Classifier classify_images classify_texts
    compare Comparison compute_features ConfiguredHead DataError diagnose divide_classes evaluate
    evaluate_few_shot evaluate_model EvaluateResult Evaluation Examination Examples export_again Features
    FeatureTable fetch_weights few_shot_summary few_shot_task FewShotRecord find_label_errors fine_tune
    FineTuneResult fit fit_length FittedHead Head HeadLike ImageConfig KerastlError LabelError LabelErrors
    learn_few_shot
    learning_curve learning_curve_of LearningCurve
    lesson list_backbones list_heads list_recipes load load_backbone load_teacher ModelError OptionError Parity
    pooling_for predict_inputs Prediction Predictions PredictResult read_images ReadOptions read_texts resolve_head run
    RunConfig RunRecord Runtime search_heads Skipped splice Split split Stopwatch Target target teach Teacher
    TextConfig train TrainedModel TrainingOptions Trial TuningOptions verify VerifyResult WeightsError
    write_features write_few_shot write_version
    find_near_duplicates near_duplicate_effect check_target label_next LabelNextResult write_label_next
    serve ServerResult list_models ModelList ModelVersion write_mediapipe export_tflite TFLiteFiles reproduce
    ReproduceResult detect_unknown Rejection explain ExplainResult drift Drift write_evaluation_page compare_versions
    audit_privacy PrivacyAudit fit_private PrivateFit PrivacyOptions write_private_version
    VersionComparison measure_capacity Capacity isolated
    evaluate_parser fit_parser FittedParser Parser parser_summary ParserEvaluation ParsingRecord write_parser
    read_sentences split_sentences Sentence TokenExamples compute_states load_encoder TokenEncoder TokenStates untrained
    FitOptions fit_tagger FittedTagger evaluate_tagger TaggingEvaluation write_tagger TaggingRecord tagging_summary
    load_tagger Tagger TaggedSentence check_tagger check_parser
""".split())


def room(module: str) -> str | None:
    """The room of the plan that a module belongs to; None for what is not ours."""
    if module == "kerastl" or module.startswith("recipes"):
        return "recipes" if module.startswith("recipes") else None
    return next((r for floor in FLOORS for r in floor if module == r or module.startswith(r + ".")), None)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] in ("kerastl", "recipes")}


def files() -> list[tuple[str, Path]]:
    found = [(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path)
             for path in (ROOT / "kerastl").rglob("*.py")]
    return found + [(f"recipes.{path.stem}", path) for path in (ROOT / "recipes").glob("*.py")]


@pytest.mark.parametrize(("module", "path"), files(), ids=[name for name, _ in files()])
def test_a_module_imports_only_from_floors_below(module: str, path: Path) -> None:
    height = {r: level for level, floor in enumerate(FLOORS) for r in floor}
    mine = room(module)
    if mine is None:
        assert module == "kerastl", f"{module} is not on the plan"
        return
    for name in imports(path):
        other = room(name)
        if other is not None and other != mine:
            assert height[other] < height[mine], f"{module} (floor {height[mine]}) imports {name}"
        if mine == "recipes":
            assert name == "kerastl", f"a recipe imports kerastl only, not {name}"


def test_fsspec_is_imported_in_one_place() -> None:
    pattern = re.compile(r"^\s*(import|from) (fsspec|s3fs|gcsfs)\b", re.MULTILINE)
    assert {module for module, path in files() if pattern.search(path.read_text())} == {"kerastl.files.objects"}


def test_openvino_is_imported_in_one_place() -> None:
    """There its telemetry is kept from starting."""
    pattern = re.compile(r"^\s*(import|from) openvino\b", re.MULTILINE)
    importing = {module for module, path in files() if pattern.search(path.read_text())}
    assert importing == {"kerastl.features.engines.openvino"}


def test_ray_is_imported_in_one_place() -> None:
    """There its usage statistics and its dashboard are off."""
    pattern = re.compile(r"^\s*(import|from) ray\b", re.MULTILINE)
    assert {module for module, path in files() if pattern.search(path.read_text())} == {"kerastl.shards.cluster"}


def test_public_names_are_these_and_each_is_there() -> None:
    assert set(kerastl.__all__) == PUBLIC == {"__version__", *kerastl._HOME}
    for name in PUBLIC:
        assert getattr(kerastl, name) is not None
    with pytest.raises(AttributeError):
        kerastl.no_such_name  # noqa: B018


@pytest.mark.parametrize("words", [["--help"], ["run", "resnet50_images", "--help"], ["heads"], ["weights"],
                                   ["verify", "--help"]])
def test_light_commands_import_no_tensorflow(words: list[str]) -> None:
    code = (
        "import sys; from kerastl.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('LOADED', sorted({'tensorflow', 'keras', 'keras_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("LOADED []")


def test_help_imports_not_even_tyro() -> None:
    code = "import sys; from kerastl.cli import main; main(['--help']); print('tyro' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("False")


def test_files_are_of_a_size_to_be_read() -> None:
    lines = {str(path): len(path.read_text().splitlines()) for _, path in files()}
    assert not {path: n for path, n in lines.items() if n > 400}
    assert median(lines.values()) <= 130
    assert not {path: n for path, n in lines.items() if Path(path).parent == ROOT / "recipes" and n > 80}
    assert not {path: n for path, n in lines.items() if Path(path).parent == ROOT / "kerastl/verbs" and n > 150}


def test_no_two_recipes_spell_out_the_same_steps() -> None:
    name_of: dict[str, str] = {}
    for path in sorted((ROOT / "recipes").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name == "main":
                steps = "\n".join(ast.unparse(step) for step in node.body[1:])  # without the docstring
                assert name_of.setdefault(steps, path.stem) == path.stem
    assert len(name_of) > 3


def test_only_the_tasks_know_what_several_labels_are() -> None:
    name = re.compile(r"""["']single_label|(==|task_named\(|\bin\b) ?\(?["']multi_label|task_name.*multi_label""")
    knowing = {module for module, path in files() if name.search(path.read_text())}
    assert {".".join(module.split(".")[:2]) for module in knowing} == {"kerastl.tasks"}


def test_files_are_opened_by_one_module() -> None:
    """What reads Linux's own files, the clients' reference code, which imports nothing of ours, and an open descriptor
    are no files of the user."""
    opening = re.compile(r"\bopen\(|\.open\(|\.(read|write)_(text|bytes)\(")
    elsewhere = {"kerastl.runtime", "kerastl.export.reference_tokenizer", "kerastl.export.reference_images"}
    lines = [f"{module}: {line.strip()}" for module, path in files() for line in path.read_text().splitlines()
             if opening.search(line) and module not in {"kerastl.files.local", *elsewhere}]
    assert [line for line in lines if not re.search(r"archive\.open|os\.open|os\.dup", line)] == []


@pytest.mark.slow
def test_a_private_module_is_imported_by_its_own_package_only() -> None:
    for module, path in files():
        for name in imports(path):
            package, private, _ = name.partition("._")
            assert not private or module == package or module.startswith(package + "."), f"{module} imports {name}"


COMMAND = re.compile(r"\b(kerastl|pip|python -m) [a-z]+( -[\w-]+)+")


def texts(tree: ast.Module) -> Iterator[str]:
    """The strings of a module that are not docstrings; of an f-string its fixed parts."""
    docstrings = {id(node.body[0].value) for node in ast.walk(tree)
                  if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                  and node.body and isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.slow
def test_messages_of_the_library_name_arguments_and_not_flags() -> None:
    """Only the shell knows flags; a whole command may be named, such as `kerastl cache --clear`."""
    apart = ("kerastl.shell", "kerastl.verbs", "kerastl.cli", "recipes")
    found = [f"{module}: {text}" for module, path in files() if not module.startswith(apart)
             for text in texts(ast.parse(path.read_text()))
             if re.search(r"(^|\s)--[a-z][\w-]* ?[A-Z]|\s--[a-z]", COMMAND.sub("", text))]
    assert not found


@pytest.mark.slow
def test_asserts_are_where_no_argument_can_break_them() -> None:
    """An assertion that a user can cause has to be an error of the tree in `errors.py`."""
    found = {module for module, path in files()
             if any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text())))}
    assert found == {
        "kerastl.export.reference_tokenizer", "kerastl.shell.recipes",
        "kerastl.studies.compare.cells", "kerastl.studies.search", "kerastl.training.fine_tuning.checkpoints"}


@pytest.mark.slow
def test_public_functions_have_docstrings() -> None:
    bare = [f"{path}:{node.lineno} {node.name}" for _, path in files() for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            and path.parts[-2] != "recipes" and not ast.get_docstring(node)
            and node.col_offset == 0]
    assert not bare
