"""The one door to files: local ones, and those of object stores, `s3://`, `gs://` and `memory://`.

A remote file is read through a local mirror: a tree of links into a store of limited size. Whoever opens a path of the
mirror gets the content, which is fetched when it is needed; everything else works on local paths. What is written to a
path of the mirror is uploaded when it is complete. A URL becomes a path of the mirror only where a user names it, by
`local_path`, `source_path` and `model_path`; opening a file never takes a URL.
"""

from kerastl.files.addresses import is_mirrored, is_remote, leaves_bucket, local_only, local_path, shown, url_of
from kerastl.files.local import (
    TAG,
    atomic_file,
    atomic_folder,
    cache_folder,
    cache_folders,
    check_writable,
    file_sha256,
    in_home,
    is_file,
    is_writable,
    listed_state,
    open_file,
    output_file,
    prefetched,
    read_bytes,
    read_text,
    size_of,
    sync,
    user_cache_dir,
    write_atomically,
    write_file,
)
from kerastl.files.partial import (
    FRESH_SECONDS,
    PARTIAL,
    STALE_SECONDS,
    held,
    held_folder,
    hold,
    leftover_of,
    own_temporary_files,
    remove_folder,
    remove_leftovers,
    remove_unheld,
    temporary_folder,
)
from kerastl.files.reading import model_path, refreshed, released, source_path, taken_numbers, whole

__all__ = [
    "FRESH_SECONDS", "PARTIAL", "STALE_SECONDS", "TAG", "atomic_file", "atomic_folder", "cache_folder",
    "cache_folders", "check_writable", "file_sha256", "held", "held_folder", "hold", "in_home", "is_file",
    "is_mirrored", "is_remote", "is_writable", "leaves_bucket", "leftover_of", "listed_state", "local_only",
    "local_path", "model_path", "open_file", "output_file", "own_temporary_files", "prefetched", "read_bytes",
    "read_text", "refreshed", "released", "remove_folder", "remove_leftovers", "remove_unheld", "shown", "size_of",
    "source_path", "sync", "taken_numbers", "temporary_folder", "url_of", "user_cache_dir", "whole", "write_atomically",
    "write_file",
]
