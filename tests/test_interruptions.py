"""Killed, out of disk, two at once, in odd places: `make figures` and sweeps end as if nothing had been, and leave nothing behind.

The notebooks are four light ones of a project of their own, in the quick profile: two of the companion's, whose names start with a digit,
and two of a reader's own, which publish into a folder of their own within.
"""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from test_build import write

from pepg.companion import build, notebooks, versions
from pepg.companion.notebooks import Notebook
from pepg.experiments.files import checksum, sweep_up, write_whole

PROJECT = Path(__file__).resolve().parent.parent
RUN = "import sys; from pathlib import Path; from pepg.companion import build; sys.exit(build.main(sys.argv[2:], root=Path(sys.argv[1])))"
SAVES = "out.save_data('a', pd.DataFrame({'x': [1.0, 2.0]})); out.save_table('b', pd.DataFrame({'x': [2.0]}), caption='two');"
DRAWS = (
    "import matplotlib.pyplot as plt\ntable = 2 * companion.read_published('1_first_a')\nout.save_data('a', table);\n"
    "figure, axes = plt.subplots()\naxes.plot(table['x'])\nout.save_figure('a', figure, data='a')"
)


def project(root):
    """Four notebooks, of which two read what the first publishes."""
    root.mkdir(exist_ok=True)
    for name, source in {"1_first": SAVES, "2_second": DRAWS, "third": DRAWS.replace("2 *", "3 *"), "fourth": SAVES}.items():
        write(root, name, source)
    return root


def files(folder):
    """Every file below a folder, whatever its name starts with: its bytes by its place."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def published(root):
    """Everything in the quick profile's figures, and nothing that is only on its way there."""
    return files(root / "build" / "quick" / "figures")


def matches(folder):
    """Whether a folder's manifest and what lies beside it match, apart from what is on its way there."""
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    visible = {path.name for path in folder.iterdir() if path.is_file() and path.name[0] != "."} - {"manifest.json"}
    return visible == set(entries) and all(checksum(folder / file) == entry["sha256"] for file, entry in entries.items())


def whole(root):
    """Whether all folders match their manifests, where nothing is being published."""
    if list((root / "build" / "quick").glob("*.publishing.json")):
        return True  # the next start ends it
    return all(matches(manifest.parent) for manifest in (root / "build" / "quick" / "figures").rglob("manifest.json"))


class Marked:
    """Starts processes with a mark in their environment, which their descendants inherit, and a short temporary directory."""

    def __init__(self):
        self.mark, self.temporary = uuid.uuid4().hex, tempfile.mkdtemp(prefix="t", dir="/tmp")

    def start(self, *command):
        environment = os.environ | {"PEPG_TEST_MARK": self.mark, "TMPDIR": self.temporary, "LOKY_MAX_CPU_COUNT": "2"}
        environment["PYTHONPATH"] = os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])
        return subprocess.Popen([sys.executable, "-c", *map(str, command)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def alive(self):
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in path.read_bytes():
                    found.append(path.parent.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()[:200])
            except OSError:
                pass
        return [command for command in found if command]

    def wait_until_alone(self, seconds=60.0):
        """Until none of them runs any more; what still does, where that takes too long."""
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.alive()


@pytest.fixture
def marked():
    marked = Marked()
    yield marked
    shutil.rmtree(marked.temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """What an uninterrupted build publishes, and how long it takes here."""
    root = project(tmp_path_factory.mktemp("reference"))
    begin, marked = time.monotonic(), Marked()
    assert marked.start(RUN, root, "--profile", "quick", "--jobs", "2").wait(timeout=300) == 0
    shutil.rmtree(marked.temporary)
    return published(root), time.monotonic() - begin


def test_killed_at_ten_moments(reference, marked, tmp_path):
    """Only the build itself is killed: its notebooks, kernels and workers end by themselves."""
    root, (expected, duration) = project(tmp_path), reference
    for share in np.random.default_rng(0).uniform(0.2, 1.0, 10):
        process = marked.start(RUN, root, "--profile", "quick", "--jobs", "2")
        try:
            process.wait(timeout=min(share * duration, 8.0))
            for stamp in (root / "build" / "quick").glob("*.json"):  # it had ended: begin anew
                stamp.unlink()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()
        assert whole(root)
    assert marked.wait_until_alone() == []
    assert marked.start(RUN, root, "--profile", "quick", "--jobs", "2").wait(timeout=300) == 0
    assert published(root) == expected
    assert [path for path in Path(marked.temporary).iterdir() if path.name.startswith(("pepg-", "joblib"))] == []


def test_two_builds_at_once_give_what_one_gives(reference, marked, tmp_path):
    root = project(tmp_path)
    both = [marked.start(RUN, root, "--profile", "quick", "--jobs", "1") for _ in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert published(root) == reference[0]


SWEEP = """
import functools, sys, time
import pepg
from pepg import algorithms, experiments

def slow(env, seed):
    time.sleep(0.15)
    return algorithms.pepg(env, seed=seed, iterations=3)

if __name__ == "__main__":
    print(experiments.sweep({"PePG": slow}, {"roads": pepg.pigou()}, range(40), sys.argv[1], jobs=2).sum(numeric_only=True).to_list())
"""


def test_a_sweep_killed_at_five_moments_ends_as_if_nothing_had_been(marked, tmp_path):
    """By SIGKILL and by SIGTERM to it alone: its workers end by themselves, and the cells that are there are whole."""
    cells, moments = tmp_path / "cells", np.random.default_rng(1).integers(1, 6, 5)
    for moment, how in zip(moments, (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)):
        before = len(list(cells.glob("[!.]*.npz")))
        process = marked.start(SWEEP, cells)
        deadline = time.monotonic() + 120
        while len(list(cells.glob("[!.]*.npz"))) < before + moment:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(how)
        process.wait()
        process.stderr.close()
    assert marked.wait_until_alone() == []
    kept = {path: path.stat().st_mtime_ns for path in cells.glob("[!.]*.npz")}
    assert sum(moments) <= len(kept) < 40
    process = marked.start(SWEEP, cells)
    assert process.wait(timeout=120) == 0
    assert b"damaged" not in process.stderr.read()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept and len(list(cells.glob("[!.]*.npz"))) == 40


# Publishing, step by step, without running a notebook


class Killed(BaseException):
    """Where a process ends, in place of the step that it was about to take."""


COMPANIONS_OR_OWN = pytest.mark.parametrize("one", ["1_one", "one"])


def staged(root, one, **contents):
    """A notebook `one` that has just run and saved these files."""
    write(root, one, "pass")
    notebook = Notebook(one, "paper", root)
    shutil.rmtree(notebook.stage, ignore_errors=True)
    (notebook.stage / "figures").mkdir(parents=True)
    for name, text in contents.items():
        (notebook.stage / "figures" / f"{one}_{name}.csv").write_text(text)
    record = {path.name: {"notebook": one, "sha256": checksum(path)} for path in (notebook.stage / "figures").iterdir()}
    (notebook.stage / "figures" / f"{one}.record.json").write_text(json.dumps(record))
    return notebook


def stepping(monkeypatch, fatal):
    """From here on the step number `fatal` of those that change files is the end; how many steps there were, where it is not reached."""
    taken = []

    def counted(step):
        def instead(*arguments, **options):
            taken.append(step)
            if len(taken) == fatal:
                raise Killed
            return step(*arguments, **options)

        return instead

    monkeypatch.setattr(os, "replace", counted(os.replace))
    monkeypatch.setattr(shutil, "copyfile", counted(shutil.copyfile))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    return taken


@COMPANIONS_OR_OWN
def test_killed_at_any_step_of_publishing(one, tmp_path):
    """What the next start finds is put right: all of the old, or all of the new, and nothing else; what another kind published stays."""
    fatal, reached, other = 0, True, {"1_one": "one", "one": "1_one"}[one]
    while reached:
        fatal += 1
        root = tmp_path / str(fatal)
        root.mkdir()
        staged(root, other, a="x\n0\n").publish()
        staged(root, one, a="x\n1\n", b="x\n1\n", gone="x\n1\n").publish()
        old, notebook = files(root / "figures"), staged(root, one, a="x\n2\n", b="x\n1\n", new="x\n2\n")
        with pytest.MonkeyPatch.context() as patch:
            stepping(patch, fatal)
            try:
                notebook.publish()
                reached = False
            except Killed:
                pass
        notebooks.tidy("paper", root)
        after = files(root / "figures")
        assert matches(root / "figures") and matches(root / "figures" / "own")
        assert not [file for file in after if "waiting" in file or "partial" in file]
        names = {Path(file).name for file in after if Path(file).name.startswith(f"{one}_")}
        assert after == old or names == {f"{one}_a.csv", f"{one}_b.csv", f"{one}_new.csv"}
        assert [text for file, text in after.items() if Path(file).name == f"{other}_a.csv"] == [b"x\n0\n"]
    assert fatal > 8 and after != old


@COMPANIONS_OR_OWN
def test_a_full_disk_is_named_and_what_was_published_stays(one, tmp_path, monkeypatch):
    staged(tmp_path, one, a="x\n1\n", b="x\n1\n").publish()
    old, copy = files(tmp_path / "figures"), shutil.copyfile

    def full(source, target):
        if "_b" in Path(target).name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copy(source, target)

    notebook = staged(tmp_path, one, a="x\n2\n", b="x\n2\n")
    notebook.stamp.unlink()  # as running it does
    monkeypatch.setattr(shutil, "copyfile", full)
    monkeypatch.setattr(Notebook, "execute", lambda self, tell: None)
    good, why = notebooks.run(notebook)
    assert not good and why == f"No space left on device: {notebook.published / f'.waiting-{one}_b.csv'}"
    assert files(tmp_path / "figures") == old


def test_a_file_that_the_system_refuses_leaves_the_old_one(tmp_path):
    path = tmp_path / "table.csv"
    write_whole(path, lambda partial: partial.write_text("old"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/table\.csv'"):
            write_whole(path, lambda partial: partial.write_bytes(bytes(1_000_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"] and path.read_text() == "old"


def test_what_dead_processes_left_is_cleared_and_nothing_else(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = {f".partial-{dead.pid}-a.csv": False, f".partial-{os.getpid()}-a.csv": True, ".partial-a.csv": True, "a.csv": True}
    for name in names:
        (tmp_path / name).write_text("")
    (tmp_path / f"pepg-{dead.pid}-x").mkdir()
    sweep_up(tmp_path)
    sweep_up(tmp_path, "pepg-{}-*")
    assert {path.name for path in tmp_path.iterdir()} == {name for name, stays in names.items() if stays}


def test_a_checkout_that_cannot_be_written_to_says_what_it_needs(tmp_path):
    write(tmp_path, "one", "pass")
    (tmp_path / "build").write_text("in the way of the folder")
    with pytest.raises(SystemExit, match=r"build.*: .*The notebooks need a copy of the project whose build/ and figures/ can be written to"):
        build.main([], root=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_checkout_says_what_it_needs(tmp_path):
    write(tmp_path, "one", "pass")
    tmp_path.chmod(0o555)
    with pytest.raises(SystemExit, match=r"Permission denied. The notebooks need a copy of the project"):
        build.main([], root=tmp_path)


# make, in an odd place: spaces and other letters in its path, no HOME, no network, a user's own set-up around it

NO_NETWORK = """
import socket
connect = socket.socket.connect
def local(self, address):
    if self.family != socket.AF_UNIX:
        raise OSError(f"no network, but asked for {address}")
    return connect(self, address)
socket.socket.connect = local
"""


def make(root, *arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "VIRTUAL_ENV", "CONDA_PREFIX", "MAKEFLAGS", "MFLAGS")}
    return subprocess.run(["make", *arguments], cwd=root, env=kept | environment, capture_output=True, text=True, timeout=300)


def test_make_in_an_odd_place(tmp_path):
    root = tmp_path / "ein Ort für π"
    root.mkdir()
    copied = {"Makefile", "pyproject.toml", "requirements.txt"}
    for name in copied:
        shutil.copy(PROJECT / name, root)
    shutil.copytree(PROJECT / "pepg", root / "pepg", ignore=shutil.ignore_patterns("__pycache__"))
    write(root, "first", SAVES, "import sys\nassert 'started' not in dir(), 'a start-up file ran'")
    (root / "sitecustomize.py").write_text(NO_NETWORK)
    startup = tmp_path / "own" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("started = 1 / 0")
    active = {"VIRTUAL_ENV": sys.prefix, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = make(root, "figures", "PROFILE=quick", "JOBS=1", IPYTHONDIR=str(tmp_path / "own"), **active)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(published(root)) == {f"own/{name}" for name in ("first_a.csv", "first_b.csv", "first_b.tex", "manifest.json")}
    assert {path.name for path in root.iterdir()} == copied | {"build", "notebooks", "pepg", "sitecustomize.py"}


# Setting up

PYTHON3 = """#!/bin/bash
# In place of Python: makes environments whose pip works while the file `online` is there.
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin"
    printf '#!/bin/bash\\ntest -e online || exit 1\\n' > "$3/bin/python"
    chmod +x "$3/bin/python"
    date +%N > "$3/born"
fi
"""


@pytest.fixture
def setting_up(tmp_path):
    """A project whose set-up takes no time, and a call of it."""
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text(PYTHON3)
    (tmp_path / "bin" / "python3").chmod(0o755)
    (tmp_path / "online").touch()

    def call():
        os.utime(tmp_path / "requirements.txt", (time.time() + 5, time.time() + 5))  # newer than what there is
        return make(tmp_path, ".venv/ready", PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}").returncode

    return tmp_path, call


@pytest.mark.parametrize("first", ["a link", "a folder"])
def test_a_new_environment_takes_the_place_of_the_old_one_only_when_it_is_whole(first, setting_up):
    root, call = setting_up
    if first == "a folder":  # as earlier versions made it
        (root / ".venv").mkdir()
        (root / ".venv" / "born").write_text("long ago")
    else:
        assert call() == 0
    born = (root / ".venv" / "born").read_text()
    (root / "online").unlink()
    assert call() != 0
    assert (root / ".venv" / "born").read_text() == born and len(list(root.glob(".venv-*"))) == (first == "a link")
    (root / "online").touch()
    assert call() == 0
    assert (root / ".venv" / "born").read_text() != born and len(list(root.glob(".venv-*"))) == 1


def test_an_active_environment_is_held_to_the_lower_bounds(tmp_path):
    assert list(versions.problems()) == []
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=1.0", "scipy>=99.1"]\noptional-dependencies = {more = ["no-such-package>=1.0"]}\n'
    )
    old, missing = versions.problems(tmp_path)
    assert old.startswith("scipy is ") and old.endswith("99.1 or newer is needed")
    assert missing == "no-such-package is missing, 1.0 or newer is needed"
