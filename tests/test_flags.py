"""Flags: grouped help, older names, argument names in messages, paths checked first, and how a signal ends the work."""

import ast
import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tyro.conf import Positional

import kerastl
from kerastl.backbones import load
from kerastl.cli import verbs
from kerastl.errors import CheckFailed, DataError, OptionError, all_of, unknown
from kerastl.shell import process
from kerastl.shell.checks import check_flags
from kerastl.shell.flags import GROUPS, OLD_NAMES, ImageConfig, TextConfig
from kerastl.shell.parsing import parse, with_flags
from kerastl.shell.recipes import copy_recipe, load_recipe, recipes
from kerastl.training.fine_tuning.plan import TuningOptions, tuning_faults, unused_note
from kerastl.verbs import export

GROUPS_OF_IMAGES = [set(names) & set(ImageConfig.__dataclass_fields__) for names in GROUPS.values()]
Shell = Callable[..., tuple[int, str, str]]


def flags_in(text: str) -> set[str]:
    return set(re.findall(r"^[│ ]+(--[a-z][\w-]+)", text, re.MULTILINE)) - {"--help"}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_plain_help_of_a_recipe_lists_at_most_a_dozen_flags(recipe: str, shell: Shell) -> None:
    code, brief, _ = shell("run", recipe, "--help")
    assert code == 0 and 5 < len(flags_in(brief)) <= 12 and "--help-all" in brief
    code, everything, _ = shell("run", recipe, "--help-all")
    assert code == 0 and flags_in(brief) < flags_in(everything)
    if "--learning-rate" in everything:
        assert "fine-tuning options" in everything
        assert "fine-tuning options" not in brief and "--learning-rate" not in brief


def test_every_flag_of_a_recipe_has_help(shell: Shell) -> None:
    for recipe in ("minilm_text", "resnet50_images"):
        _, text, _ = shell("run", recipe, "--help-all")
        lines = [line.strip("│ \n") for line in text.splitlines()]
        for number, line in enumerate(lines):
            if re.match("--[a-z]", line):
                words = re.sub(r"--[\w-]+( (STR|INT|FLOAT))?,?", "", line).strip() or lines[number + 1]
                assert words and not words.startswith("--"), line


def test_a_flag_that_would_be_alone_in_its_group_is_with_the_others(shell: Shell) -> None:
    brief, complete = (shell("features", words)[1] for words in ("--help", "--help-all"))
    assert "--batch-size" in brief and "training options" not in complete
    brief, complete = (shell("predict", words)[1] for words in ("--help", "--help-all"))
    assert "--engine" not in brief and "feature options" in complete  # two of them
    assert "--strict" not in brief and "dataset options" in complete  # three of them


def test_groups_name_flags_that_there_are() -> None:
    known = set(ImageConfig.__dataclass_fields__) | set(TextConfig.__dataclass_fields__)
    known |= {name for recipe in recipes() for name in load_recipe(recipe).Config.__dataclass_fields__}
    assert {name for names in GROUPS.values() for name in names} <= known


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new", "field", "value"), [
    ("--tap", "--layer", "layer", "block1"), ("--rate", "--learning-rate", "learning_rate", 0.5),
    ("--average", "--average-epochs", "average_epochs", 3), ("--mix", "--mixing", "mixing", "cutmix"),
    ("--find-rate", "--find-learning-rate", "find_learning_rate", True)])
def test_older_flags_keep_working_and_the_record_keeps_their_names(old: str, new: str, field: str, value: object
                                                                   ) -> None:
    for flag in (old, new):
        words = ["--name", "m", "--data", "d", flag, *([] if value is True else [str(value)])]
        config = parse(ImageConfig, words)
        assert getattr(config, field) == value
        assert config.to_dict()[old[2:].replace("-", "_")] == value and field not in config.to_dict()


@pytest.mark.parametrize(("rate", "usable"), [(0.0, False), (1e-5, True), (1.0, True), (1.5, False)])
def test_the_shell_and_the_library_take_the_same_learning_rates(rate: float, usable: bool) -> None:
    assert bool(tuning_faults(TuningOptions(learning_rate=rate))) is not usable
    config = parse(ImageConfig, ["--name", "m", "--data", "d", "--learning-rate", str(rate)])
    if usable:
        check_flags(config)
    else:
        with pytest.raises(OptionError, match="`learning_rate` must be"):
            check_flags(config)


def test_options_of_fine_tuning_that_have_no_effect_are_named() -> None:
    assert unused_note(TuningOptions()) == ""
    assert unused_note(TuningOptions(layer_decay=0.5)).startswith("layer_decay has no effect, because only fine-tuning")
    note = unused_note(TuningOptions(learning_rate=0.1, schedule="linear"))
    assert note.startswith("schedule, learning_rate have no effect") and "mlp:learning_rate=0.01" in note


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "word", "message"), [
    ("--epochs", "many", "--epochs: an integer is expected (got 'many')"),
    ("--seed", "1.5", "--seed: an integer is expected (got '1.5')"),
    ("--learning-rate", "fast", "--rate: a number is expected (got 'fast')")])
def test_a_flag_that_is_no_number_is_refused_without_the_parsers_internals(
        flag: str, word: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--name", "m", "--data", "d", flag]
    with pytest.raises(SystemExit) as stopped:
        parse(ImageConfig, [*words, word], prog="kerastl run minilm_text")
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and message in err and not re.search("NoneType|class|literal|instantiated", err), err
    good = "3"
    assert str(getattr(parse(ImageConfig, [*words, good]), flag[2:].replace("-", "_"))) in ("3", "3.0")
    if flag != "--seed":
        assert getattr(parse(ImageConfig, [*words, "None"]), flag[2:].replace("-", "_")) is None


def test_recipes_describes_one_and_says_how_to_copy_it(shell: Shell) -> None:
    code, out, _ = shell("recipes", "minilm_text")
    assert code == 0 and "kerastl recipes --copy minilm_text" in out and "kerastl run minilm_text --help" in out
    code, _, err = shell("recipes", "minilm_txt")
    assert code == 2 and "did you mean 'minilm_text'" in err


def test_arguments_in_a_message_become_the_flags_that_the_command_has() -> None:
    config = parse(TextConfig, ["--name", "m", "--data", "d"])
    text = "`max_length` with `long=chunks`, `head=\"mlp\"`, `no_such` and `kerastl run`"
    assert with_flags(text, config) == "--max-length with --long chunks, --head mlp, no_such and `kerastl run`"
    assert with_flags("`head`", None) == "head"


def test_one_fault_is_itself_and_several_are_a_list() -> None:
    one = OptionError("`a` is wrong", "a right one", "change it")
    assert str(all_of([one])) == str(one) == "`a` is wrong\n  expected: a right one\n  to fix: change it"
    assert str(all_of([one, OptionError("`b` too")])) == (
        "2 options cannot be used\n  - `a` is wrong; expected a right one; change it\n  - `b` too")


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ("run", "minilm_text", "--data", "no-such.csv", "--name", "m"), ("predict", "saved_models/no-such", "x.png"),
    ("evaluate", "no-such", "no-such"), ("export", "no-such"), ("verify", "no-such"), ("doctor", "no-such"),
    ("run", "distil_to_tflite", "--teacher", "no-such", "--name", "m"), ("check", "no-such"),
    ("compare", "no-such", "--backbones", "resnet50"), ("features", "no-such", "--out", "f.npz"),
    ("run", "minilm_text", "--data", ".", "--name", "m", "--schedule", "no-such")])
def test_what_cannot_be_is_reported_without_tensorflow(words: tuple[str, ...], tmp_path: Path) -> None:
    code = ("import sys; from kerastl.cli import main; code = main(sys.argv[1:])\n"
            "print('LOADED', code, sorted({'tensorflow', 'keras', 'keras_hub'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "LOADED 2 []\n", done.stdout + done.stderr
    assert done.stderr.count("error: ") == 1 and "no-such" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "message"), [
    (("doctor", "minilm_txt"), "no such model or recipe: minilm_txt(.|\n)*did you mean 'minilm_text'"),
    (("doctor", "no-such"), "expected: saved_models/NAME, .* or a recipe: one of bert_text(.|\n)*"
     "list them: kerastl recipes"),
    (("run", "./nope.py"), "no such recipe file: ./nope.py(.|\n)*relative to the current directory"),
    (("run", "minilm_text.py"), "no such recipe file(.|\n)*without the ending: minilm_text"),
    (("recipes", "--copy", "no-such"), "list them: kerastl recipes"),
    (("run", "minilm_text", "--data", "d", "--name", "m", "--head", "no-such"), "list them: kerastl heads")])
def test_hints_lead_to_the_list_of_what_was_meant(words: tuple[str, ...], message: str, shell: Shell) -> None:
    code, out, err = shell(*words)
    assert code == 2 and out == "" and err.count("error: ") == 1 and re.search(message, err), err


def test_hints_name_verbs_that_there_are() -> None:
    root = Path(kerastl.__file__).parent
    named = {word for path in root.rglob("*.py") for word in re.findall(r"list them: kerastl (\w+)", path.read_text())}
    named |= {word for path in root.rglob("*.py")
              for word in re.findall(r"unknown\(.*\"kerastl (\w+)\"\)", path.read_text())}
    assert {"heads", "recipes", "weights"} <= named <= set(verbs())
    assert unknown("task", "nothing", ["single", "several"]).hint == "choose one of them"


def test_an_unknown_preset_is_one_message_that_leads_to_the_presets() -> None:
    with pytest.raises(OptionError) as refused:
        load("hub:x", "none")
    assert refused.value.hint == ("list them: the image classifiers on https://keras.io/keras_hub/presets, such as "
                                  "hub:resnet_18_imagenet")
    with pytest.raises(OptionError, match="hub:PRESET"):
        load("nope", "none")


@pytest.mark.parametrize("recipe", sorted(recipes()))
def test_a_copied_recipe_names_its_own_path_in_its_command(recipe: str, tmp_path: Path) -> None:
    copy = copy_recipe(recipe, tmp_path)
    docstring = ast.get_docstring(ast.parse(copy.read_text())) or ""
    assert f"python {copy} --" in docstring and "recipes/" not in docstring


def test_an_unknown_kind_of_tflite_file_is_reported_before_anything_is_loaded() -> None:
    with pytest.raises(OptionError, match="there is no fp33"):
        export.check(export.Config("m", tflite="fp33"))
    config = parse(ImageConfig, ["--name", "m", "--data", "d", "--tflite", "fp33", "--xla", "no"])
    with pytest.raises(OptionError, match="(?s)2 options cannot be used.*fp33.*`xla`|2 options.*`xla`.*fp33"):
        check_flags(config)


@pytest.mark.slow
def test_the_checks_of_a_users_head_print_no_banner(tmp_path: Path) -> None:
    head = tmp_path / "head.py"
    head.write_text("import keras\n\n\ndef build(shape, outputs):\n    return None\n")
    words = ("run", "efficientnet_lite_images", "--data", "no-such", "--name", "m", "--head", str(head))
    done = subprocess.run([sys.executable, "-m", "kerastl", *words], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: no such file or folder: no-such"), done.stderr


@dataclass(frozen=True)
class Nothing:
    """No flags."""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_ends_the_work_with_its_code_and_runs_what_cleans_up(name: str, code: int, tmp_path: Path,
                                                                      capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work(config: object) -> dict[str, object]:
        try:
            signal.raise_signal(getattr(signal, name))
            return {}
        finally:
            (tmp_path / "cleaned up").touch()

    assert process.finish(work, Nothing, str, heavy=False) == code
    assert (tmp_path / "cleaned up").exists() and signal.getsignal(signal.SIGTERM) is before
    err = capsys.readouterr().err
    assert err.startswith("error: stopped") and (name in err) == (name != "SIGINT")


class Fragile:
    """Its destructor takes what happens in it for granted, as those of TensorFlow do."""

    def __init__(self, interrupted: bool) -> None:
        self.built = True
        if interrupted:
            del self.built

    def __del__(self) -> None:
        if self.built:
            signal.raise_signal(signal.SIGTERM)


def lost_in_a_destructor(config: object) -> dict[str, object]:
    Fragile(False)
    time.sleep(5)
    return {}


def turned_into_another_error(config: object) -> dict[str, object]:
    half_built = Fragile(True)  # noqa: F841
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt as error:
        raise ValueError("could not be deserialized") from error
    return {}


def swallowed_by_a_library(config: object) -> dict[str, object]:
    with suppress(BaseException):
        signal.raise_signal(signal.SIGTERM)
    time.sleep(5)
    return {}


@pytest.mark.parametrize("work", [lost_in_a_destructor, turned_into_another_error, swallowed_by_a_library])
@pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_is_one_line_whatever_the_interrupted_code_makes_of_it(work: Callable[[object], dict[str, object]],
                                                                        capsys: pytest.CaptureFixture[str]) -> None:
    hook = sys.unraisablehook
    assert process.finish(work, Nothing, str, heavy=False) == 143
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: stopped by SIGTERM; ") and err.count("\n") == 1
    assert sys.unraisablehook is hook


def test_a_signal_that_is_raised_again_does_not_interrupt_what_cleans_up(capsys: pytest.CaptureFixture[str]) -> None:
    cleaned = []

    def work(config: object) -> dict[str, object]:
        try:
            signal.raise_signal(signal.SIGTERM)
            return {}
        finally:
            time.sleep(3 * process.WATCH)
            cleaned.append(True)

    assert process.finish(work, Nothing, str, heavy=False) == 143 and cleaned
    assert capsys.readouterr().err.startswith("error: stopped by SIGTERM; ")


def test_a_signal_that_is_ignored_as_under_nohup_does_not_end_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        def work(config: object) -> dict[str, str]:
            signal.raise_signal(signal.SIGHUP)
            return {"done": "ja, é"}

        assert process.finish(work, Nothing, str, heavy=False) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capsys.readouterr().out == "{'done': 'ja, é'}\n"


def test_the_work_may_run_in_a_thread_which_cannot_handle_signals(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(process.finish, lambda _: {}, Nothing, str, heavy=False).result() == 0
    assert capsys.readouterr().out == "{}\n"


@dataclass(frozen=True)
class Settings:
    """What the work is about.

    More about it, which the help does not show.
    """

    thing: Positional[str]  # a thing
    name: str  # its name
    depth: int = 3  # of the base
    json: bool = False  # print JSON


@dataclass(frozen=True)
class Own(Settings):
    """Another work."""

    depth: int = 4  # of its own


@dataclass(frozen=True, kw_only=True)
class Late:
    """A work whose name comes last."""

    depth: int = 3  # how deep
    name: str  # its name


def test_what_failed_is_said_and_a_full_disk_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Result:
        failure: str
        failed: bool = True

        def to_dict(self) -> dict[str, str]:
            return {"é": self.failure}

    def raises(error: Exception) -> Callable[[object], Result]:
        def work(config: object) -> Result:
            raise error
        return work

    config = Settings("m", "n", json=True)
    for why in ("it differs", ""):
        assert process.finish(lambda _, why=why: Result(why), lambda: config, repr, heavy=False) == 1
    out, err = capsys.readouterr()
    assert err == "error: it differs\n" and out == '{"é": "it differs"}\n{"é": ""}\n'
    full = OSError(errno.ENOSPC, "No space left on device", "x")
    assert process.finish(raises(full), lambda: config, repr, heavy=False) == 2
    assert "no space left on disk (x)" in capsys.readouterr().err
    assert process.finish(raises(CheckFailed("`depth` of `thing`", "a", "b")), lambda: config, repr, heavy=False) == 1
    assert capsys.readouterr().err.startswith("error: --depth of thing\n")
    with pytest.raises(ZeroDivisionError):  # a bug is not hidden
        process.finish(raises(ZeroDivisionError()), lambda: config, repr, heavy=False)


@pytest.mark.slow
def test_a_closed_pipe_ends_the_work_quietly_and_standard_output_is_given_back() -> None:
    code = ("import os, sys; from kerastl.shell import process\n"
            "def work(config): print('progress'); os.system('echo native'); return {}\n"
            "code = process.finish(work, lambda: None, lambda result: 'result', heavy=False)\n"
            "print('after', code)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("result\nafter 0\n", "progress\nnative\n") or (
        done.stdout == "result\nafter 0\n" and sorted(done.stderr.split()) == ["native", "progress"])
    read, write = os.pipe()
    os.close(read)
    code = code.replace("print('after', code)", "sys.exit(code)")
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 0 and "error" not in done.stderr.lower()


def test_the_help_is_the_first_line_with_the_comments_of_the_class_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for config, comment, absent in ((Settings, "of the base", "of its own"), (Own, "of its own", "of the base")):
        with pytest.raises(SystemExit) as stopped:
            parse(config, ["--help"])
        text = capsys.readouterr().out
        assert stopped.value.code == 0 and comment in text and absent not in text
        assert (config.__doc__ or "").partition("\n")[0] in text and "does not show" not in text
        assert text.index("--name") < text.index("--depth") and "more options" not in text
    with pytest.raises(SystemExit):
        parse(Late, ["--help"])
    text = capsys.readouterr().out
    assert text.index("--name") < text.index("--depth")  # what is required comes first
    assert parse(Own, ["m", "--name", "n"]) == Own("m", "n")
    assert with_flags("`thing`, `name` and `depth=5`", Own("m", "n")) == "thing, --name and --depth 5"
    for words in (["m"], ["--name", "n"]):  # both are required
        with pytest.raises(SystemExit) as stopped:
            parse(Own, words)
        assert stopped.value.code == 2


def test_the_help_counts_the_options_that_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for word in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            parse(ImageConfig, [word])
        texts.append(capsys.readouterr().out)
    counts = [re.findall(r"(\d+) more options are listed by --help-all", text) for text in texts]
    assert counts == [[str(sum(map(len, GROUPS_OF_IMAGES)))], []]
    for name in {name for names in GROUPS_OF_IMAGES for name in names} - set(OLD_NAMES):
        assert [f"--{name.replace('_', '-')}" in text for text in texts] == [False, True]


def test_a_typed_result_is_printed_as_its_dict_and_sets_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Result:
        failed: bool

        def to_dict(self) -> dict[str, bool]:
            return {"no": self.failed}

    @dataclass(frozen=True)
    class Json:
        json: bool = True

    assert process.finish(lambda _: Result(False), Nothing, lambda result: f"shown {result.failed}", heavy=False) == 0
    assert process.finish(lambda _: Result(True), Json, repr, heavy=False) == 1
    assert capsys.readouterr().out == 'shown False\n{"no": true}\n'

    def fails(config: object) -> Result:
        raise DataError("nothing there", "something", "look")

    assert process.finish(fails, Nothing, repr, heavy=False) == 2


def test_each_backbone_is_one_line_for_each_kind_of_weights(shell: Shell) -> None:
    _, out, _ = shell("backbones")
    names = [line.split()[0] for line in out.partition("\n\n")[0].splitlines()[1:]]
    assert len(names) == len(set(names)) and "glm2_6b" in names
    assert all(licence in out for licence in ("ChatGLM2-6B License", "ChatGLM3-6B License", "glm-4-9b License"))


def test_each_verb_is_a_file_with_a_line_of_help(shell: Shell) -> None:
    _, out, _ = shell("--help")
    for name, path in verbs().items():
        line = next(line for line in out.splitlines() if line.split()[:1] == [name])
        assert len(line.split()) > 2 and path.name == f"{name.replace('-', '_')}.py"
