"""Comparing: the same folds for all, the simplest within noise, what a kill leaves, and rows that only test."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_folder
from tiny import content_id, held_out, made_examples, made_features, plain_runtime, tiny_backbone

from kerastl.data.examples import TEST, TRAIN, VALIDATION
from kerastl.data.images import read_images
from kerastl.decision import Predictions
from kerastl.errors import DataError, OptionError
from kerastl.features.compute import Features
from kerastl.report.comparison import comparison_html, latency_chart
from kerastl.studies.compare import cells as cells_module
from kerastl.studies.compare.cells import cell_key, measure
from kerastl.studies.compare.combinations import Combination
from kerastl.studies.compare.cost import Cost
from kerastl.studies.compare.folds import hold_out, set_aside, without_test
from kerastl.studies.compare.recommendation import ComparisonRow, sentence, simplicity
from kerastl.studies.compare.study import compare
from kerastl.studies.journal import Journal
from kerastl.studies.verdict import simplest_within_noise
from kerastl.training.fine_tuning.fine_tune import FineTuneResult
from kerastl.training.fit import FittedHead
from kerastl.training.options import TrainingOptions
from kerastl.training.train import TrainedModel

Shell = Callable[..., tuple[int, str, str]]

def rows(n: int, correct: int) -> np.ndarray:
    return (np.arange(n) < correct).astype(float)


# What is simpler


def test_simpler_is_fewer_blocks_then_a_smaller_model_then_a_head_that_is_solved() -> None:
    def simple(blocks: int, head: str, parameters: int, milliseconds: float = 1.0) -> tuple[float, ...]:
        return simplicity(blocks, head, Cost(parameters, 4 * parameters, milliseconds))

    falling = [simple(2, "linear", 1), simple(0, "mlp", 4_000_000), simple(0, "cosine", 3_400_000, 2.0),
               simple(0, "cosine", 3_400_000), simple(0, "linear", 3_400_020, 9.0)]  # a few biases more do not count
    assert falling == sorted(falling, reverse=True)


# Folds


def test_seeds_hold_out_each_row_once_in_five_and_then_are_dealt_anew() -> None:
    examples = made_examples(np.arange(120) % 3, groups=[content_id(i // 2) for i in range(120)])
    splits = [hold_out(examples, seed).split for seed in range(10)]
    for some in (splits[:5], splits[5:]):
        assert np.array_equal(sum((one.part == TEST).astype(int) for one in some), np.ones(120))
    assert not np.array_equal(splits[0].part, splits[5].part)
    assert np.array_equal(splits[3].part, hold_out(examples, 3).split.part)
    for one in splits:
        assert all(len(set(one.part[i:i + 2])) == 1 for i in range(0, 120, 2))  # groups stay whole
        assert all(set(examples.targets[one.part == side]) == {0, 1, 2} for side in (TRAIN, VALIDATION, TEST))


def test_test_rows_are_those_of_the_hold_out_or_the_sources_own() -> None:
    examples = made_examples(np.arange(300) % 3)
    aside = set_aside(examples)
    rest = without_test(aside)
    assert 10 < len(aside.split.held_out) < 60 and len(rest) == 300 - len(aside.split.held_out)
    assert not {aside.ids[row] for row in aside.split.held_out} & set(rest.ids)
    own = set_aside(replace(examples, source_split=("test",) * 50 + ("train",) * 250))
    assert own.split.held_out.tolist() == list(range(50))
    with pytest.raises(DataError, match="sets test rows aside"):
        set_aside(made_examples(np.arange(4) % 2))


def test_five_groups_besides_the_test_rows_are_enough() -> None:
    for n in (4, 5):
        groups = [f"test {i}" if i < 50 else str(i % n) for i in range(100)]
        examples = made_examples(np.arange(100) // 3 % 2, groups=groups)
        aside = set_aside(replace(examples, source_split=("test",) * 50 + ("validation",) * 10 + ("train",) * 40))
        if n == 5:
            assert without_test(aside).split.folds == [0, 1, 2, 3, 4]
        else:
            with pytest.raises(DataError, match=r"(?s)4 groups of rows.*5 or more"):
                without_test(aside)


def test_a_cell_has_the_seed_and_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def trained(features: Features, head: str, **_: Any) -> TrainedModel:
        seeds.append(features.runtime.seed)
        split = features.examples.split
        held, validation = (Predictions(rows, np.tile(np.array([[1, 0]], np.float32), (len(rows), 1)))
                            for rows in (split.held_out, split.rows(VALIDATION)))
        return TrainedModel(None, FittedHead(head, None, held, validation, {}, (), 0.5),
                            FineTuneResult(kept=True, blocks=1, layers=(), loss_before=1.0, loss_after=0.5, epochs=(),
                                           seconds=2.0))

    monkeypatch.setattr(cells_module, "train", trained)
    prepared = made_features(tmp_path, np.zeros((60, 24)), made_examples(np.arange(60) % 2), backbone=tiny_backbone())
    first, again = (measure(prepared, Combination("tiny_net", "linear", "1"), 3, TrainingOptions(),
                            Journal(tmp_path / "rows.jsonl")) for _ in range(2))
    examples = hold_out(prepared.examples, 3)
    assert first.correct.tolist() == (examples.targets[examples.split.held_out] == 0).tolist()
    assert (first.seconds, first.blocks) == (2.5, 1) == (again.seconds, again.blocks)
    assert again.correct.tolist() == first.correct.tolist() and seeds == [3]


# Cells


def test_a_torn_line_is_not_there_and_spoils_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rows.jsonl")
    journal.add("a", {"accuracy": 0.5})
    with journal.path.open("a") as file:
        file.write('{"key": "b", "accu')  # killed in the middle
    again = Journal(journal.path)
    assert again.get("a") == {"key": "a", "accuracy": 0.5} and again.get("b") is None and again.resumed == 1
    again.add("c", {"accuracy": 0.25})
    third = Journal(journal.path)
    assert third.get("a") and third.get("c") == {"key": "c", "accuracy": 0.25} and third.get("b") is None


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["seed", "head", "labels", "rows", "epochs", "precision", "weights"])
def test_a_cell_is_known_only_for_the_same_work(changed: str, tmp_path: Path) -> None:
    from kerastl.backbones import load

    def key(**other: Any) -> str:
        y = np.arange(60) % 3
        y[0] = other.get("label", 0)
        examples = made_examples(y, split=held_out(60, seed=other.get("rows", 0)))
        backbone = replace(load("tiny_net", "none"), weights_hash=other.get("weights", "0"))
        runtime = plain_runtime(precision=other.get("precision", "float32"), seed=other.get("seed", 0))
        prepared = replace(made_features(tmp_path, np.zeros((60, 4)), examples, backbone=backbone), runtime=runtime)
        return cell_key(prepared, Combination("tiny_net", other.get("head", "linear"), "0"),
                        TrainingOptions(other.get("epochs")))

    other = {"seed": {"seed": 1}, "head": {"head": "mlp"}, "labels": {"label": 1}, "rows": {"rows": 1},
             "epochs": {"epochs": 3}, "precision": {"precision": "mixed_bfloat16"}, "weights": {"weights": "1"}}
    assert key() == key() != key(**other[changed])


class Named(Combination):
    """A combination that is called by one name."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "")

    def __str__(self) -> str:
        return self.backbone


# The verb. Training is stood in for: a head answers rightly on a share of the rows that follows from its name.


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("many"), 50)


class Stand:
    """In the place of training. shares: by head. stop: raise at this fit, as a kill would end it."""

    def __init__(self, **shares: float) -> None:
        self.shares, self.stop, self.fits, self.tested = shares, -1, [], []

    def fit(self, features: Features, head: str, **_: Any) -> FittedHead:
        if len(self.fits) == self.stop:
            raise KeyboardInterrupt
        examples = features.examples
        self.fits.append((head, features.runtime.seed, tuple(examples.ids[row] for row in examples.split.held_out)))
        return FittedHead(head, None, self.answers(features, head, examples.split.held_out),
                      self.answers(features, head, examples.split.rows(VALIDATION)), {}, (), 0.5)

    def answers(self, features: Features, head: str, judged: np.ndarray) -> Predictions:
        truth = features.examples.targets[judged]
        luck = np.array([int(content_id(features.examples.ids[row] + head)[:6], 16) / 16**6 for row in judged])
        given = np.where(luck < self.shares[head], truth, (truth + 1) % 3)
        return Predictions(judged, np.eye(3, dtype=np.float32)[given])

    def train(self, features: Features, head: str, **_: Any) -> TrainedModel:
        self.tested.append(features.examples)
        return TrainedModel(None, self.fit(features, head), None)


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    stand = Stand(linear=0.6, shallow=0.93, mlp=0.99)
    monkeypatch.setattr(cells_module, "fit", stand.fit)
    monkeypatch.setattr(cells_module, "train", stand.train)
    return stand


def backbone_parameters() -> int:
    return int(tiny_backbone().model.count_params())


def comparison(shell: Shell, source: Path, out: Path, *more: Any, heads: str = "linear,shallow,mlp") -> Any:
    code, said, err = shell("compare", source, "--backbones", "tiny_net", "--heads", heads, "--weights", "none",
                            "--out", out, "--json", *more)
    assert code == 0, err
    return json.loads(said)


@pytest.mark.slow
def test_the_better_head_is_recommended_and_of_two_alike_the_smaller(stand: Stand, shell: Shell, many: Path,
                                                                     tmp_path: Path) -> None:
    found = comparison(shell, many, tmp_path / "out")
    table = {one["head"]: one for one in found["table"]}
    assert table["linear"]["accuracy"] < 0.75 and not table["linear"]["within_noise"]
    assert table["shallow"]["within_noise"] and table["mlp"]["within_noise"]
    assert found["recommended"]["head"] == "shallow" and found["best"]["head"] == "mlp"
    assert "mlp has the highest accuracy" in found["word"]
    assert "shallow is simpler and not significantly worse" in found["word"]
    assert [one["recommended"] for one in found["table"]] == [False, True, False]
    for one in found["table"]:
        assert one["accuracy_min"] <= one["accuracy"] <= one["accuracy_max"] and one["milliseconds"] > 0
    assert table["linear"]["parameters"] == backbone_parameters() + 24 * 3 + 3
    assert table["linear"]["megabytes"] == pytest.approx(table["linear"]["parameters"] * 4 / 1e6)


@pytest.mark.slow
def test_all_heads_meet_the_same_folds_and_only_the_recommended_meets_the_test(stand: Stand, shell: Shell, many: Path,
                                                                               tmp_path: Path) -> None:
    found = comparison(shell, many, tmp_path / "out", "--seeds", "2")
    by_head = {head: [one for one in stand.fits[:6] if one[0] == head] for head in ("linear", "shallow", "mlp")}
    folds = {head: [(seed, ids) for _, seed, ids in some] for head, some in by_head.items()}
    assert folds["linear"] == folds["shallow"] == folds["mlp"] and len(folds["linear"]) == 2
    assert not set(folds["mlp"][0][1]) & set(folds["mlp"][1][1]) and [seed for seed, _ in folds["mlp"]] == [0, 1]
    (tested,) = stand.tested
    test = {tested.ids[row] for row in tested.split.held_out}
    assert len(test) == found["n_test"] > 5 and not test & {one for _, _, ids in stand.fits[:6] for one in ids}
    assert found["n_validation"] == len({one for _, _, ids in stand.fits[:2] for one in ids})
    assert found["test"]["accuracy"] == pytest.approx(np.mean(
        stand.answers(made_features(tmp_path, np.zeros((len(tested), 4)), tested), "shallow", tested.split.held_out)
        .logits.argmax(axis=1) == tested.targets[tested.split.held_out]))


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_table(stand: Stand, shell: Shell, many: Path, tmp_path: Path
                                                           ) -> None:
    whole = comparison(shell, many, tmp_path / "whole")
    all_fits = list(stand.fits)
    stand.fits.clear()
    stand.stop = 4
    code, out, err = shell("compare", many, "--backbones", "tiny_net", "--heads", "linear,shallow,mlp", "--weights",
                           "none", "--out", tmp_path / "killed")
    assert code == 130 and len(stand.fits) == 4
    stand.stop = -1
    resumed = comparison(shell, many, tmp_path / "killed")
    assert resumed["resumed"] == 4 and whole["resumed"] == 0 and resumed["cells"] == 9
    assert stand.fits == all_fits  # each once

    def told(found: dict[str, Any]) -> Any:  # latency is measured anew in another folder
        return [{k: v for k, v in one.items() if k != "milliseconds"} for one in found["table"]], found["test"]

    assert told(resumed) == told(whole)
    again = comparison(shell, many, tmp_path / "killed")
    assert again["resumed"] == 9 and stand.fits == all_fits
    assert again["table"] == resumed["table"] and again["test"] == resumed["test"]
    code, out, err = shell("compare", many, "--backbones", "tiny_net", "--heads", "linear,shallow,mlp", "--weights",
                           "none", "--out", tmp_path / "killed")
    assert "9 of 9 results were read from" in out and "RANDOM WEIGHTS" in out and resumed["word"] in out


@pytest.mark.slow
def test_the_files_hold_the_table_and_what_is_in_them_is_escaped(stand: Stand, shell: Shell, many: Path, tmp_path: Path
                                                                 ) -> None:
    found = comparison(shell, many, tmp_path / "out", "--seeds", "1", heads="linear,shallow")
    with (tmp_path / "out/rows.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [one["head"] for one in table] == ["linear", "shallow"]
    assert [float(one["accuracy"]) for one in table] == [one["accuracy"] for one in found["table"]]
    page = (tmp_path / "out/report.html").read_text()
    assert found["word"] in page and page.count("<circle") == 2 and "http" not in page.replace("http-equiv", "")
    assert f"{found['test']['accuracy']:.3f}" in page
    found["source"] = "<script>x</script>"
    found["table"][0]["backbone"] = 'a"><script>y</script>'
    assert "<script>" not in comparison_html(found)


def test_a_dot_lies_where_its_figures_say() -> None:
    one = {"backbone": "b", "head": "h", "unfreeze": "0", "recommended": False}
    table = [{**one, "accuracy": a, "accuracy_min": a, "accuracy_max": a, "milliseconds": ms}
             for a, ms in ((0.5, 1.0), (0.9, 10.0), (0.9, 100.0))]
    places = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', latency_chart(table))
    (x0, y0), (x1, y1), (x2, y2) = [(float(x), float(y)) for x, y in places]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and x0 < x1 and y0 > y1 == y2  # up the page is less


@pytest.mark.parametrize(("flags", "said"), [
    (["--backbones", "tiny_nett,minilmm", "--heads", "linera", "--seeds", "0", "--unfreeze", "some"],
     ["tiny_nett", "minilmm", "linera", "--seeds must be", "--unfreeze must be", "(got some)"]),
    (["--backbones", "tiny_net,minilm"], ["tiny_net is for images, minilm is for texts"]),
    (["--backbones", "tiny_net", "--unfreeze", "auto"], ["--unfreeze must be a number of blocks, all or contrast"]),
    (["--backbones", "tiny_net", "--heads", "linear,linear"], ["--heads must not repeat a value (got linear,linear)"]),
    (["--backbones", "tiny_net", "--weights", "none,none"], ["--weights must be one for all, or one for each of 1"]),
    (["--backbones", "tiny_net", "--precision", "float8"], ["--precision must be one of", "(got float8)"]),
])
def test_all_faults_are_told_at_once_before_any_work(flags: list[str], said: list[str], shell: Shell, tmp_path: Path
                                                     ) -> None:
    code, out, err = shell("compare", tmp_path / "no-such", "--out", tmp_path / "out", *flags)
    assert code == 2 and all(one in err for one in said) and "Traceback" not in err
    assert "no-such" not in err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_from_python_it_takes_plain_arguments_and_returns_a_typed_result(stand: Stand, many: Path, tmp_path: Path
                                                                        ) -> None:
    result = compare(str(many), ["tiny_net"], ["linear", "shallow"], seeds=1, weights=["none"],
                     out=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert str(result.recommended) == "tiny_net + shallow" == str(result.best) and result.modality == "image"
    linear, shallow = result.table
    assert linear.cost.bytes == 4 * linear.cost.parameters and linear.behind_best > 0 and shallow.p is None
    assert result.sentence == "tiny_net + shallow is significantly better than the other."
    assert result.to_dict()["table"][0]["megabytes"] == linear.cost.bytes / 1e6
    again = compare(read_images(str(many)), ["tiny_net"], ["linear", "shallow"], seeds=1, weights=["none"],
                    out=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert again.resumed == 2 and again.table == result.table
    with pytest.raises(OptionError, match="`heads` must not repeat"):
        compare(str(many), ["tiny_net"], ["linear", "linear"])


@pytest.mark.parametrize(("right", "said"), [
    ((90, 92), "best has the highest accuracy (0.920), but simple is simpler and not significantly worse: 2.0"),
    ((92, 90), "simple has the highest accuracy (0.920); it is not significantly better than the other, and no"),
    ((60, 95), "best is significantly better than the other."),
    ((95, 60, 94), "simple has the highest accuracy (0.950); it is significantly better than 1 of the 2 others, and"),
    ((95, 95), "simple and best share the highest accuracy (0.950); simple is the simplest of them. More labelled"),
    ((95, 95, 95), "simple and 2 others share the highest accuracy (0.950); simple is the simplest of them. More"),
    ((95, 95, 60), "simple and best share the highest accuracy (0.950); simple is the simplest of them, and it is "
     "significantly better than 1 of the 2 others. More labelled"),
    ((90, 92, 92), "best and third share the highest accuracy (0.920), but simple is simpler and not significantly"),
    ((95, 94, 93), "simple has the highest accuracy (0.950); it is not significantly better than any of the 2 others"),
    ((90,), "simple is the only combination"),
])
def test_the_sentence_says_what_the_test_shows(right: tuple[int, ...], said: str) -> None:
    verdict = simplest_within_noise([rows(100, n) for n in right], [(i,) for i in range(len(right))],
                                    [str(i) for i in range(100)])
    table = [ComparisonRow(Named(name), n / 100, 0, 1, 0.0, Cost(1, 4, 1.0), 0, test.gain if test else 0.0,
                           test.gain_ci95 if test else None, test.p if test else None, False)
             for name, n, test in zip(("simple", "best", "third"), right, verdict.tests, strict=False)]
    assert sentence(table, verdict).startswith(said)


@pytest.mark.slow
def test_more_blocks_than_there_are_and_no_such_source_are_refused(shell: Shell, many: Path, tmp_path: Path) -> None:
    words = ["--backbones", "tiny_net", "--weights", "none", "--out", tmp_path / "out"]
    code, _, err = shell("compare", many, *words, "--unfreeze", "0,3")
    assert code == 2 and "tiny_net has 2" in err
    code, _, err = shell("compare", tmp_path / "no-such", *words)
    assert code == 2 and "no-such" in err


@pytest.mark.slow
def test_real_training_unfreezes_and_leaves_the_backbone_as_it_was(shell: Shell, many: Path, tmp_path: Path) -> None:
    found = comparison(shell, many, tmp_path / "out", "--seeds", "1", "--unfreeze", "1,0", "--epochs", "1",
                       heads="linear")
    tuned, frozen = found["table"]
    assert (tuned["blocks"], frozen["blocks"]) == (1, 0)
    alone = comparison(shell, many, tmp_path / "alone", "--seeds", "1", "--epochs", "1", heads="linear")["table"][0]
    assert frozen["accuracy"] == alone["accuracy"] > 0.8 and frozen["parameters"] == tuned["parameters"]
    assert found["recommended"] == {"backbone": "tiny_net", "head": "linear", "unfreeze": "0"}


@pytest.mark.slow
def test_heads_on_pooled_features_and_on_maps_are_compared(shell: Shell, many: Path, tmp_path: Path) -> None:
    found = comparison(shell, many, tmp_path / "out", "--seeds", "1", "--epochs", "20",
                       heads="linear,attention:rate=0.03")
    pooled, on_maps = found["table"]
    assert on_maps["parameters"] > pooled["parameters"] and min(one["accuracy"] for one in found["table"]) > 0.8
    assert found["recommended"]["head"] == "linear"
