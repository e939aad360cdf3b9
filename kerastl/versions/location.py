"""Where the data of a run are, whatever the current folder is.

run.json holds paths as they were typed. A relative one belongs to the folder in which the run was started, and run.json
names that folder by the way that leads to it from the version folder, such as `../../..`: a version that is published
says nothing else of the machine, and one that moves together with its data still finds them.
"""

from pathlib import Path

from kerastl.errors import DataError
from kerastl.files import is_mirrored
from kerastl.versions.record import RunRecord


def way_to_start(folder: Path) -> str | None:
    """The way from a version folder to the current folder; None where that does not contain it, because the way would
    then lead through names of the machine."""
    if is_mirrored(folder):  # of a remote model
        return None
    here, version = Path.cwd().resolve(), folder.absolute().resolve()
    if not version.is_relative_to(here):
        return None
    return "/".join([".."] * len(version.relative_to(here).parts))


def is_path(source: str) -> bool:
    """Whether a source of data is a path, not a data set of TFDS or an address."""
    return bool(source) and not source.startswith("tfds:") and "://" not in source


def start_of(folder: Path, record: RunRecord) -> Path | None:
    """The folder in which the run of a version was started; None where that is not recorded, and for a remote version,
    from which no way leads there."""
    known = record.started_in and not is_mirrored(folder)
    return (folder.resolve() / record.started_in).resolve() if known and record.started_in else None


def source_of(folder: Path, record: RunRecord, data: str | None) -> str:
    """Where the data of a version are: `data`, or as recorded. A line says which path that is where it depends on the
    current folder, or was recorded in another one. Raises DataError for a recorded path that does not exist."""
    if data or not is_path(record.data):
        return data or record.data
    recorded, start, here = Path(record.data), start_of(folder, record), Path.cwd().resolve()
    path = (start or here) / recorded
    if recorded.is_absolute():
        origin = "as the run recorded it"
    elif start is None:
        origin = (f"the run recorded {recorded}, but not in which folder it was started; this is seen from the current "
                  "folder")
    else:
        origin = f"the run recorded {recorded}, seen from {start}, where it was started"
    if not path.exists():
        near = f", such as {record.data}, which exists in {here}" if start not in (None, here) and recorded.exists() \
            else ""
        raise DataError(f"no such file or folder: {path} ({origin})", "the data of training",
                        f"set `data` to their new location{near}")
    if start == here and not recorded.is_absolute():
        return record.data
    if not recorded.is_absolute():
        print(f"data are read from {path}: {origin}", flush=True)
    return str(path)


def located(folder: Path, record: RunRecord, path: str | None) -> str | None:
    """Another recorded path, seen from where the run was started, which a line says; as recorded where nothing is
    there, because it may be a name and no path."""
    if path is None or Path(path).is_absolute():
        return path
    start = start_of(folder, record)
    if start is None or start == Path.cwd().resolve() or not (start / path).exists():
        return path
    print(f"{path} is read from {start / path}, as seen from where the run was started", flush=True)
    return str(start / path)
