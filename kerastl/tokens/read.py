"""From a file or a folder to sentences."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from kerastl.data.examples import PARTS
from kerastl.errors import DataError, OptionError, expect
from kerastl.files import is_file, prefetched, source_path
from kerastl.tokens import conllu, two_column
from kerastl.tokens.sentences import Sentence, TokenExamples

CONLLU, TWO_COLUMN = "conllu", "two_column"
FORMS = {".conllu": CONLLU, ".conll": TWO_COLUMN, ".tsv": TWO_COLUMN, ".txt": TWO_COLUMN, ".bio": TWO_COLUMN,
         ".iob": TWO_COLUMN, ".iob2": TWO_COLUMN}
PART_WORDS = {"train": "train", "dev": "validation", "valid": "validation", "validation": "validation", "test": "test"}
READABLE = (f"a file of sentences ({', '.join(FORMS)}), or a folder of such files, whose names may say train, dev and "
            "test")


def read_sentences(data: str | Path, column: str = "upos", *, limit: int | None = None,
                   cache_dir: str | Path | None = None) -> TokenExamples:
    """The sentences of a file, or of the files of a folder such as a treebank of Universal Dependencies, `UD_X/`.

    Files that end in .conllu are CoNLL-U; others hold a word and its tag in each line. If the files' names say train,
    dev (or validation) and test, that is the split of the source. column: of a CoNLL-U file, the one that holds the
    tags: upos, xpos, feats, lemma, deprel or misc. limit: read at most so many sentences, always the same ones.
    cache_dir: where remote files are kept; default: the user's cache directory.

    Raises DataError that names file and line, for a source that cannot be read; OptionError for another column.
    """
    expect((str, Path), "the path of a file or a folder", data=data)
    if column not in conllu.TAG_COLUMNS:
        raise OptionError(f"`column` is {column}", f"one of {', '.join(conllu.TAG_COLUMNS)}", "omit `column` for upos")
    folder = source_path(data, cache_dir)
    paths = _files(folder)
    forms = {FORMS[path.suffix.lower()] for path in paths}
    if len(forms) > 1:
        raise DataError(f"{data} has files of both formats: {', '.join(path.name for path in paths[:6])}",
                        "CoNLL-U files (.conllu), or files of two columns", "pass one file, or remove the others")
    form = forms.pop()
    read: Callable[[Path], Iterator[Sentence]] = two_column.read if form == TWO_COLUMN else \
        lambda path: conllu.read(path, column)
    parts = _parts(paths) if folder.is_dir() else [""]
    sentences = [(sentence, part) for path, part in zip(prefetched(paths), parts, strict=True)
                 for sentence in read(path)]
    if not sentences:
        raise DataError(f"{data} contains no sentences", READABLE, "check the path")
    return limited(TokenExamples(str(data), tuple(sentence for sentence, _ in sentences), form,
                                 column if form == CONLLU else "", tuple(part for _, part in sentences)), limit)


def with_tags(examples: TokenExamples) -> TokenExamples:
    """The same; raises DataError if a sentence has no tags, or a tag is missing."""
    for sentence in examples.sentences:
        if not sentence.tags or (
                examples.column not in ("", *conllu.OPTIONAL) and conllu.EMPTY in sentence.tags):
            where = f"the column {examples.column} of {sentence.origin}" if examples.column else sentence.origin
            raise DataError(f"{where} has words without a tag", "a tag for each word",
                            "choose another `column`, or remove the sentence")
    return examples


def with_trees(examples: TokenExamples) -> TokenExamples:
    """The same; raises DataError if a sentence has no tree, a cycle, or a word without a relation. Several words may
    depend on the root, as in some treebanks."""
    for sentence in examples.sentences:
        if not sentence.heads:
            raise DataError(f"{sentence.origin} has no heads", "a head for each word (the columns head and deprel of "
                            "CoNLL-U)", "use a treebank")
        if (word := _in_cycle(sentence.heads)) is not None:
            raise DataError(f"{sentence.origin}: word {word} does not reach the root, because its heads make a cycle",
                            "a tree", "correct the sentence, or remove it")
        if conllu.EMPTY in sentence.relations:
            raise DataError(f"{sentence.origin}: word {sentence.relations.index(conllu.EMPTY) + 1} has a head, but no "
                            "relation", "a relation for each word (the column deprel)",
                            "correct the sentence, or remove it")
    return examples


def _in_cycle(heads: tuple[int, ...]) -> int | None:
    """The first word that does not reach the root; None in a tree."""
    reached = {0}
    for word in range(1, len(heads) + 1):
        path = set[int]()
        while word not in reached:
            if word in path:
                return min(path)
            path.add(word)
            word = heads[word - 1]
        reached |= path
    return None


def limited(examples: TokenExamples, limit: int | None) -> TokenExamples:
    """At most so many sentences, always the same (lowest hash first), in their order; all where `limit` is None."""
    if limit is not None and limit < 1:
        raise OptionError(f"`limit` is {limit}", "a number of sentences", "omit `limit` for all")
    if limit is None or len(examples) <= limit:
        return examples
    order = sorted(range(len(examples)), key=lambda row: examples.sentences[row].id)
    chosen = examples.take(sorted(order[:limit]))
    note = f"{len(examples) - limit:,} sentences are not used (`limit`)"
    return replace(chosen, notes=(*examples.notes, note))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = [file for file in sorted(path.iterdir()) if is_file(file) and file.suffix.lower() in FORMS]
        treebank = [file for file in found if FORMS[file.suffix.lower()] == CONLLU]
        found = treebank or found  # a treebank also has a README and a licence as .txt
        if not found:
            raise DataError(f"{path} has no file of sentences", READABLE, "check the path")
        return found
    if not path.exists():
        raise DataError(f"no such file or folder: {path}", READABLE, "check the path")
    if path.suffix.lower() not in FORMS:
        raise DataError(f"{path} ends in {path.suffix or 'nothing'}", READABLE, "rename the file")
    return [path]


def _parts(paths: list[Path]) -> list[str]:
    """The part of each file, by its name; empty for all where none says any."""
    parts = []
    for path in paths:
        words = [PART_WORDS[word] for word in re.split(r"[^a-z]+", path.stem.lower()) if word in PART_WORDS]
        parts.append(words[-1] if words else "")
    if any(parts) and not all(parts):
        unnamed = paths[parts.index("")]
        raise DataError(f"{unnamed} does not say which part of the split it is, while others do",
                        f"{', '.join(PARTS)} (or dev) in the name of each file, or of none", "rename or remove it")
    return parts
