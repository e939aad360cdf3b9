"""Give shards out to workers, replace workers that die, and deliver the results in order."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kerastl.errors import DataError, OptionError
from kerastl.shards.store import Manifest, Part, Shard, read_part
from kerastl.shards.worker import Reply, raise_error

MOST_DEATHS = 5  # of the workers of one shard, or of workers that start
AHEAD = 4  # shards a worker that are given out before the first of them is read

Stopped = Callable[[], bool]  # whether the work has ended


class Died(Exception):
    """A worker ended before it replied; the message says how."""


class NoRoom(OptionError):
    """There is no place for one more worker. The others go on; where there is none, this is an error."""


class Member(Protocol):
    """A worker as it is seen from here."""

    def start(self, stopped: Stopped) -> Reply:
        """Wait until it is ready. Raises Died, or NoRoom."""

    def compute(self, shard: Shard) -> Reply:
        """Have a shard computed and written. Raises Died."""

    def kill(self) -> None:
        """End it, from another thread than the one that it works for."""

    def close(self) -> None:
        """End it, and release what it holds."""


@dataclass(frozen=True)
class Team:
    """Workers. hire: makes one more. size: how many there are at a time. threads: of each of them. words: what they
    are."""

    hire: Callable[[], Member]
    size: int
    threads: int
    words: str = "worker processes"

    def __str__(self) -> str:
        return f"{self.size} {self.words}, threads of each: {self.threads}"


@dataclass(order=True)
class _Errand:
    """A shard that waits for a worker, the first shards first. deaths: how the workers died that had it."""

    number: int
    shard: Shard = field(compare=False)
    done: "Future[None]" = field(compare=False, default_factory=Future)
    deaths: list[str] = field(compare=False, default_factory=list)


def deliver(folder: Path, shards: Iterable[Shard], team: Team) -> Iterator[tuple[Shard, Part]]:
    """The result of each shard, in order, from its file if that exists already; at the end the manifest is written.

    A worker that dies is replaced, and its shard is given to another one. Raises what a worker raised, and DataError
    for a shard whose workers die one after another.
    """
    manifest, ahead = Manifest(), deque[tuple[Shard, "Future[None] | None"]]()
    with _Office(team) as office:
        for shard in shards:
            ahead.append((shard, None if _whole(folder / shard.name, shard) else office.submit(shard)))
            while len(ahead) > AHEAD * team.size:
                yield _finished(folder, *ahead.popleft(), manifest)
        while ahead:
            yield _finished(folder, *ahead.popleft(), manifest)
    manifest.write(folder)


def _whole(path: Path, shard: Shard) -> bool:
    """Whether the file of a shard exists. One that a disk has damaged is removed, and computed again."""
    try:
        read_part(path, shard)
    except FileNotFoundError:
        return False
    except DataError as error:
        print(f"{error.got}: it is computed again", flush=True)
        path.unlink(missing_ok=True)
        return False
    return True


def _finished(folder: Path, shard: Shard, done: "Future[None] | None", manifest: Manifest) -> tuple[Shard, Part]:
    if done is not None:
        done.result()
    part, sha256 = read_part(folder / shard.name, shard)
    manifest.add(shard, part, sha256)
    return shard, part


class _Office:
    """A thread for each worker: it takes the next errand, hands it to its worker, and hires another one if that dies.
    There are as many as shards were submitted, up to the size of the team."""

    def __init__(self, team: Team) -> None:
        self._team = team
        self._errands: queue.PriorityQueue[_Errand] = queue.PriorityQueue()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._members: set[Member] = set()
        self._threads: list[threading.Thread] = []
        self._ready: set[Member] = set()  # of the members, those that have started
        self._failed_starts: list[str] = []
        self._failure: BaseException | None = None

    def __enter__(self) -> "_Office":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        with self._lock:
            members = list(self._members)
        for member in members:
            member.kill()
        for thread in self._threads:
            thread.join()

    def submit(self, shard: Shard) -> "Future[None]":
        """Have a shard computed."""
        errand = _Errand(shard.number, shard)
        with self._lock:
            if self._failure is not None:
                errand.done.set_exception(self._failure)
                return errand.done
            self._errands.put(errand)
        if len(self._threads) < self._team.size:  # a worker that has no shard would load the network for nothing
            self._threads.append(threading.Thread(target=self._serve, daemon=True))
            self._threads[-1].start()
        return errand.done

    def _serve(self) -> None:
        member: Member | None = None
        try:
            while not self._stop.is_set():
                if member is None:
                    member = self._hired()
                    continue
                try:
                    errand = self._errands.get(timeout=0.1)
                except queue.Empty:
                    continue
                if not self._did(member, errand):
                    self._dismiss(member)
                    member = None
        except BaseException as error:  # noqa: BLE001  # of any type: raised where the results are awaited
            self._fail(error)
        finally:
            if member is not None:
                self._dismiss(member)

    def _hired(self) -> Member | None:
        """A worker that is ready; None if it died while it started."""
        member = self._team.hire()
        with self._lock:
            self._members.add(member)
        try:
            if self._stop.is_set():
                raise Died("the work has ended")
            raise_error(member.start(self._stop.is_set))
        except Died as death:
            self._dismiss(member)
            if self._stop.is_set():
                return None
            self._failed_starts.append(str(death))
            if len(self._failed_starts) >= MOST_DEATHS:
                raise OptionError(f"{MOST_DEATHS} workers died while they started, the last one: {death}",
                                  "memory for every worker, which loads the network once",
                                  "use fewer `workers`") from death
            return None
        except NoRoom:
            self._dismiss(member)
            if self._ready:
                return None
            raise
        except BaseException:
            self._dismiss(member)
            raise
        with self._lock:
            self._ready.add(member)
            self._failed_starts.clear()
        return member

    def _did(self, member: Member, errand: _Errand) -> bool:
        """Whether the worker is still there after an errand."""
        try:
            reply = member.compute(errand.shard)
        except Died as death:
            errand.deaths.append(str(death))
            if len(errand.deaths) < MOST_DEATHS or self._stop.is_set():
                with self._lock:
                    if self._failure is None:
                        self._errands.put(errand)
                        return False
                errand.done.set_exception(self._failure)
                return False
            first, last = errand.shard.start, errand.shard.start + errand.shard.rows - 1
            errand.done.set_exception(DataError(
                f"{MOST_DEATHS} workers died one after another over rows {first:,} to {last:,}, the last one: {death}",
                "memory for every worker, and data that can be decoded",
                "use fewer `workers`, or look for a file among these rows that ends the process"))
            return False
        try:
            raise_error(reply)
        except Exception as error:  # noqa: BLE001  # of any type: raised where the results are awaited
            errand.done.set_exception(error)
        else:
            errand.done.set_result(None)
        return True

    def _dismiss(self, member: Member) -> None:
        with self._lock:
            self._members.discard(member)
            self._ready.discard(member)
        member.close()

    def _fail(self, error: BaseException) -> None:
        """Nothing more can be computed: whoever waits for a shard gets the error."""
        with self._lock:
            self._failure = self._failure or error
            while True:
                try:
                    self._errands.get_nowait().done.set_exception(self._failure)
                except queue.Empty:
                    return
