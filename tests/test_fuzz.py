"""A hundred damaged files and requests of each kind, see `fuzz.py`: each is read, or refused in words."""

import json
import os
import random
from contextlib import ExitStack
from pathlib import Path

import fuzz
import fuzz_grpc
import pytest
from served import serving

from kerastl.server.options import ServerOptions

COUNT = 100
SEED = 7


def check(outcome: fuzz.Outcome) -> None:
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert sum(outcome.counts.values()) == COUNT
    assert min(outcome.counts["read"], outcome.counts["refused"]) > 0, outcome.line()


def test_damaged_tables(tmp_path: Path) -> None:
    check(fuzz.run("tables", fuzz.table_cases(COUNT, SEED, tmp_path)))


def test_damaged_tokenizer_files(tmp_path: Path) -> None:
    made = fuzz.text_models(tmp_path)
    check(fuzz.run("tokenizers", fuzz.folder_cases(COUNT, SEED, made, fuzz.TOKENIZERS.__contains__,
                                                   fuzz.read_tokenizer)))


def test_damaged_configs_and_weights(tmp_path: Path) -> None:
    made = fuzz.text_models(tmp_path)
    check(fuzz.run("weights", fuzz.folder_cases(COUNT, SEED, made, fuzz.is_of_network, fuzz.read_network)))


def test_damaged_version_folders(tmp_path: Path) -> None:
    check(fuzz.run("versions", fuzz.folder_cases(COUNT, SEED, fuzz.versions_of(tmp_path), lambda name: True,
                                                 fuzz.read_version)))


@pytest.mark.slow
def test_damaged_requests(tmp_path: Path) -> None:
    with ExitStack() as stack:
        check(fuzz.run("requests", fuzz.http_cases(COUNT, SEED, tmp_path, stack)))


@pytest.mark.slow
def test_damaged_calls(tmp_path: Path) -> None:
    """Of the process of this test; `fuzz.py` watches one of its own."""
    with ExitStack() as stack:
        options = ServerOptions(max_request_mb=fuzz_grpc.MOST_MB)
        running = stack.enter_context(serving(fuzz_grpc.models(tmp_path), options))
        server = fuzz_grpc.watched(running, os.getpid(), tmp_path, stack)
        calls = fuzz.run("calls", fuzz_grpc.call_cases(COUNT, SEED, server))
        connections = fuzz.run("connections", fuzz_grpc.connection_cases(42, SEED, server))
    for outcome in (calls, connections):
        assert not outcome.wrong, "\n".join(outcome.wrong)
        assert min(outcome.counts["read"], outcome.counts["refused"]) > 5, outcome.line()
    assert {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"} <= server.codes


def test_a_crash_or_a_case_without_words_is_noticed() -> None:
    def raises() -> str:
        raise KeyError("x")

    outcome = fuzz.run("none", iter([("a", raises), ("b", lambda: "read")]))
    assert outcome.wrong == ["a: KeyError: 'x'"] and outcome.counts == {"raised": 1, "read": 1}


def test_damage_is_the_same_each_time_and_reaches_deep_values() -> None:
    content = json.dumps({"a": {"b": [1, 2, {"c": "d"}]}}).encode()
    some = [fuzz.changed(content, random.Random(seed)) for seed in range(200)]
    assert some == [fuzz.changed(content, random.Random(seed)) for seed in range(200)]
    assert any(data.startswith(b'{"a": {"b": [1, 2, {"c": ') and b'"d"' not in data for _, data in some)
