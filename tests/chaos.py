"""Runs that are killed at random moments, by hand: `python tests/chaos.py [ROUNDS] [SEED] [CASE ...]`, `make chaos`.

In each round a command is killed one to three times, by kill -9, before a change to a file or at any other moment, and
is then run to its end. What it writes has to be what an unkilled run writes; the model that was there before stays as
it was; every row of the cache is one that an unkilled run computes; no temporary files, locks and processes are left.
The exit code is 1 if anything was wrong.
"""

import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import chaos_remote
import chaos_serve
from chaos_cases import (
    CASES,
    PATIENT,
    Case,
    Material,
    Result,
    differences,
    make_material,
    make_older,
    rows_of,
    succeeded,
)
from child_runs import Server, command_of

PATIENCE = 10.0  # seconds in which the processes of a killed run have to end


@dataclass(frozen=True)
class Reference:
    """An unkilled run. changes: to files. seconds: it took."""

    folder: Path
    result: Result
    rows: dict[str, dict[bytes, bytes]]
    changes: int
    seconds: float


@dataclass
class Chaos:
    """Rounds of kills. faults: what was wrong, in words."""

    server: Server
    material: Material
    folder: Path
    chance: random.Random
    faults: list[str] = field(default_factory=list)
    kills: int = 0

    def reference(self, case: Case) -> Reference:
        """Run a case that nothing kills."""
        folder = self._new(case, "unkilled")
        start, run = time.monotonic(), self.server.start(case.words(self.material, folder))
        succeeded(run.end(PATIENT))
        if case.remote:
            chaos_remote.fetch(folder / "out")
        faults = [f"{case.name}, unkilled: {fault}" for fault in self._left(case, folder)]
        print(*faults, sep="\n", end="\n" * bool(faults), flush=True)
        self.faults += faults
        return Reference(folder, case.result(folder), rows_of(folder / "cache"), run.changes(),
                         time.monotonic() - start)

    def round(self, case: Case, reference: Reference, number: int) -> list[str]:
        """Kill a run and its successors, and look at what they leave and what the last one makes of that."""
        folder, moments, faults = self._new(case, "killed"), [], []
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            moments.append(self._killed(case, folder, reference))
            faults += self._visible(case, folder)
            for place in self._places(folder):
                make_older(place)
        ended = self.server.start(case.words(self.material, folder)).end(PATIENT)
        published = case.once and ended.code == 2 and "which exists" in ended.err  # before the last kill
        if ended.code and not published:
            faults.append(f"the next run ended with {ended.code}: {ended.err[-1500:]}")
        else:
            faults += self._visible(case, folder)
            faults += differences(case.result(folder), reference.result)
            faults += wrong_rows(rows_of(folder / "cache"), reference.rows)
            faults += self._left(case, folder)
        return [f"{case.name}, round {number} (killed {', '.join(moments)}): {fault}" for fault in faults]

    def _places(self, folder: Path) -> tuple[Path, ...]:
        """Where a run may leave something."""
        return folder, self.server.folder / "tmp", Path(os.environ["XDG_CACHE_HOME"])

    def _new(self, case: Case, name: str) -> Path:
        folder = self.folder / "run"  # the same path for all, so that what depends on it is the same
        if folder.exists():
            shutil.rmtree(self.folder / "before", ignore_errors=True)
            folder.rename(self.folder / "before")
        folder.mkdir(parents=True)
        if case.versions:
            shutil.copytree(self.material.model / "1", folder / "out/m/1")
        if case.remote:
            chaos_remote.put(self.material.model)
        return folder

    def _killed(self, case: Case, folder: Path, reference: Reference) -> str:
        """Kill a run. Returns when, in words."""
        self.kills += 1
        if self.chance.random() < 0.6:
            change = self.chance.randint(1, reference.changes)
            ended = self.server.start(case.words(self.material, folder), die_at=change).end(PATIENT)
            return f"before change {change} of {reference.changes}" + " (which it did not reach)" * (ended.code == 0)
        run, moment = self.server.start(case.words(self.material, folder)), self.chance.uniform(0, reference.seconds)
        code = run.kill_after(moment, PATIENT).code
        return f"after {moment:.2f} of {reference.seconds:.2f} s" + " (it had ended)" * (code != -signal.SIGKILL)

    def _visible(self, case: Case, folder: Path) -> Iterator[str]:
        """What is wrong with what can be seen under final names."""
        from kerastl.versions.damage import faults

        if case.remote:
            chaos_remote.fetch(folder / "out")
        home = folder / "out/m"
        if case.versions and digests(home / "1") != digests(self.material.model / "1"):
            yield "the version that was there before has changed"
        for version in home.glob("[0-9]*"):
            yield from (f"version {version.name}: {fault}" for fault in faults(version))
        if (folder / "phone").exists():
            yield from (f"the files for an app: {fault}" for fault in faults(folder / "phone"))

    def _left(self, case: Case, folder: Path) -> Iterator[str]:
        """What is left behind after a run that ended well."""
        _, tmp, home = self._places(folder)
        for path in sorted([*folder.rglob("*.part"), *home.rglob("*.part"), *tmp.iterdir()]):
            yield f"{path} is left behind"
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        states = [*(folder / "cache/fine_tune").glob("*/"), *(folder / "cache/contrast").glob("*/")]
        yield from (f"{path} is left behind" for path in states)
        shards = [path for path in (folder / "cache/shards").glob("*/*") if path.name != "manifest.json"]
        yield from (f"{path} is left behind" for path in shards)
        orphans = {path.name.split(".")[0] for path in folder.glob("cache/features/*/*.rows.npy")} - {
            path.name.split(".")[0] for path in folder.glob("cache/features/*/*.ids.npy")}
        yield from (f"the rows {name} are left behind without ids" for name in orphans)
        deadline = time.monotonic() + PATIENCE
        while (strays := self.server.strays()) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield from (f"the process {pid} is left over: {command_of(pid)}" for pid in strays)


def digests(folder: Path) -> dict[str, str]:
    """The hash of each file below a folder."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


def wrong_rows(ours: dict[str, dict[bytes, bytes]], theirs: dict[str, dict[bytes, bytes]]) -> Iterator[str]:
    """Rows that differ from those that an unkilled run computed."""
    for space in ours.keys() | theirs.keys():
        mine, expected = ours.get(space, {}), theirs.get(space, {})
        if missing := len(expected.keys() - mine.keys()):
            yield f"{missing} rows are missing in {space}"
        wrong = [content.hex() for content, row in mine.items() if expected.get(content) != row]
        if wrong:
            yield f"{len(wrong)} rows of {space} are wrong, such as {wrong[0]}"


def run(chaos: Chaos, rounds: int, cases: tuple[Case, ...]) -> None:
    """So many rounds of each case."""
    for case in cases:
        start, before = time.monotonic(), len(chaos.faults)
        try:
            reference = chaos.reference(case)
        except AssertionError as error:
            print(f"{case.name}, unkilled: {error}", flush=True)
            chaos.faults.append(str(error))
            continue
        for number in range(1, rounds + 1):
            faults = chaos.round(case, reference, number)
            print(*faults, sep="\n", end="\n" * bool(faults), flush=True)
            chaos.faults += faults
        print(f"{case.name}: {rounds} rounds in {time.monotonic() - start:.0f} s, "
              f"{len(chaos.faults) - before} faults", flush=True)


def main(rounds: int, seed: int, names: list[str]) -> int:
    """All of it. Returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/home"
        with ExitStack() as stack:
            if not names or "publishing" in names:
                stack.enter_context(chaos_remote.object_store())
            server = Server(Path(name) / "runs")
            stack.callback(server.close)
            chaos = Chaos(server, make_material(server, Path(name) / "material"), Path(name), random.Random(seed))
            run(chaos, rounds, tuple(case for case in CASES if not names or case.name in names))
            if not names or "serve" in names:
                image = next(chaos.material.images.rglob("*.png")).read_bytes()
                for fault in chaos_serve.rounds(server, chaos.material.model, image, rounds, chaos.chance):
                    print(fault, flush=True)
                    chaos.faults.append(fault)
                print(f"serve: {rounds} rounds", flush=True)
    print(f"{chaos.kills} kills, {len(chaos.faults)} faults (seed {seed})")
    return 1 if chaos.faults else 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, int(sys.argv[2]) if len(sys.argv) > 2 else 0,
                          sys.argv[3:]))
