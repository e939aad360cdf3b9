"""What a run computes in: chosen with a reason, applied by a call, put back after."""

import os
import random
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from kerastl import runtime
from kerastl.errors import OptionError
from kerastl.runtime import PRECISIONS, XLA, choose, container_memory, dtype_policy, quiet_stderr


@pytest.mark.parametrize(("gpu", "bfloat16", "precision", "reason"), [
    (False, False, "float32", "does not support bfloat16"),
    (False, True, "mixed_bfloat16", "the CPU supports bfloat16"),
    (True, False, "mixed_float16", "GPU"), (True, True, "mixed_float16", "GPU"),
])
@pytest.mark.parametrize("xla", XLA)
def test_auto_is_settled_by_the_hardware(xla: str, gpu: bool, bfloat16: bool, precision: str, reason: str) -> None:
    chosen = choose(xla=xla, seed=7, gpu=gpu, bfloat16_cpu=bfloat16)
    assert (chosen.precision, chosen.explicit_precision, chosen.seed) == (precision, False, 7)
    assert reason in chosen.precision_reason
    assert chosen.xla == {"on": True, "off": False, "auto": gpu}[xla]
    assert ("as requested" in chosen.xla_reason) == (xla != "auto") and chosen.xla_reason


@pytest.mark.parametrize("precision", [one for one in PRECISIONS if one != "auto"])
@pytest.mark.parametrize(("gpu", "bfloat16"), [(False, False), (False, True), (True, False), (True, True)])
def test_what_was_asked_for_by_name_is_taken(precision: str, gpu: bool, bfloat16: bool) -> None:
    chosen = choose(precision, gpu=gpu, bfloat16_cpu=bfloat16)
    assert (chosen.precision, chosen.explicit_precision) == (precision, True)
    assert chosen.precision_reason == "as requested" and chosen.xla == gpu


@pytest.mark.parametrize(("choice", "start", "known"), [
    ({"precision": "bfloat16"}, "`precision` is 'bfloat16'", PRECISIONS),
    ({"precision": ""}, "`precision` is ''", PRECISIONS),
    ({"precision": "Float32"}, "`precision` is 'Float32'", PRECISIONS), ({"xla": "yes"}, "`xla` is 'yes'", XLA),
])
def test_unknown_values_are_refused_with_those_that_are_known(choice: dict[str, str], start: str,
                                                             known: tuple[str, ...]) -> None:
    with pytest.raises(OptionError) as caught:
        choose(**choice, gpu=False, bfloat16_cpu=False)
    message = str(caught.value)
    assert message.startswith(start) and all(name in message for name in known) and "auto is the default" in message


def test_apply_chooses_for_this_machine_and_seeds_every_generator() -> None:
    def draws() -> tuple[float, ...]:
        return random.random(), float(np.random.random()), float(keras.random.uniform(()))

    before = keras.config.dtype_policy().name
    chosen = runtime.apply(seed=5)
    assert chosen == choose(seed=5, gpu=runtime.has_gpu(), bfloat16_cpu=runtime.cpu_has_bfloat16())
    first = draws()
    runtime.apply(seed=6)
    other = draws()
    runtime.apply("mixed_bfloat16", "on", seed=5)
    assert draws() == first and all(a != b for a, b in zip(first, other, strict=True))
    assert keras.config.dtype_policy().name == before == "float32"


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16", "float32"])
def test_a_policy_ends_with_its_block_also_when_that_fails(name: str) -> None:
    with dtype_policy(name):
        assert keras.config.dtype_policy().name == name
        assert keras.layers.Dense(2).compute_dtype == name.removeprefix("mixed_")
        with pytest.raises(ZeroDivisionError), dtype_policy("float64"):
            assert keras.layers.Dense(2).compute_dtype == "float64"
            raise ZeroDivisionError
        assert keras.config.dtype_policy().name == name
    assert keras.config.dtype_policy().name == "float32"
    with pytest.raises(ValueError), dtype_policy("no such policy"):
        pytest.fail("not reached")
    assert keras.config.dtype_policy().name == "float32"


def test_native_noise_is_kept_off_unless_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_stderr():
        os.write(2, b"a note of native code\n")
    print("after", file=sys.stderr)
    assert capfd.readouterr().err == "after\n"
    with pytest.raises(ZeroDivisionError), quiet_stderr():
        os.write(2, b"why it failed\n")
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), quiet_stderr():
        os.write(2, b"a note of native code\n")
        raise KeyboardInterrupt
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "why it failed\nafter\n"


@pytest.mark.parametrize(("end", "code", "said"), [("pass", 0, "after."), ("raise SystemExit(3)", 3, "native, python")])
def test_what_python_itself_prints_is_treated_alike(end: str, code: int, said: str) -> None:
    """In a process of its own, where standard error is the real one."""
    done = subprocess.run([sys.executable, "-c", "import os, sys; from kerastl.runtime import quiet_stderr\n"
                           "with quiet_stderr():\n    os.write(2, b'native, ')\n    sys.stderr.write('python')\n"
                           f"    {end}\nsys.stderr.write('after.')"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)


def test_quiet_blocks_nest_and_leave_no_file_open(capfd: pytest.CaptureFixture[str]) -> None:
    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = files()
    for _ in range(5):
        with quiet_stderr(), quiet_stderr():
            os.write(2, b"inside\n")
    assert files() == before and capfd.readouterr().err == ""


def test_importing_sets_nothing_and_imports_no_tensorflow() -> None:
    code = ("import os, random, sys; state, environment = random.getstate(), dict(os.environ); import kerastl.runtime\n"
            "assert random.getstate() == state and dict(os.environ) == environment\n"
            "assert not {'tensorflow', 'keras'} & set(sys.modules); print('as it was')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "as it was\n", done.stderr


def test_the_machine_is_named_and_its_memory_is_plausible() -> None:
    here = runtime.machine()
    assert set(here) == {"processor", "cores", "bfloat16", "python", "system"} and here["processor"]
    assert here["cores"] == os.cpu_count() and here["bfloat16"] == runtime.cpu_has_bfloat16()
    assert 2**20 < runtime.free_memory() < 2**45


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    assert container_memory(tmp_path) == []
    for name, text in (("max", "max\n"), ("current", "700\n"), ("stat", "anon 5\ninactive_file 30\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert container_memory(tmp_path) == []
    (tmp_path / "memory.max").write_text("1000\n")
    assert container_memory(tmp_path) == [330]
