"""Which hosts and origins a request may name.

Any web page can make a browser send requests to a server on loopback: directly, or through a name that it points to
127.0.0.1. Such requests carry the page's own name in `Origin` or `Host`.
"""

from urllib.parse import urlsplit

from aiohttp import web

from kerastl.server.status import Code, ServingError

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
HOST = web.AppKey("host", str)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to the host."""
    return host in LOOPBACK


def check_request(request: web.Request) -> None:
    """Raises ServingError for a request that comes from a page of another site, or names another host than a server on
    loopback has."""
    bound, named = request.app[HOST], _host(f"//{request.host}")
    if is_loopback(bound) and named not in LOOPBACK:
        raise ServingError(Code.PERMISSION_DENIED, f"the request is for the host {named!r}, but this server answers "
                           "only for localhost; its option `host` binds it to another address")
    origin = request.headers.get("Origin")
    if origin and _host(origin) != named:
        raise ServingError(Code.PERMISSION_DENIED, f"the request comes from a page of {origin!r}; pages of other sites "
                           "may not use this server")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
