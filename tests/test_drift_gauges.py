"""Gauges of drift: quiet on answers like the reference, loud on others, bounded, and on Prometheus' page."""

import base64
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import serving

from kerastl.evaluation.reference import FILE, Reference
from kerastl.server.drift_gauges import P_VALUE, REJECTION_RATE, ROWS, STATISTIC, DriftWindow, drift_window
from kerastl.server.metrics import PATH
from kerastl.versions.record import RunRecord
from kerastl.versions.reference import read_reference

N = 400


@pytest.fixture
def record(trained: Path) -> RunRecord:
    """Of three classes, with a threshold that comes from 400 rows."""
    found = RunRecord.read(trained)
    assert found.rejection is not None
    promised = replace(found.rejection, threshold=0.0, calibration_rows=N, coverage=0.95)
    return replace(found, split="holdout", rejection=promised)


def answers(generator: np.random.Generator, n: int, first: float = 1.0, unknown: float = 0.05) -> dict[str, Any]:
    """What a model returns. first: the weight of the first class; unknown: the share above the threshold."""
    return {"probabilities": generator.dirichlet([first, 1.0, 1.0], n).astype(np.float32),
            "unknown_score": (generator.random(n) < unknown) - 0.5}


def window(record: RunRecord, rows: int = 300) -> DriftWindow:
    probabilities = answers(np.random.default_rng(0), N)["probabilities"]
    return DriftWindow(record, Reference(np.zeros((N, 0), np.float16), probabilities, np.zeros(N)), rows)


def values(found: DriftWindow) -> dict[str, float]:
    """The gauges by name, with the test where there is one."""
    return {f"{gauge.name} {gauge.labels.get('test', '')}".strip(): gauge.value for gauge in found.gauges(model="m")
            if "sample" not in gauge.labels}


def test_what_changes_is_seen_by_its_own_test(record: RunRecord) -> None:
    generator = np.random.default_rng(1)
    quiet, mixed, unknown = window(record), window(record), window(record)
    quiet.add(answers(generator, 300))
    mixed.add(answers(generator, 300, first=3.0))
    unknown.add(answers(generator, 300, unknown=0.2))
    assert values(quiet)[f"{P_VALUE} outputs"] > 0.01 < values(quiet)[f"{P_VALUE} rejected inputs"]
    assert values(mixed)[f"{P_VALUE} outputs"] < 1e-6 and values(mixed)[f"{STATISTIC} outputs"] > 0.2
    assert values(unknown)[f"{P_VALUE} rejected inputs"] < 1e-6 and values(unknown)[REJECTION_RATE] > 0.1
    assert values(unknown)[f"{P_VALUE} outputs"] > 0.01


def test_of_a_cross_validated_version_predicted_classes_are_compared(record: RunRecord) -> None:
    generator, found = np.random.default_rng(5), window(replace(record, split="cv"))
    p = answers(generator, 300)["probabilities"].astype(np.float64) ** 2
    found.add({"probabilities": p / p.sum(axis=1, keepdims=True)})  # surer of the same classes
    assert values(found)[f"{P_VALUE} outputs"] > 0.01
    found.add(answers(generator, 300, first=3.0))
    assert values(found)[f"{P_VALUE} outputs"] < 1e-6


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_stated(record: RunRecord) -> None:
    """Over references too: one that is unlucky raises false alarms for as long as it is used."""
    generator, alarms = np.random.default_rng(2), 0
    for _ in range(100):
        reference = Reference(np.zeros((N, 0), np.float16), answers(generator, N)["probabilities"], np.zeros(N))
        found = DriftWindow(record, reference)
        found.add(answers(generator, 200))
        alarms += min(values(found)[f"{P_VALUE} {test}"] for test in ("outputs", "rejected inputs")) < 0.05
    assert alarms <= 10  # 5 are expected


def test_the_window_slides_and_few_or_partial_answers_are_not_tested(record: RunRecord) -> None:
    generator = np.random.default_rng(3)
    found = window(record)
    found.add(answers(generator, 19))
    assert values(found) == {ROWS: 19.0}
    found.add({"label": np.array([b"a"])})  # another output was asked for
    found.add({"probabilities": np.zeros((5, 7), np.float32)})  # of another signature
    assert values(found) == {ROWS: 19.0}
    found.add({"probabilities": answers(generator, 50)["probabilities"]})
    assert f"{P_VALUE} outputs" in values(found) and REJECTION_RATE not in values(found)
    found.add(answers(generator, 5000, first=3.0))
    assert values(found)[ROWS] == 300 and values(found)[f"{P_VALUE} outputs"] < 1e-6
    found.add(answers(generator, 300))
    assert values(found)[f"{P_VALUE} outputs"] > 0.01
    threads = [threading.Thread(target=lambda seed=seed: [found.add(answers(np.random.default_rng(seed), 7))
                                                          for _ in range(50)]) for seed in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert values(found)[ROWS] == 300
    for thread in threads:
        thread.join()


def test_a_version_without_a_good_reference_has_no_gauges(trained: Path, tmp_path: Path, record: RunRecord,
                                                          caplog: pytest.LogCaptureFixture) -> None:
    assert drift_window("m", 1, trained, None) is None and drift_window("m", 1, tmp_path, record) is None
    assert drift_window("m", 1, trained, record) is not None
    (tmp_path / "manifest.json").write_text('{"files": {}}')
    (tmp_path / FILE).write_bytes(b"damaged")
    with caplog.at_level("ERROR", "kerastl.serve"):
        assert drift_window("m", 1, tmp_path, record) is None
        (tmp_path / FILE).write_bytes(Reference(np.zeros((5, 0), np.float16), np.zeros((5, 9), np.float32),
                                                np.zeros(5)).to_bytes())
        assert drift_window("m", 1, tmp_path, record) is None
    assert "is damaged" in caplog.text and "(5, 9)" in caplog.text


@pytest.mark.slow
def test_prometheus_reads_them(trained: Path, images: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "m" / "1")
    rows = [{"b64": base64.b64encode(path.read_bytes()).decode()} for path in sorted(images.rglob("*.png"))[:30]]
    with serving(tmp_path / "m") as server:
        for start in range(0, 30, 6):
            assert server.post("/v1/models/m:predict", {"instances": rows[start:start + 6]})[0] == 200
        page = server.ask(PATH)[1]
    assert ':kerastl:drift_window_rows{model_name="m",version="1"} 30' in page.splitlines()
    assert "# TYPE :kerastl:drift_pvalue gauge" in page
    assert re.search(r':kerastl:drift_pvalue\{model_name="m",version="1",test="outputs"\} [\d.e-]+\n', page)
    shares = re.findall(r':kerastl:mean_probability\{.*sample="(\w+)"\} ([\d.e-]+)', page)
    reference = [float(value) for sample, value in shares if sample == "reference"]
    assert sum(reference) == pytest.approx(1, abs=1e-4) and len(shares) == 2 * len(reference)
    assert reference == pytest.approx(read_reference(trained).probabilities.mean(axis=0), abs=1e-5)
