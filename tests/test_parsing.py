"""Trees from scores, their accuracy by the semantics of CoNLL 2018, and how they are drawn."""

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from ufal.chu_liu_edmonds import chu_liu_edmonds

from kerastl.dependencies.decoding import best_heads, best_tree, is_tree
from kerastl.dependencies.drawing import draw_tree
from kerastl.dependencies.scorer import score, sentence_counts
from kerastl.errors import DataError, OptionError
from kerastl.tokens.sentences import Sentence


def total(scores: NDArray[np.float64], heads: NDArray[np.int64]) -> float:
    return float(scores[np.arange(len(heads)), heads].sum())


def best_by_force(scores: NDArray[np.float64]) -> float:
    """The highest sum over all assignments of heads that are trees by definition: one root, and every word reaches
    it."""
    n = len(scores)

    def reaches(heads: tuple[int, ...]) -> bool:
        for node in range(1, n + 1):
            steps = 0
            while node and steps <= n:
                node, steps = heads[node - 1], steps + 1
            if node:
                return False
        return heads.count(0) == 1

    return max(total(scores, np.array(heads)) for heads in product(range(n + 1), repeat=n)
               if all(head != place + 1 for place, head in enumerate(heads)) and reaches(heads))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_best_tree_is_that_of_all_trees(n: int) -> None:
    generator = np.random.default_rng(n)
    for draw in range(12 if n == 5 else 60):
        scores = generator.normal(0, 3, (n, n + 1))
        scores[:, 0] += draw % 3 * 3  # also where the best forest has several roots
        heads = best_tree(scores)
        assert is_tree(heads)
        assert total(scores, heads) == pytest.approx(best_by_force(scores))


def test_the_spanning_tree_agrees_with_another_implementation() -> None:
    """Of sentences whose best forest has one root by itself, since that package allows several."""
    compared = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        n = int(generator.integers(2, 40))
        scores = generator.normal(0, 2, (n, n + 1))
        square = np.full((n + 1, n + 1), np.nan)
        square[1:] = scores
        theirs = np.array(chu_liu_edmonds(square)[0][1:])
        if (theirs == 0).sum() == 1:
            compared += 1
            assert best_tree(scores).tolist() == theirs.tolist()
        else:
            assert total(scores, best_tree(scores)) < total(scores, theirs)
    assert compared > 50


def test_the_best_heads_may_be_no_tree() -> None:
    scores = np.array([[0., 0, 5, 0], [0, 5, 0, 0], [1, 0, 2, 0]])
    assert best_heads(scores).tolist() == [2, 1, 2]
    assert not is_tree(best_heads(scores))
    assert best_tree(scores).tolist() in ([0, 1, 2], [2, 0, 2])


def test_scores_that_are_no_numbers_or_of_another_shape_are_refused() -> None:
    with pytest.raises(OptionError, match="finite"):
        best_tree(np.array([[np.nan, 0.0]]))
    with pytest.raises(OptionError, match="shape"):
        best_tree(np.zeros((3, 3)))


def tree(heads: Sequence[int], relations: Sequence[str], name: object = "") -> Sentence:
    """A sentence of made-up words. name: keeps the words of sentences apart."""
    return Sentence(tuple(f"w{name}x{place}" for place in range(len(heads))), heads=tuple(map(int, heads)),
                    relations=tuple(relations))


def conllu(trees: list[Sentence], *, extras: bool) -> str:
    """The sentences as a file; extras: with a multi-word token and an empty node in each."""
    lines = []
    for number, sentence in enumerate(trees):
        for place, (head, relation) in enumerate(zip(sentence.heads, sentence.relations, strict=True)):
            if extras and place == 0 and len(sentence) > 1:
                lines.append("1-2\t" + f"w{number}x0w{number}x1" + "\t_" * 8)
            lines.append("\t".join([str(place + 1), f"w{number}x{place}", "_", "X", "_", "_", str(head), relation, "_",
                                    "_"]))
            if extras and place == 0:
                lines.append("1.1\tempty" + "\t_" * 8)
        lines.append("")
    return "\n".join(lines) + "\n"


def drawn_trees(seed: int, sizes: list[int]) -> list[Sentence]:
    generator = np.random.default_rng(seed)
    names = ["nsubj", "obj", "obl:tmod", "obl", "case", "punct", "det", "aux:pass", "nmod:poss", "conj", "ig"]
    trees = []
    for n in sizes:
        heads = best_tree(generator.normal(size=(n, n + 1)))
        relations = ["root" if head == 0 else names[generator.integers(len(names))] for head in heads]
        trees.append(tree(heads, relations, len(trees)))
    return trees


@pytest.mark.parametrize("extras", [False, True])
def test_the_figures_are_those_of_the_scorer_of_conll_2018(extras: bool) -> None:
    from udtools.udeval import evaluate, load_conllu

    sizes = [1, 2, 5, 9, 14, 30]
    gold, other = drawn_trees(1, sizes), drawn_trees(2, sizes)
    mixed = [[a if i % 3 else b for i, (a, b) in enumerate(zip(g.heads, o.heads, strict=True))]
             for g, o in zip(gold, other, strict=True)]
    predicted = [g.with_tree(m if is_tree(np.array(m)) else g.heads, o.relations)
                 for m, g, o in zip(mixed, gold, other, strict=True)]
    theirs = evaluate(*(load_conllu(io.StringIO(conllu(trees, extras=extras)), "x", {}) for trees in (gold, predicted)))
    ours = score(gold, predicted)
    for name, value in (("UAS", ours.uas), ("LAS", ours.las), ("CLAS", ours.clas)):
        assert value == pytest.approx(theirs[name].f1), name
    assert 0 < ours.las < ours.uas < 1
    assert ours.content_words == theirs["CLAS"].gold_total


def test_counts_by_hand() -> None:
    gold = tree((2, 0, 2, 3), ("nmod:poss", "root", "obj", "case"))
    predicted = tree((2, 0, 2, 2), ("nmod", "root", "obl", "case"))
    assert sentence_counts([gold], [predicted]).tolist() == [[4, 3, 2, 2, 3, 3]]
    figures = score([gold], [predicted])
    assert (figures.uas, figures.las, figures.clas) == (0.75, 0.5, pytest.approx(2 / 3))


def test_the_interval_treats_equal_sentences_as_one() -> None:
    """It must not narrow where every sentence is repeated within its group."""
    gold, predicted = drawn_trees(3, [8] * 20), drawn_trees(4, [8] * 20)
    once, twice = score(gold, predicted), score(gold * 2, predicted * 2)
    assert once.uas_ci95 == twice.uas_ci95
    assert once.uas_ci95[0] < once.uas < once.uas_ci95[1]
    alone = score(gold[:1], predicted[:1])
    assert 0 < alone.uas < 1 and alone.uas_ci95 == (0, 1)  # one sentence says nothing about others


def test_trees_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="2 words"):
        score([tree((0,), ("root",))], [tree((0, 1), ("root", "obj"))])
    with pytest.raises(DataError, match="no sentences"):
        score([], [])


def test_a_drawn_tree_marks_what_is_incorrect_and_escapes_its_words() -> None:
    gold = tree((2, 0, 2), ("nsubj", "root", "obj"))
    words = replace(gold, words=("<b>", "a&b", "c"))
    correct, incorrect = draw_tree(words, words), draw_tree(words.with_tree((2, 0, 1), gold.relations), words)
    assert correct.count("<g ") == 3 and "incorrect" not in correct and "given" not in correct
    assert incorrect.count('class="incorrect"') == 1 and incorrect.count('class="given"') == 1
    assert "&lt;b&gt;" in correct and "a&amp;b" in correct and "<b>" not in correct
    ElementTree.fromstring(correct)  # well-formed


def test_arcs_that_cover_others_are_drawn_above_them() -> None:
    drawn = draw_tree(tree((3, 1, 0), ("x", "y", "root")))
    heights = {label: float(y) for y, label in re.findall(r'y="(-?[\d.]+)">(x|y|root)<', drawn)}
    assert heights["root"] < heights["x"] < heights["y"]
