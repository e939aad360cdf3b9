"""Predictions by workers: the inputs, shard by shard, in worker processes or in Ray actors."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import OptionError
from kerastl.features.cache import chosen_dir
from kerastl.features.shard_pass import ISOLATE, isolate
from kerastl.files import file_sha256, listed_state
from kerastl.inputs.isolation import workers_for
from kerastl.runtime import Runtime, import_tensorflow_quietly
from kerastl.serving.answers import Refused
from kerastl.serving.classifier import Classifier, load_classifier
from kerastl.serving.predictions import Row
from kerastl.shards.give_out import start_job
from kerastl.shards.store import Part, Shard, digest_of, job_folder
from kerastl.shards.team import deliver
from kerastl.shards.worker import Compute
from kerastl.versions.folder import MANIFEST

SHARD_ROWS = 512
REFUSED = "refused"
RowsOf = Callable[[Iterable[Any]], Iterator[Row | str]]  # as `Classifier.rows`


@contextmanager
def rows_by_workers(classifier: Classifier, runtime: Runtime, trust: bool, cache_dir: str | None, request: Sequence[Any]
                    ) -> Iterator[RowsOf]:
    """As `Classifier.rows`, by the workers that `runtime` asks for. What they have computed stays in the cache until
    the block ends, so that the same `request`, what JSON can hold, continues there after it was killed.

    Raises OptionError for a model that was exported without its backbone, which takes all of a machine's memory.
    """
    record = classifier.record
    if record.large is not None:
        raise OptionError("`workers` is set, but the model was exported without its backbone, of which every worker "
                          "would hold a copy", "a model that was exported with its backbone", "omit `workers`")
    model = str(classifier.folder.absolute())
    made_by = [model, file_sha256(classifier.folder / MANIFEST), file_sha256(classifier.folder / "saved_model.pb")]
    with job_folder(chosen_dir(cache_dir), f"predict-{record.name}-{digest_of(made_by, request)}") as folder:
        job = {"worker": f"{__name__}:worker", "model": model, "trust": trust,
               ISOLATE: workers_for(sys.maxsize) is not None}  # how many inputs there are is not known before

        def rows(items: Iterable[Any]) -> Iterator[Row | str]:
            rest = iter(items)
            first = [*islice(rest, SHARD_ROWS)]
            sample = next((str(item) for item in first if classifier.modality.in_files
                           and not isinstance(item, Refused)), None)
            team = start_job(folder, job, runtime, sample)
            made = [made_by, team.threads, classifier.modality.in_files]
            for _, part in deliver(folder, _shards(first, rest, made), team):
                yield from _rows(part)

        yield rows


def _shards(first: list[Any], rest: Iterator[Any], made_by: Sequence[Any]) -> Iterator[Shard]:
    number, block = 0, first
    while block:
        digest = digest_of(made_by, [*map(_file if made_by[-1] else _plain, block)])
        yield Shard(number, number * SHARD_ROWS, len(block), {"items": [*map(_plain, block)]}, digest)
        number, block = number + 1, [*islice(rest, SHARD_ROWS)]


def _plain(item: Any) -> Any:
    """An input as JSON holds it."""
    if isinstance(item, Refused):
        return {REFUSED: str(item)}
    return os.fspath(item) if isinstance(item, PathLike) else item


def _item(plain: Any) -> Any:
    """The input that `_plain` was given."""
    if isinstance(plain, dict):
        return Refused(plain[REFUSED])
    return tuple(plain) if isinstance(plain, list) else plain


def _file(item: Any) -> Any:
    """A path with the file's size and the time of its last change, on which a shard's name depends; for a remote file,
    with the state that the object store reports of it."""
    plain = _plain(item)
    if isinstance(plain, dict):
        return plain
    if (state := listed_state(plain)) is not None:
        return [plain, state]
    try:
        stat = os.stat(plain)
    except (OSError, ValueError):  # gone, or a NUL in its name; the worker says what is wrong with it
        return plain
    return [plain, stat.st_size, stat.st_mtime_ns]


def _rows(part: Part) -> Iterator[Row | str]:
    """The outputs of each input, or why it has none."""
    place_of = {place: number for number, place in enumerate(part.places)}
    for place in range(part.rows):
        if place in part.errors:
            yield part.errors[place]
        else:
            yield {name: array[place_of[place]] for name, array in part.arrays.items()}


def worker(folder: Path, job: Mapping[str, Any]) -> Compute:
    """What computes the shards of predictions, see `shards.worker`."""
    import_tensorflow_quietly()
    isolate(job[ISOLATE])
    classifier = load_classifier(job["model"], trust=job["trust"])

    def compute(task: Mapping[str, Any]) -> Part:
        answers = list(classifier.rows([_item(plain) for plain in task["items"]]))
        good = [place for place, answer in enumerate(answers) if not isinstance(answer, str)]
        outputs: list[Row] = [answer for answer in answers if not isinstance(answer, str)]
        names = outputs[0] if outputs else ()
        errors = {place: str(answer) for place, answer in enumerate(answers) if isinstance(answer, str)}
        return Part({name: _array([row[name] for row in outputs]) for name in names}, good, errors)

    return compute


def _array(values: Sequence[Any]) -> NDArray[Any]:
    """Outputs of one name as an array without Python objects: labels are bytes in UTF-8."""
    array = np.asarray(values)
    return array.astype(np.bytes_) if array.dtype == object else array
