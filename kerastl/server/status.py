"""Status codes, and the error that ends a request: the same in REST and in gRPC."""

from enum import Enum


class Code(Enum):
    """A status as gRPC counts them, with what TF Serving's REST server returns for it."""

    OK = (0, 200)
    CANCELLED = (1, 499)
    UNKNOWN = (2, 500)
    INVALID_ARGUMENT = (3, 400)
    DEADLINE_EXCEEDED = (4, 504)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    PERMISSION_DENIED = (7, 403)
    RESOURCE_EXHAUSTED = (8, 429)
    FAILED_PRECONDITION = (9, 400)
    ABORTED = (10, 409)
    OUT_OF_RANGE = (11, 400)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)
    DATA_LOSS = (15, 500)
    UNAUTHENTICATED = (16, 401)

    def __init__(self, number: int, http: int) -> None:
        self.number, self.http = number, http

# What a client is told of a fault of the server's own: an exception may name files and what is in them.
FAULT = "the server failed to answer this request; its log says why"


class ServingError(Exception):
    """A request that cannot be answered. code: its status."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def invalid(message: str) -> ServingError:
    """The error for a request that is wrong in itself."""
    return ServingError(Code.INVALID_ARGUMENT, message)
