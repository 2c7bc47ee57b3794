"""Files that are there whole or not at all, and their checksums."""

import hashlib
import os
from pathlib import Path


def write_whole(path, write):
    """Call `write` with a temporary path beside `path`, then rename: the file is there whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def checksum(path):
    """SHA-256 of a file, as hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
