"""Which hosts and origins a request may name.

Any web page can make a browser send requests to a server on loopback: directly, or through a name that it points to
127.0.0.1. Such requests carry the page's own name in `Origin` or `Host`.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from aiohttp import web

from kerastl.server.status import Code, ServingError

LOCALHOST = "localhost"
PORTS = (80, 443)  # which an address leaves out
LOCAL = web.AppKey("local", bool)  # whether only this machine can reach the server


def is_local(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to a host, an address or a name. Raises OSError for a
    name that does not exist."""
    return all(_is_loopback(str(address[0])) for *_, address in socket.getaddrinfo(host, None))


def check_request(request: web.Request) -> None:
    """Raises ServingError for a request that comes from a page of another site, or names another host than a server on
    loopback has. A request of HTTP/1.0 that names no host does not come from a browser."""
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    named = _place(f"//{host or ''}")
    if request.app[LOCAL] and host is not None and not _is_loopback(named[0]):
        raise ServingError(Code.PERMISSION_DENIED, f"the request is for the host {named[0]!r}, but this server answers "
                           "only for localhost; its option `host` binds it to another address")
    if origin and (not named[0] or _place(origin) != named):
        raise ServingError(Code.PERMISSION_DENIED, f"the request comes from a page of {origin!r}; pages of other sites "
                           "may not use this server")


def _is_loopback(host: str) -> bool:
    if host.rstrip(".") == LOCALHOST:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _place(url: str) -> tuple[str, int | None]:
    """The host and the port of a URL; no host where there is none."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", None if parts.port in PORTS else parts.port
    except ValueError:
        return "", None
