"""Workers as actors of a Ray cluster (https://docs.ray.io), imported here and nowhere else.

Only paths, texts and replies travel through Ray: results are files. So the folder of the job, and the data, have to be
at the same path on every machine.
"""

import atexit
import json
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import kerastl
from kerastl.errors import OptionError
from kerastl.runtime import available_cores, require_ray
from kerastl.shards.store import Shard
from kerastl.shards.team import Died, NoRoom, Stopped, Team
from kerastl.shards.worker import Reply, described, environment, load_job, reply_to

ADDRESS = "RAY_ADDRESS"
STORE_BYTES = 256 * 2**20  # of the object store of a cluster on this machine alone, through which little passes
PATIENCE = 300.0  # seconds until the cluster has room for a worker
POLL = 1.0  # seconds
SECONDS_TO_ANSWER = 10.0


def ray_team(folder: Path, workers: int) -> Team:
    """So many actors on the cluster that RAY_ADDRESS names, else on one that is started on this machine; 0: one on each
    machine of the cluster. They share the cluster's cores. Raises OptionError where there is no such cluster."""
    ray = _connected()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if not nodes:
        raise OptionError("the Ray cluster has no processors", "a machine with a processor", "add one to the cluster")
    cores = [int(resources["CPU"]) for resources in nodes]
    size = workers or len(nodes)
    threads = max(1, min(sum(cores) // size, max(cores)) if workers else min(cores))
    return Team(lambda: Remote(ray, folder, threads), size, threads, "Ray workers")


def _connected() -> Any:
    """The package, connected to a cluster. A cluster that is started here sends no usage statistics to Ray's makers and
    has no dashboard. Its ports are open to the network, which Ray does not let us change, but admit only who has its
    token, which is made here and told to nobody."""
    require_ray()
    address = os.environ.get(ADDRESS)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not address and "ray" not in sys.modules:  # which reads these variables when it is imported
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else one is written into the home directory
    import ray

    if ray.is_initialized():
        return ray
    atexit.register(_disconnect, ray)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        ray.init(address="local", num_cpus=available_cores(), include_dashboard=False, object_store_memory=STORE_BYTES,
                 _node_ip_address="127.0.0.1", **quiet)
        return ray
    try:
        _check_answers(address)
        ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:  # by the way in which it fails
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise OptionError(f"no Ray cluster answers at {ADDRESS}={address} ({reason.strip()[:200]})",
                          "the address of a running cluster, and its token in RAY_AUTH_TOKEN if it has one",
                          f"start one with `ray start`, or unset {ADDRESS}") from error
    return ray


def _disconnect(ray: Any) -> None:
    """Leave the cluster. Ray prints what it still has to say of lost machines to standard output, where nothing may
    follow the result of a command."""
    with redirect_stdout(sys.stderr):
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises OSError where nothing listens at HOST:PORT: Ray itself would try again for a quarter of an hour."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()


class Actor:
    """A worker in the cluster. The network is loaded once; TensorFlow is imported only then."""

    def __init__(self, folder: str, threads: int, version: str) -> None:
        os.environ |= environment(threads)
        self._folder, self._version = Path(folder), version

    def load(self) -> Reply:
        """Load the network."""
        try:
            if kerastl.__version__ != self._version:
                raise OptionError(f"a machine of the cluster has kerastl {kerastl.__version__}, and this one "
                                  f"{self._version}", "the same version everywhere", "install it there")
            self._compute = load_job(self._folder)
        except Exception as error:  # of any type: it is raised again where the work is given out
            return described(error)
        return {}

    def compute(self, name: str, task: str) -> Reply:
        """Compute a shard and write it. task: in JSON."""
        return reply_to(self._folder, self._compute, name, json.loads(task))

    def process(self) -> int:
        """The number of its process."""
        return os.getpid()


class Remote:
    """An actor as it is seen from here."""

    def __init__(self, ray: Any, folder: Path, threads: int) -> None:
        self._ray = ray
        kind = ray.remote(num_cpus=threads, max_restarts=0)(Actor)
        self._actor = kind.remote(str(folder.absolute()), threads, kerastl.__version__)

    def start(self, stopped: Stopped) -> Reply:
        """Wait until the cluster has room for it and the network is loaded. Raises NoRoom after five minutes."""
        placed, start = self._actor.process.remote(), time.monotonic()
        while not self._finished(placed, POLL):
            if stopped():
                raise Died("the work has ended")
            if time.monotonic() - start > PATIENCE:
                raise NoRoom(f"the Ray cluster had no room for a worker within {PATIENCE:.0f} seconds",
                             "free processors", "use fewer `workers`, or wait until other jobs have ended")
        return self._result(self._actor.load.remote())

    def compute(self, shard: Shard) -> Reply:
        """Have a shard computed and written. Raises Died."""
        return self._result(self._actor.compute.remote(shard.name, json.dumps(shard.task)))

    def kill(self) -> None:
        """End the actor."""
        self._ray.kill(self._actor)

    def close(self) -> None:
        """End the actor."""
        self._ray.kill(self._actor)

    def _finished(self, reference: Any, timeout: float) -> bool:
        return bool(self._ray.wait([reference], timeout=timeout)[0])

    def _result(self, reference: Any) -> Reply:
        try:
            reply: Mapping[str, Any] = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:  # of the actor, its process or its machine
            raise Died(" ".join(str(error).split())[:300]) from error
        return dict(reply)
