"""The workers that decode images, as the process that uses them sees them: bytes of a file in, pixels or a reason
out."""

import mmap
import os
import queue
import signal
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastl.display import visible_cell
from kerastl.inputs.isolation import image_worker
from kerastl.inputs.isolation.limits import Limits
from kerastl.inputs.isolation.messages import REASON, REPLY, REQUEST, ROOM, SENT, SHARED, WAIT, received
from kerastl.inputs.isolation.team import Team, Worker, await_reply, shared_memory
from kerastl.inputs.refusals import MAX_PIXELS
from kerastl.runtime import available_cores

Decoded = NDArray[np.uint8] | str
LONGEST_REASON = 1000  # bytes


@dataclass(frozen=True)
class _Decoder:
    worker: Worker
    shared: mmap.mmap  # memory in which its pixels are


@dataclass(frozen=True)
class _Failure:
    """A worker that gave no answer. again: whether the file may be innocent."""

    reason: str
    again: bool


class Workers:
    """As many processes as there are cores, which any number of threads use. `close` ends them."""

    def __init__(self, limits: Limits, count: int | None = None) -> None:
        self.limits, self.count = limits, count or available_cores()
        self._idle: queue.LifoQueue[_Decoder | None] = queue.LifoQueue()
        for _ in range(self.count):
            self._idle.put(None)  # one that is not started yet
        self._team = Team(image_worker.__name__, "decode", "images", limits)

    @property
    def pids(self) -> list[int]:
        """Of all processes that run, the forker first."""
        return self._team.pids

    def decode(self, data: bytes, size: int, accept_truncated: bool = False) -> Decoded:
        """As `images.decoder(size, accept_truncated)(data)`: pixels, or a reason. A worker that ended is replaced. The
        file gets a second chance, since something else may have ended the worker, unless it took too long. Raises
        KerastlError where no worker can be started."""
        result = self._attempt(data, size, accept_truncated)
        if isinstance(result, _Failure) and result.again:
            result = self._attempt(data, size, accept_truncated)
        return result.reason if isinstance(result, _Failure) else result

    def start(self) -> None:
        """Start the process that makes workers, which takes seconds, before the first image is sent. Raises
        KerastlError where it cannot be started."""
        self._team.start()

    def close(self) -> None:
        """End all processes, and wait until they are gone. What is being decoded gets no answer."""
        self._team.close()
        for _ in range(self._idle.qsize()):
            idle = self._idle.get()
            if idle is not None:
                self._ended(idle)
        for _ in range(self.count):
            self._idle.put(None)  # whoever asks from now on is refused

    def _attempt(self, data: bytes, size: int, accept_truncated: bool) -> Decoded | _Failure:
        decoder, answered = self._idle.get(), False
        try:
            if decoder is None:
                decoder = self._started()
            result = self._asked(decoder, data, size, accept_truncated)
            answered = True
            return result
        except TimeoutError:
            return _Failure(f"took more than {self.limits.seconds:g} seconds to decode", again=False)
        except (EOFError, ConnectionError, FileNotFoundError, ProcessLookupError):  # it has gone
            if self._team.closed or decoder is None:
                raise self._team.unstarted("the processes were ended") from None
            reason, again = self._reason(self._ended(decoder))
            decoder = None
            return _Failure(reason, again)
        finally:
            if decoder is not None and (not answered or self._team.closed):  # it may still be at work on this file
                self._ended(decoder)
                answered = False
            self._idle.put(decoder if answered else None)

    def _asked(self, decoder: _Decoder, data: bytes, size: int, accept_truncated: bool) -> Decoded:
        client = decoder.worker.client
        client.settimeout(self.limits.seconds)
        client.sendall(REQUEST.pack(len(data), size, accept_truncated) + data)  # at once: the worker wakes up once
        await_reply(decoder.worker, self.limits.seconds)
        end = time.monotonic() + self.limits.seconds
        kind, height, width, length = REPLY.unpack(received(client, REPLY.size, end))
        if kind == WAIT:
            await_reply(decoder.worker, self.limits.seconds)
            end = time.monotonic() + self.limits.seconds
            kind, height, width, length = REPLY.unpack(received(client, REPLY.size, end))
        if kind == REASON and length <= LONGEST_REASON:
            return visible_cell(received(client, length, end).decode("utf-8", "replace"))
        fits = (height, width) == (size, size) if size else 0 < height * width <= MAX_PIXELS
        if not fits or length != height * width * 3 or kind not in (SHARED, SENT) or (kind == SHARED and length > ROOM):
            raise ConnectionError("no answer of the decoder's")
        if kind == SENT:
            return np.frombuffer(received(client, length, end), np.uint8).reshape(height, width, 3)
        return np.frombuffer(decoder.shared, np.uint8, length).reshape(height, width, 3).copy()

    def _reason(self, status: int) -> tuple[str, bool]:
        """Why a worker ended, by the status that the system gives, and whether the file may be innocent."""
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if number == signal.SIGXCPU:
            return f"took more than {self.limits.cpu} seconds of processor time to decode", False
        name = f"by {signal.Signals(number).name}" if number else f"with code {os.WEXITSTATUS(status)}"
        memory = self.limits.memory // 2**20
        return (f"ended the process that decoded it, {name}: the file is damaged, made to do this, or takes more than "
                f"{memory:,} MiB of memory", True)

    def _started(self) -> _Decoder:
        memory = shared_memory(ROOM)
        try:
            worker = self._team.started(memory)
            return _Decoder(worker, mmap.mmap(memory, ROOM, access=mmap.ACCESS_READ))
        finally:
            os.close(memory)

    def _ended(self, decoder: _Decoder) -> int:
        decoder.shared.close()
        return self._team.ended(decoder.worker)
