"""Which rows to label next: how they are chosen, what a simulation may claim, and the table that is filled in."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, draw, draw_folder
from text_folders import hugging_face_folder
from tiny import clouds, made_examples, made_features

import kerastl as tl
from kerastl.data.apostrophes import MARK
from kerastl.data.examples import Skipped
from kerastl.errors import DataError, OptionError
from kerastl.studies.label_next.choose import CENTRE, MARGIN, RANDOM, choose, drawn_at_random, margins_of, too_few
from kerastl.studies.label_next.head import normalised
from kerastl.studies.label_next.propose import _proposed
from kerastl.studies.label_next.result import LabelNextResult, Proposal, simulation_lines
from kerastl.studies.label_next.simulate import Round, Simulation, _course, simulated

Shell = Callable[..., tuple[int, str, str]]
NOBODY = np.arange(0)


def chosen(x: np.ndarray, labelled: np.ndarray, margins: np.ndarray | None, n: int, seed: int = 0) -> list:
    candidates = np.setdiff1d(np.arange(len(x)), labelled)
    return choose(lambda rows: normalised(x[rows]), labelled, candidates,
                  None if margins is None else margins[candidates], n, np.random.default_rng(seed))


@pytest.mark.parametrize("n", [1, 2, 7, 20, 90, 500])
@pytest.mark.parametrize("by_margin", [False, True])
def test_each_candidate_is_chosen_at_most_once_and_a_tenth_at_random(n: int, by_margin: bool) -> None:
    x, _ = clouds(90, 3, 5, 4.0)
    labelled = np.arange(0, 90, 9)
    found = chosen(x, labelled, np.linspace(0, 1, 90) if by_margin else None, n)
    rows = [choice.row for choice in found]
    assert len(rows) == len(set(rows)) == min(n, 80) and not set(rows) & set(labelled.tolist())
    assert sum(choice.how == RANDOM for choice in found) == drawn_at_random(min(n, 80))
    assert {choice.how for choice in found} <= {RANDOM, MARGIN if by_margin else CENTRE}
    assert rows == [choice.row for choice in chosen(x, labelled, np.linspace(0, 1, 90) if by_margin else None, n)]


def test_equal_rows_and_a_single_candidate_are_no_trouble() -> None:
    same = np.ones((30, 4), np.float32)
    assert len(chosen(same, NOBODY, None, 10)) == len(chosen(same, NOBODY, np.zeros(30), 10)) == 10
    assert len(chosen(np.zeros((1, 4), np.float32), NOBODY, None, 10)) == 1


def test_typical_rows_come_from_the_clusters_that_have_no_label() -> None:
    generator = np.random.default_rng(0)
    centres = np.eye(4)[np.repeat(np.arange(4), 25)]
    x = (centres + 0.02 * generator.normal(size=(100, 4))).astype(np.float32)
    for seed in range(5):
        by = {choice.how: choice.row // 25 for choice in chosen(x, np.array([3, 30]), None, 2, seed)}
        assert by[CENTRE] in {2, 3} - {by[RANDOM]}  # what is drawn at random is labelled as well


def test_small_margins_are_chosen_and_differ() -> None:
    x = np.eye(3, dtype=np.float32)[np.arange(300) % 3]
    margins = np.where(np.arange(300) < 90, 0.01, 0.9)
    found = [choice.row for choice in chosen(x, NOBODY, margins, 4) if choice.how == MARGIN]
    assert max(found) < 90 and sorted(row % 3 for row in found) == [0, 1, 2]


def test_the_margin_is_the_distance_to_another_answer() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]])
    assert margins_of(p, True) == pytest.approx([0.2, 0.8])
    assert margins_of(p, False) == pytest.approx([0.0, 0.8])
    assert margins_of(p[:, :1], True) == pytest.approx([1, 1])
    assert too_few(np.array([90, 0])) and too_few(np.array([2, 1])) and not too_few(np.array([3, 1, 0]))


def test_held_out_rows_are_never_chosen_and_alone_measure(tmp_path: Path) -> None:
    x, y = clouds(120, 3, 6, 3.0)
    groups = [f"group {i // 2}" for i in range(120)]
    features = made_features(tmp_path, x, made_examples(y, groups=groups))
    held_out, kin = np.arange(120) < 40, np.array([f"kin {i // 2}" for i in range(120)])
    for by_strategy in (False, True):
        course = _course(features, np.arange(120), held_out, kin, 8, 4, by_strategy, 0)
        assert len(set(course.labelled.tolist())) == 32 and course.labelled.min() >= 40
        assert len({kin[row] for row in course.labelled}) == 32  # one of each near-duplicates
        assert (~np.isnan(course.correct) == held_out).all()


@pytest.mark.slow
def test_the_simulation_counts_clusters_and_says_where_it_does_not_pay(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(90, 5)).astype(np.float32), np.arange(90) % 3  # nothing to learn
    single = simulated(made_features(tmp_path / "a", x, made_examples(y)), 5, repeats=1)
    twice = made_examples(np.repeat(y, 2), groups=[f"g{i // 2}" for i in range(180)])
    double = simulated(made_features(tmp_path / "b", np.repeat(x, 2, axis=0), twice), 5, repeats=1)
    assert (single.rows, single.clusters, single.draws) == (90, 90, 3) and double.clusters == 90
    assert single.verdict == "unclear" and "does not measurably pay" in simulation_lines(single)[0]
    widths = [s.gain_ci95[1] - s.gain_ci95[0] for s in (single, double)]
    assert widths[1] > 0.6 * widths[0]  # repeating each row does not narrow the interval
    assert [each.labels for each in single.rounds] == [5, 10, 15, 20, 25, 30]
    worse = replace(single, verdict="hurt", gain=-0.1, gain_ci95=(-0.2, -0.05))
    assert "does not pay" in simulation_lines(worse)[0] and "Draw rows at random" in simulation_lines(worse)[0]
    with pytest.raises(DataError, match="too few to simulate rounds of 20"):
        simulated(made_features(tmp_path / "a", x, made_examples(y)), 20)


@pytest.mark.slow
def test_choosing_pays_where_most_rows_are_alike(tmp_path: Path) -> None:
    """Nine in ten rows are of one class; the others have nine classes, which are rarely drawn at random."""
    generator = np.random.default_rng(0)
    y = np.where(np.arange(400) % 10 > 0, 0, 1 + np.arange(400) // 10 % 9)
    x = (3 * np.eye(10)[y] + 0.3 * generator.normal(size=(400, 10))).astype(np.float32)
    found = simulated(made_features(tmp_path, x, made_examples(y)), 10, repeats=1)
    assert found.verdict == "helped" and found.gain > 0.01 and (found.as_good or 0) < found.labels


@pytest.mark.slow
def test_rows_with_several_labels_are_simulated_too(tmp_path: Path) -> None:
    x, y = clouds(90, 3, 6, 4.0)
    targets = np.stack([y == 0, y != 2, y > 0], axis=1).astype(np.int64)
    found = simulated(made_features(tmp_path, x, made_examples(targets)), 5, repeats=1)
    assert found.rounds[-1].strategy > 0.5 and found.rounds[-1].margins > 0


def test_near_duplicates_are_proposed_once(tmp_path: Path) -> None:
    """Rows 0 to 5 are labelled. Row 6 has the content of row 0; 7 nearly that of row 1; 8 and 9 are alike; 10 to 12."""
    x, y = clouds(13, 2, 6, 4.0)
    examples = made_examples(y, classes=("a", "b"))
    examples = replace(examples, ids=(*examples.ids[:6], examples.ids[0], *examples.ids[7:]))
    kin = np.array([*"abcdef", "a", "b", "g", "g", "h", "i", "j"])
    labelled = np.arange(13) < 6
    empty = tl.LabelNextResult("s", "pool", "image", 20, 6, {}, 7, 0, 0, ())
    result = _proposed(empty, made_features(tmp_path, x, examples), labelled, labelled, kin, 0)
    assert (result.already_labelled, result.near_duplicates, result.candidates) == (1, 2, 4)
    origins = {proposal.origin for proposal in result.proposals}
    assert origins == {"row 8", "row 10", "row 11", "row 12"}
    with pytest.raises(DataError, match="nothing in pool is left to label"):
        _proposed(empty, made_features(tmp_path, x, examples), labelled, labelled, np.array(["a"] * 13), 0)


@pytest.mark.slow
def test_images_are_proposed_labelled_and_read_again(tmp_path: Path, shell: Shell) -> None:
    pool, known = draw_folder(tmp_path / "pool", 8), tmp_path / "known"
    for colour in ("red", "green"):
        (known / colour).mkdir(parents=True)
        for i in range(3):
            shutil.copy(pool / colour / f"{i}.png", known / colour)
    shutil.copy(pool / "blue" / "0.png", pool / "blue" / "twin.png")
    (pool / "blue" / "broken.png").write_bytes(b"no image")
    draw(pool / "=1+1 <script>.png", COLOURS["blue"], 77)
    flags = ("--backbone", "tiny_net", "--weights", "none", "--cache-dir", tmp_path / "cache", "--engine", "tensorflow")
    table = tmp_path / "next.csv"
    code, out, _ = shell("label-next", known, pool, "--n", 30, "--out", table, *flags, "--json")
    document = json.loads(out)
    assert code == 0 and document["labelled"] == 6 and document["already_labelled"] == 6
    assert document["rows"] == 26 and document["candidates"] == len(document["proposals"]) <= 19
    assert any("broken.png" in item["origin"] for item in document["left_out"])
    origins = [row["origin"] for row in document["proposals"]]
    assert not {"blue/0.png", "blue/twin.png"} <= set(origins) and "red/0.png" not in origins
    page = (tmp_path / "next.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and page.count("data:image/jpeg") == len(origins)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} >= {"./=1+1 <script>.png"} or any("pool/=1+1" in row["path"] for row in rows)
    assert all(not row["label"] for row in rows) and {row["suggested_label"] for row in rows} <= {"red", "green"}
    for row in rows:
        row["label"] = "blue" if "/" not in row["origin"] else row["origin"].split("/")[0]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    examples = tl.read_images(str(table), min_per_class=1)
    assert len(examples) == len(rows) and set(examples.ids) == {row["id"] for row in rows}
    code, _, err = shell("label-next", known, pool, "--out", table, *flags)
    assert code == 2 and "may hold your labels" in err and "--out" in err
    second = tl.label_next(str(table), str(pool), 5, backbone="tiny_net", weights="none",
                           cache_dir=str(tmp_path / "cache"))
    assert not {row["id"] for row in rows} & {proposal.id for proposal in second.proposals}


def test_a_round_holds_the_labels_of_the_rounds_before(tmp_path: Path) -> None:
    """Also where a file or a class has the name of a formula."""
    for name, colour in (("=1+1.png", "red"), ("b.png", "green"), ("deep/c.png", "blue")):
        draw(tmp_path / "d" / name, COLOURS[colour], 5)
    (tmp_path / "d" / "one.csv").write_text(
        "path,label,group,part\n./=1+1.png,=x,g1,test\nb.png,-1|b,g1,train\ndeep/c.png,b,@g,train\n")
    options = tl.ReadOptions(split_column="part", multi_label="on")
    known = tl.read_images(str(tmp_path / "d" / "one.csv"), min_per_class=0, options=options)
    draw(tmp_path / "d" / "new.png", COLOURS["red"], 6)
    proposal = Proposal("new.png", str(tmp_path / "d" / "new.png"), "0" * 32, RANDOM, "drawn at random")
    result = tl.LabelNextResult("s", "p", "image", 1, 3, {}, 1, 0, 0, (proposal,), known=known)
    for name in ("d/two.csv", "elsewhere/two.csv"):
        table = tmp_path / name
        table.parent.mkdir(exist_ok=True)
        tl.write_label_next(result, str(table), with_labelled=True)
        again = tl.read_images(str(table), min_per_class=0, options=replace(options, split_column="random_split"))
        assert again.ids == known.ids and again.labels.tolist() == known.labels.tolist()
        assert again.source_split == known.source_split and again.groups == known.groups
        assert [skipped.reason for skipped in again.skipped] == ["no label"]
    with pytest.raises(OptionError, match="may hold your labels"):
        tl.write_label_next(result, str(table), with_labelled=True)


@pytest.mark.slow
def test_without_labels_typical_rows_are_proposed(tmp_path: Path) -> None:
    pool = draw_folder(tmp_path / "pool", 5)
    result = tl.label_next(None, str(pool), 5, backbone="tiny_net", weights="none", cache_dir=str(tmp_path / "cache"))
    assert result.labelled == 0 and {proposal.how for proposal in result.proposals} == {CENTRE, RANDOM}
    assert not any(proposal.suggested for proposal in result.proposals)
    one = tmp_path / "one" / "red"
    one.mkdir(parents=True)
    draw(one / "a.png", COLOURS["red"], 1234)
    few = tl.label_next(str(one.parent), str(pool), 3, backbone="tiny_net", weights="none",
                        cache_dir=str(tmp_path / "cache"))
    assert few.counts == {"red": 1} and any("fewer than 5 labels: red 1" in note for note in few.notes)
    with pytest.raises(DataError, match="nothing in .* is left to label"):
        tl.label_next(str(pool), str(pool), backbone="tiny_net", weights="none", cache_dir=str(tmp_path / "cache"))


def test_arguments_that_do_not_fit_are_refused_before_the_work(tmp_path: Path, shell: Shell) -> None:
    for words, message in ((("none",), "there is nothing to choose from"),
                           (("none", tmp_path, "--simulate"), "--simulate needs labels"),
                           ((tmp_path, tmp_path, "--n", 0), "--n must be at least 1"),
                           ((tmp_path, tmp_path / "gone"), "gone"), ((tmp_path / "gone", tmp_path), "gone")):
        code, _, err = shell("label-next", *words)
        assert code == 2 and message in err, err
    pool = draw_folder(tmp_path / "pool", 1)
    with pytest.raises(OptionError, match="(?s)2 options.*`max_length` is set.*`long` is set"):
        tl.label_next(None, str(pool), max_length=20, long="chunks")
    (tmp_path / "t.csv").write_text("text\na film\n")
    with pytest.raises(OptionError, match="`mirrored` is set, but the source contains texts"):
        tl.label_next(None, str(tmp_path / "t.csv"), mirrored=True)
    with pytest.raises(OptionError, match="`out` must end in .csv"):
        tl.write_label_next(tl.LabelNextResult("", "p", "text", 1, 0, {}, 1, 0, 0, ()), "x.txt")


TEXTS = ("=1+1", "'=1+1", "'quoted'", "-3, with a comma", 'a "quote"', "two\nlines", "two\r\nlines", "\ttab", "@home",
         "  outer blanks  ", "<b>bold</b>", "back\\slash", "\u202eabc", "esc \x1b[31m", "ein Satz \U0001f600", "plain")


@pytest.mark.parametrize("pair", [False, True])
def test_texts_come_back_as_they_were(pair: bool, tmp_path: Path) -> None:
    items = [(text, text[::-1] or "-") for text in TEXTS] if pair else list(TEXTS)
    proposals = tuple(Proposal(f"row {i}", item, f"{i:032x}", (MARGIN, RANDOM)[i % 2], "a reason", "-1" if i else "=x",
                               0.5, 0.1) for i, item in enumerate(items))
    result = tl.LabelNextResult("", "pool", "text", 9, 0, {}, len(items), 0, 0, proposals)
    written = tl.write_label_next(result, str(tmp_path / "t.csv"), str(tmp_path / "t.html"))
    assert written.out == str(tmp_path / "t.csv") and "<b>bold" not in (tmp_path / "t.html").read_text()
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert not any(row[name][:1] in "=@" for row in rows for name in row if row[name])
    assert {row["random_split"] for row in rows} == {"train", "test"}
    for i, row in enumerate(rows):
        row["label"] = row["suggested_label"] if i % 2 == 0 else "other"
    with (tmp_path / "filled.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    examples = tl.read_texts(str(tmp_path / "filled.csv"), min_per_class=1)
    assert list(examples.items) == items and set(examples.classes) == {"=x", "-1", "other"}
    assert any(MARK in note for note in examples.notes) and any("are biased" in note for note in examples.notes)
    by_split = tl.read_texts(str(tmp_path / "filled.csv"), min_per_class=1,
                             options=tl.ReadOptions(split_column="random_split"))
    assert list(by_split.source_split) == [("train", "test")[i % 2] for i in range(len(items))]
    assert not any("are biased" in note for note in by_split.notes)


@pytest.mark.slow
def test_texts_are_proposed_by_a_tiny_backbone(tmp_path: Path) -> None:
    weights = hugging_face_folder(tmp_path / "bert", "bert")
    good, bad = ([f"a {word} film {i}" for i in range(12)] for word in ("good", "bad"))
    (tmp_path / "known.csv").write_text("text,label\n" + "".join(
        f"{text},{text.split()[1]}\n" for text in (*good[:4], *bad[:4])))
    (tmp_path / "pool.csv").write_text("body\n" + "\n".join((*good, *bad)) + "\n")
    result = tl.label_next(str(tmp_path / "known.csv"), str(tmp_path / "pool.csv"), 6, backbone="bert_base",
                           weights=str(weights), unlabelled_column="body", cache_dir=str(tmp_path / "cache"))
    assert result.already_labelled == 8 and result.counts == {"bad": 4, "good": 4} and len(result.proposals) == 6
    assert {proposal.how for proposal in result.proposals} == {MARGIN, RANDOM}
    assert all(proposal.item in good[4:] + bad[4:] for proposal in result.proposals)
    (tmp_path / "split.csv").write_text("text,label,split\n" + "".join(
        f"{text},{text.split()[1]},{'test' if text in bad else 'train'}\n" for text in (*good[:4], *bad[:4])))
    alone = tl.label_next(str(tmp_path / "split.csv"), str(tmp_path / "pool.csv"), 6, backbone="bert_base",
                          weights=str(weights), unlabelled_column="body", cache_dir=str(tmp_path / "cache"))
    assert any("4 labelled rows are test rows" in note for note in alone.notes) and alone.already_labelled == 8
    assert {proposal.how for proposal in alone.proposals} == {CENTRE, RANDOM}  # one class is left to choose by
    (tmp_path / "several.csv").write_text("text,label\n" + "".join(
        f"{text},{text.split()[1]}{'|film' * (i % 2)}\n" for i, text in enumerate((*good[:4], *bad[:4]))))
    several = tl.label_next(str(tmp_path / "several.csv"), str(tmp_path / "pool.csv"), 6, backbone="bert_base",
                            weights=str(weights), long="chunks", max_length=8, options=tl.ReadOptions(multi_label="on"),
                            unlabelled_column="body", cache_dir=str(tmp_path / "cache"))
    assert several.counts == {"bad": 4, "film": 4, "good": 4}
    assert {proposal.how for proposal in several.proposals} == {MARGIN, RANDOM}
    assert all(0 <= (proposal.margin or 0) <= 1 and 0.5 <= (proposal.probability or 0) <= 1
               for proposal in several.proposals)


@pytest.mark.slow
@pytest.mark.parametrize("backbone, layer", [("tiny_net+tiny_net", "top"), ("tiny_net", "top")])
def test_fused_backbones_propose_too(backbone: str, layer: str, tmp_path: Path) -> None:
    pool = draw_folder(tmp_path / "pool", 6)
    result = tl.label_next(str(draw_folder(tmp_path / "known", 4, seed=5)), str(pool), 4, backbone=backbone,
                           weights="none", layer=layer, cache_dir=str(tmp_path / "cache"))
    assert {proposal.how for proposal in result.proposals} == {MARGIN, RANDOM}


def test_rows_that_are_skipped_for_the_same_reason_are_counted() -> None:
    skipped = (*(Skipped(f"row {row}", "no label") for row in range(1, 31)), Skipped("x.png", "is empty"))
    result = LabelNextResult("a.csv", "", "image", 5, 10, {"a": 10}, 0, 0, 0, (), skipped=skipped)
    assert result.skipped_lines == (*(f"skipped: row {row}: no label" for row in range(1, 6)),
                                    "skipped: 25 more: no label", "skipped: x.png: is empty")
    assert len(result.to_dict()["left_out"]) == 31


def test_a_single_label_reaches_and_several_reach() -> None:
    rounds = tuple(Round(n, 0.5, 0.4, 0.1, (0.0, 0.2), 0.0) for n in (1, 2, 3))
    simulation = Simulation(1, 12, 12, 12, rounds, 0.1, (-0.1, 0.3), "unclear", 3, 1)
    assert "which about 1 chosen label reaches." in simulation_lines(simulation)[1]
    assert "which about 2 chosen labels reach." in simulation_lines(replace(simulation, as_good=2))[1]
