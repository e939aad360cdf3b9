"""Describe a job for the workers, and find the workers."""

import json
import os
from pathlib import Path
from typing import Any

from kerastl.files import write_atomically
from kerastl.runtime import Runtime
from kerastl.shards.cluster import ray_team
from kerastl.shards.processes import process_team
from kerastl.shards.store import JOB
from kerastl.shards.team import Team
from kerastl.shards.worker import CWD, DATA, THREADS


def start_job(folder: Path, job: dict[str, Any], runtime: Runtime, sample: str | None = None) -> Team:
    """Write what workers have to know of a job, and return the workers, which start with the first shard. runtime: how
    many, and where. sample: a file of the data, which every machine has to see. Raises OptionError where there is no
    cluster."""
    team = (ray_team if runtime.ray else process_team)(folder, runtime.workers)
    known = {**job, THREADS: team.threads, CWD: os.getcwd(), DATA: sample}
    write_atomically(folder / JOB, json.dumps(known))
    return team
