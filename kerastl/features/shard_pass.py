"""The feature pass by workers: the rows that the cache lacks, shard by shard, in worker processes or in Ray actors."""

import atexit
import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import Backbone
from kerastl.compact import Hashes
from kerastl.data.examples import Examples
from kerastl.devices import AUTO, CPU, hides_gpus
from kerastl.errors import OptionError
from kerastl.features.cache import Space
from kerastl.features.engines.engine import Arithmetic, Engine, through
from kerastl.features.fill import Compute, missing
from kerastl.features.layout import as_stored
from kerastl.files import atomic_folder
from kerastl.inputs import Input, restored
from kerastl.inputs.isolation import isolated, workers_for
from kerastl.modality import modality_named
from kerastl.runtime import Runtime, import_tensorflow_quietly
from kerastl.shards.give_out import start_job
from kerastl.shards.store import CONTENT, Part, Shard, content_of, digest_of, job_folder
from kerastl.shards.team import deliver
from kerastl.shards.worker import Compute as ComputeShard

SHARD_ROWS = 512
SHARD_BYTES = 64 * 2**20  # of its rows
DEVICES = "devices"  # of a job: `cpu` where no GPU may be used
ISOLATE = "isolate"  # of a job: whether images are decoded apart, see `inputs.isolation`
NETWORK = "network"  # folder of the job: the model, and the files of its input


@contextmanager
def by_workers(examples: Examples, keys: Sequence[str], rows: NDArray[np.intp], backbone: Backbone, space: Space,
               engine: Engine, runtime: Runtime, batch_size: int, cache_dir: Path
               ) -> Iterator[tuple[Compute[Examples], str]]:
    """What `fill` takes to have these rows computed by the workers that `runtime` asks for; and which these are, in
    words. Only one process at a time is inside for a space. Shards stay on the disk until the block ends.

    Which rows a shard has follows from the order of all rows of the pass, not from those that the cache lacks. Raises
    OptionError for a large backbone, of which one copy takes the memory and the cores of a machine.
    """
    if backbone.large:
        raise OptionError(f"{backbone.name} is a large backbone, of which every worker would hold a copy",
                          "another backbone, or no workers", "omit `workers`, and `engine` if it is ray")
    size = max(1, min(SHARD_ROWS, SHARD_BYTES // space.key.row_bytes) // batch_size) * batch_size
    with job_folder(cache_dir, f"{space.key.name}-{digest_of(engine.graph, batch_size)}") as folder:
        space.refresh()  # another process may have filled it while this one waited
        todo = missing(space, keys, rows)
        every = rows[Hashes.of(keys).take(rows).first_of_each()]  # of each key the first row, among which are `todo`
        numbers = np.flatnonzero(np.isin(every, todo)) // size
        parts = {int(numbers[places[0]]): places for places in
                 np.split(np.arange(len(todo)), np.flatnonzero(np.diff(numbers)) + 1) if len(places)}
        _write_network(folder / NETWORK, backbone)
        job = {"worker": f"{__name__}:worker", "modality": backbone.spec.modality.name,
               "input": backbone.input.record(), "compute": engine.compute, "engine": engine.name,
               "graph": engine.graph, "shape": list(space.key.shape), "batch_size": batch_size,
               ISOLATE: workers_for(len(todo)) is not None, DEVICES: CPU if hides_gpus() else AUTO,
               CONTENT: content_of(Hashes.of(keys).take(rows))}
        in_files = backbone.spec.modality.in_files
        team = start_job(folder, job, runtime, sample=str(examples.items[todo[0]]) if in_files and len(todo) else None)
        made_by = [space.key.name, engine.graph, batch_size, team.threads]

        def computed(some: Examples, refused: dict[int, str], progress: Any
                     ) -> Iterator[tuple[Sequence[int], NDArray[Any]]]:
            def shards() -> Iterator[Shard]:
                for number, places in ((number, places.tolist()) for number, places in parts.items()):
                    task = {"items": [some.items[place] for place in places], "ids": [some.ids[i] for i in places]}
                    yield Shard(number, number * size, len(places), task, digest_of(made_by, task["ids"]))

            for shard, part in deliver(folder, shards(), team):
                places = parts[shard.number].tolist()
                refused.update({places[place]: reason for place, reason in part.errors.items()})
                progress(shard.rows)
                yield [places[place] for place in part.places], part.arrays["rows"]

        yield computed, str(team)


def _write_network(folder: Path, backbone: Backbone) -> None:
    """Write the model and its input for the workers, unless a run that was killed has done so."""
    if folder.exists():
        return
    with atomic_folder(folder) as partial:
        backbone.model.save(partial / "model.keras")
        backbone.input.save(partial)


def worker(folder: Path, job: Mapping[str, Any]) -> ComputeShard:
    """What computes the shards of a pass, see `shards.worker`."""
    import_tensorflow_quietly(job[DEVICES])
    isolate(job[ISOLATE])
    source, engine = _input(folder / NETWORK, job), _engine(folder / NETWORK, job)
    shape = tuple(job["shape"])

    def compute(task: Mapping[str, Any]) -> Part:
        items = [tuple(item) if isinstance(item, list) else item for item in task["items"]]
        refused: dict[int, str] = {}
        places: list[int] = []
        rows = [np.zeros((0, *shape), as_stored(np.zeros((0, *shape), np.float32), shape).dtype)]
        for batch, pieces in through(engine, source.batches(items, job["batch_size"], refused, ids=task["ids"])):
            places += batch.places
            rows.append(as_stored(batch.merged(pieces), shape))
        return Part({"rows": np.concatenate(rows)}, places, refused)

    return compute


def isolate(apart: bool) -> None:
    """In a worker, until it ends: decode images as the process does that gave the job out, apart or not."""
    decoding = ExitStack()
    decoding.enter_context(isolated("on" if apart else "off"))
    atexit.register(decoding.close)


def _input(folder: Path, job: Mapping[str, Any]) -> Input:
    source = restored(modality_named(job["modality"]), job["input"], folder)
    return source.stepped() if job["graph"] == "xla" else source


def _engine(folder: Path, job: Mapping[str, Any]) -> Engine:
    import keras

    from kerastl.features.engines.check import engine_of
    from kerastl.features.engines.tensorflow import plain_engine

    for module in modality_named(job["modality"]).layer_modules:
        importlib.import_module(module)
    model = keras.models.load_model(folder / "model.keras", compile=False)
    arithmetic = Arithmetic(job["compute"], job["engine"])
    if arithmetic == Arithmetic("float32") and job["graph"] == "plain":
        return plain_engine(model)
    return engine_of(model, arithmetic, job["graph"] == "xla", job["threads"])
