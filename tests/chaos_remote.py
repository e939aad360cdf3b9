"""A real object store on loopback, for chaos.py: versions that are published there, and what a reader sees of them."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kerastl.files import objects

OUT = "s3://chaos/out"  # the folder of models


@contextmanager
def object_store() -> Iterator[None]:
    """Within, processes that are started here use a server of S3 on this machine."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
                   "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_EC2_METADATA_DISABLED": "true"}
    S3FileSystem().call_s3("create_bucket", Bucket="chaos")
    try:
        yield
    finally:
        server.stop()


def put(model: Path) -> None:
    """Let the store hold a model, and nothing else."""
    for file in objects.listing(OUT):
        objects.remove(file.url)
    for path in sorted(path for path in model.rglob("*") if path.is_file()):
        objects.upload(path, f"{OUT}/m/{path.relative_to(model)}")


def fetch(folder: Path) -> None:
    """Copy the versions that a reader sees, those with a manifest, to `folder/m`."""
    shutil.rmtree(folder, ignore_errors=True)
    files = objects.listing(f"{OUT}/m")
    whole = [file.url.removesuffix("manifest.json") for file in files if file.url.endswith("/manifest.json")]
    for file in files:
        if file.url.startswith(tuple(whole)):
            path = folder / file.url.removeprefix(f"{OUT}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            objects.download(file.url, path, file.size)
