"""Files that are there whole or not at all, their checksums, and what a process that was killed leaves behind."""

import hashlib
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path


def write_whole(path, write):
    """Call `write` with a temporary path beside `path`, then rename: the file is there whole or not at all.

    It is on the disk before it has its name, so that a power cut leaves no empty file. Raises OSError that names `path` where it cannot
    be written, and leaves what stood there before.
    """
    path = Path(path)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        with open(partial, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def sweep_up(folder, pattern=".partial-{}-*"):
    """Remove from `folder` what processes that have ended left: names of `pattern` with the number of a process for {}."""
    number = re.compile(re.escape(pattern).replace(r"\{\}", "([0-9]+)").replace(r"\*", ".*"))
    for path in Path(folder).glob(pattern.replace("{}", "[0-9]*")):
        match = number.fullmatch(path.name)
        with suppress(OSError):  # another process may sweep at the same time
            if match and path.stat().st_uid == os.getuid() and not _is_alive(int(match[1])):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def checksum(path):
    """SHA-256 of a file, as hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
