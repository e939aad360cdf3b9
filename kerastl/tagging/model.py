"""An exported tagger, loaded for use. Its own SavedModel makes the predictions, as in TF Serving."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from kerastl.display import visible_cell
from kerastl.files import output_file
from kerastl.tagging.record import TaggingRecord
from kerastl.tokens.inputs import COLUMNS, CONLLU, padded, read_inputs, words_given, write_sentences
from kerastl.tokens.sentences import Sentence
from kerastl.versions.folder import find_version
from kerastl.versions.saved_graph import load_token_model

BATCH = 32


@dataclass(frozen=True)
class TaggedSentence:
    """A sentence with its predicted tags. scores: the calibrated probability of each tag."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    scores: tuple[float, ...]

    def __str__(self) -> str:
        """As in `the/DET cat/NOUN`."""
        return " ".join(f"{word}/{tag}" for word, tag in zip(self.words, self.tags, strict=True))


class Tagger:
    """A version's SavedModel with its run record. `kerastl.load` makes one."""

    def __init__(self, folder: Path, trust: bool = False) -> None:
        self.folder, self.record = folder, TaggingRecord.read(folder)
        self._model = load_token_model(folder, trust)
        self._words = self._model.signatures["words"]

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that the model knows."""
        return self.record.tags

    def __repr__(self) -> str:
        return f"Tagger({str(self.folder)!r}: {len(self.tags)} tags, {self.record.backbone} + {self.record.head})"

    def predict(self, sentences: Iterable[str | Sequence[str]] | str) -> list[TaggedSentence]:
        """The tags of sentences: each a text, whose words are separated by whitespace, or a list of words. A single str
        stands for a list of one. Raises DataError for what is neither, or has no word or an empty one."""
        given = [sentences] if isinstance(sentences, str) else list(sentences)
        words = [words_given(place, sentence) for place, sentence in enumerate(given)]
        made: list[TaggedSentence] = []
        for start in range(0, len(words), BATCH):
            made += self._tagged(words[start:start + BATCH])
        return made

    def _tagged(self, batch: Sequence[tuple[str, ...]]) -> list[TaggedSentence]:
        answer = {name: output.numpy() for name, output in self._words(words=tf.constant(padded(batch))).items()}
        return [TaggedSentence(own, tuple(tag.decode() for tag in answer["tags"][i, :len(own)]),
                               tuple(map(float, answer["scores"][i, :len(own)]))) for i, own in enumerate(batch)]


def load_model(folder: Path, trust: bool = False) -> Tagger:
    """The tagger of a version folder."""
    return Tagger(folder, trust)


@dataclass(frozen=True)
class TagResult:
    """Tagged sentences in the order of the inputs. out: the file that was written, or None."""

    model: str
    sentences: tuple[TaggedSentence, ...]
    out: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl predict --json` prints it."""
        return {"model": self.model, "out": self.out, "total": len(self.sentences), "predictions": [
            {"tokens": list(one.words), "tags": list(one.tags), "scores": list(one.scores)} for one in self.sentences]}

    @property
    def shown(self) -> str:
        """The tagged sentences, a line each, or where they were written."""
        if self.out:
            return f"{len(self.sentences)} sentences written to {self.out}"
        return "\n".join(visible_cell(str(one)) for one in self.sentences)


def predict_files(model: str, inputs: Sequence[str], *, lines: bytes = b"", text: Sequence[str] = (),
                  out: str | None = None, trust: bool = False) -> TagResult:
    """Tag texts and files, see `tokens.inputs.read_inputs`. out: also write the sentences to this .conllu or .tsv file;
    what a CoNLL-U file of the inputs holds beside the tags stays. Raises OptionError for another ending."""
    path = None if out is None else output_file(out, (CONLLU, *COLUMNS[:1]), inputs)
    tagger = Tagger(find_version(model), trust)
    sentences = read_inputs(inputs, text, lines)
    tagged = tagger.predict([sentence.words for sentence in sentences])
    if path is not None:
        made: list[Sentence] = [sentence.with_tags(one.tags) for sentence, one in zip(sentences, tagged, strict=True)]
        write_sentences(path, made, tagger.record.column or "upos")
    return TagResult(model, tuple(tagged), out)


def load_tagger(model: str | Path, *, trust: bool = False) -> Tagger:
    """Load a tagger, as `kerastl.load` does. Raises ModelError where it is another model."""
    return Tagger(find_version(str(model)), trust)
