"""What goes through the sockets between this process, the forker and the workers.

An image goes out as its length, the size of the square, and whether it may be truncated, then its bytes. What comes
back is a kind, height, width and length: pixels, in shared memory or behind the head; or a reason; or `WAIT`, once,
while the worker traces a graph.
"""

import socket
import struct
import time

REQUEST = struct.Struct("<QI?")  # bytes, size, accept_truncated
REPLY = struct.Struct("<cIIQ")  # kind, height, width, bytes
SHARED, SENT, REASON, WAIT = b"m", b"s", b"r", b"w"
ROOM = 2**22  # bytes of shared memory of a worker: a square of 1,182 pixels; larger images are sent
FORK, STATUS = b"f", b"s"  # of a forker: a worker is wanted; how a worker has ended
NUMBER = struct.Struct("<i")


def received(sender: socket.socket, length: int, end: float | None = None) -> bytearray:
    """So many bytes. Raises EOFError where the other side has ended before, TimeoutError at `end`, by
    `time.monotonic`."""
    content = bytearray(length)
    view, place = memoryview(content), 0
    while place < length:
        if end is not None:
            sender.settimeout(max(1e-3, end - time.monotonic()))
        count = sender.recv_into(view[place:])
        if not count:
            raise EOFError
        place += count
    return content
