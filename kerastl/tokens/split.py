"""Which sentences are used for training, validation and testing: by the hash of their words, as for other data."""

from dataclasses import replace

import numpy as np

from kerastl.data.examples import PARTS, TEST, TRAIN, VALIDATION, Skipped, Split
from kerastl.data.split import parts_by_hash, takes_by_hash
from kerastl.errors import DataError
from kerastl.tokens.sentences import TokenExamples

DUPLICATE = "the same words as a sentence that is held out"


def split_sentences(examples: TokenExamples) -> TokenExamples:
    """Assign every sentence to a part: as the source's files say, or else 80/10/10 by the hash of its words, so that
    sentences of the same words stay together. Training and validation sentences of the same words as one that is more
    held out are skipped, and listed. A source that lacks test or validation files gets a tenth of its training
    sentences instead. Near-duplicates are not looked for.

    Raises DataError where a part would be empty.
    """
    ids = [sentence.id for sentence in examples.sentences]
    if any(examples.source_split):
        part = np.array([PARTS[name] for name in examples.source_split], np.int8)
        reason = "the source's own split"
        for wanted, name in ((TEST, "test"), (VALIDATION, "validation")):
            if not (part == wanted).any():
                taken = takes_by_hash(ids) == wanted
                part[(part == TRAIN) & taken] = wanted
                reason += f"; it has no {name} sentences, so a tenth of the training sentences is used instead"
        mode = "given"
    else:
        part = parts_by_hash(ids)
        reason, mode = "by the hash of each sentence", "holdout"
    kept, skipped = _apart(examples, ids, part)
    made = Split(mode, reason, part[kept])
    sizes = {name: len(made.rows(number)) for name, number in PARTS.items()}
    if min(sizes.values()) == 0:
        raise DataError(f"the split of {examples.source} is not usable: " +
                        ", ".join(f"{n} {name} sentences" for name, n in sizes.items()),
                        "training, validation and test sentences", "add sentences")
    return replace(examples.take(kept), split=made, skipped=(*examples.skipped, *skipped))


def _apart(examples: TokenExamples, ids: list[str], part: "np.typing.NDArray[np.int8]"
           ) -> tuple[list[int], list[Skipped]]:
    """The sentences that are kept, and those that are skipped because one of the same words is more held out."""
    most: dict[str, int] = {}
    for content, number in zip(ids, part.tolist(), strict=True):
        most[content] = max(most.get(content, TRAIN), number)  # TRAIN < VALIDATION < TEST
    kept = [row for row, content in enumerate(ids) if part[row] == most[content]]
    lost = sorted(set(range(len(ids))) - set(kept))
    return kept, [Skipped(examples.sentences[row].origin, DUPLICATE) for row in lost]
