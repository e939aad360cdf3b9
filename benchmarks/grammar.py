"""An artificial language whose trees are known: `write(path, sentences, seed)` writes them as CoNLL-U.

A clause has a verb, nouns in different cases, and adjectives that agree with a noun; a noun may have a relative clause,
and a verb a complement clause with a subjunction, three deep. The order of the parts is free, but clauses are nested:
a clause is never interrupted by words of the one around it. Which word a word depends on is marked by the forms, as in
a language with cases: an adjective has the case of its noun, and so has the verb of its relative clause; all words have
that of the depth of their clause. So every tree is unambiguous, but no word's place says anything about its head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CASES = ("nsubj", "obj", "iobj", "obl")
DEPTHS = 3
FORMS = 2  # words of each class
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"


@dataclass
class _Word:
    form: str
    head: "_Word | None"
    relation: str


class Grammar:
    """The language with a lexicon: words for each class and depth. lexicon: enough different words; default: drawn at
    random."""

    def __init__(self, seed: int = 0, lexicon: Sequence[str] | None = None) -> None:
        generator = np.random.default_rng(seed)
        words = [*dict.fromkeys(lexicon)] if lexicon else _drawn(generator, len(_classes()) * FORMS)
        self._words = {name: words[place * FORMS:(place + 1) * FORMS] for place, name in enumerate(_classes())}

    def sentence(self, generator: np.random.Generator) -> list[tuple[str, int, str]]:
        """Form, head (0: the root) and relation of each word of a drawn sentence."""
        words = self._clause(generator, 0, None, "root")
        place = {id(word): number for number, word in enumerate(words, 1)}
        return [(word.form, place[id(word.head)] if word.head else 0, word.relation) for word in words]

    def _word(self, generator: np.random.Generator, name: str, depth: int, head: "_Word | None", relation: str
              ) -> _Word:
        return _Word(str(generator.choice(self._words[f"{name}{depth}"])), head, relation)

    def _clause(self, generator: np.random.Generator, depth: int, head: "_Word | None", relation: str) -> list[_Word]:
        name = f"acl-{head.relation}" if head and relation == "acl" else "verb"
        verb = self._word(generator, name, depth, head, relation)
        parts = [[verb]]
        inner = depth + 1 < DEPTHS
        cases = [case for case in CASES if generator.random() < 0.6]
        host = int(generator.integers(-1, len(cases))) if inner and generator.random() < 0.7 else None
        for number, case in enumerate(cases):
            noun = self._word(generator, case, depth, verb, case)
            phrase = [[noun]] + [[self._word(generator, f"amod-{case}", depth, noun, "amod")]
                                 for _ in range(int(generator.integers(0, 3)))]
            if host == number:
                phrase.append(self._clause(generator, depth + 1, noun, "acl"))
            parts.append(_shuffled(phrase, generator))
        if host == -1:
            clause = self._clause(generator, depth + 1, verb, "ccomp")
            inside = next(word for word in clause if word.relation == "ccomp" and word.head is verb)
            parts.append([self._word(generator, "mark", depth + 1, inside, "mark"), *clause])
        return _shuffled(parts, generator)


def write(path: Path, sentences: int, seed: int, grammar: Grammar | None = None) -> None:
    """Write drawn sentences, all different, as CoNLL-U."""
    grammar, generator = grammar or Grammar(), np.random.default_rng(seed)
    drawn: dict[tuple[tuple[str, int, str], ...], None] = {}
    while len(drawn) < sentences:
        drawn[tuple(grammar.sentence(generator))] = None
    path.write_text("".join(f"{line}\n" for words in drawn for line in (*_lines(words), "")), encoding="utf-8")


def _lines(words: Sequence[tuple[str, int, str]]) -> Iterator[str]:
    for number, (form, head, relation) in enumerate(words, 1):
        yield "\t".join([str(number), form, "_", "_", "_", "_", str(head), relation, "_", "_"])


def _classes() -> list[str]:
    outer = ["verb", *CASES, *(f"amod-{case}" for case in CASES)]
    inner = [*outer, "mark", *(f"acl-{case}" for case in CASES)]
    return [f"{name}{depth}" for depth in range(DEPTHS) for name in (inner if depth else outer)]


def _shuffled(parts: list[list[_Word]], generator: np.random.Generator) -> list[_Word]:
    return [word for place in generator.permutation(len(parts)) for word in parts[place]]


def _drawn(generator: np.random.Generator, n: int) -> list[str]:
    words: dict[str, None] = {}
    while len(words) < n:
        words["".join(str(generator.choice(list(letters))) for letters in (CONSONANTS, VOWELS) * 2)] = None
    return [*words]
