"""What `make figures` does: run the notebooks that are out of date, side by side, and show how far they are.

A notebook runs after those whose data it reads, the ones that take longest first, each in a process of its own. On a terminal
a board shows every notebook that runs, its cell and its time; elsewhere a line says when each starts and ends. A notebook
that fails leaves every earlier figure as it was, and the others go on.
"""

import argparse
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait

import joblib
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .notebooks import Notebook, companions_and_own, locked, read_json, run, tidy, write_json
from .output import PROFILES, PROJECT

REFRESH = 0.25  # seconds
WAITING, RUNNING, DONE, CURRENT, FAILED, LEFT = "waiting", "running", "done", "up to date", "failed", "not run"


@dataclass
class Job:
    """One notebook of this build; `last` is how long it took the last time, in seconds, None where nobody knows."""

    notebook: Notebook
    needs: tuple
    last: float | None
    state: str = WAITING
    started: float = 0.0
    took: float = 0.0
    cell: int = 0
    of: int = 0
    news: list = field(default_factory=list)

    @property
    def name(self):
        return self.notebook.name

    def elapsed(self):
        return time.monotonic() - self.started if self.state == RUNNING else self.took


class Build:
    """Runs jobs, at most `slots` side by side on `cores` cores; `board` is told of every change."""

    def __init__(self, jobs, slots, store, board):
        self.jobs = {job.name: job for job in jobs}
        self.slots, self.store, self.board = slots, store, board
        self.cores = joblib.cpu_count()
        self.connections = {}
        # Processes are forked from one that has papermill loaded: it takes longer to load than many a notebook to run.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["papermill", "nbclient", "pepg.companion.notebooks"])

    def run(self):
        """Run what is out of date; True if nothing failed."""
        try:
            while self._start() or self.connections:
                for connection in wait(list(self.connections), timeout=REFRESH):
                    self._hear(connection)
                self.board.refresh(self)
        finally:
            for process, _ in self.connections.values():
                process.terminate()
                process.join()
        return not any(job.state in (FAILED, LEFT) for job in self.jobs.values())

    def _start(self):
        """Start what can start; the ones that take longest, with all that waits for them, first."""
        waiting = sorted((job for job in self.jobs.values() if job.state == WAITING), key=self._urgency, reverse=True)
        for job in waiting:
            states = [self.jobs[name].state for name in job.needs]
            if FAILED in states or LEFT in states:
                self._end(job, LEFT, [f"needs {', '.join(n for n in job.needs if self.jobs[n].state in (FAILED, LEFT))}"])
            elif len(self.connections) < self.slots and not {WAITING, RUNNING} & set(states):
                if job.notebook.is_current() and (job.notebook.executed.exists() or not self.store):
                    if self.store:
                        job.notebook.store()
                    self._end(job, CURRENT)
                else:
                    self._fork(job)
        return any(job.state == WAITING for job in self.jobs.values())

    def _fork(self, job):
        ahead = sum(other.state in (WAITING, RUNNING) for other in self.jobs.values())
        share = max(1, self.cores // min(self.slots, ahead))
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_work, args=(job.notebook, self.store, share, theirs))
        process.start()
        theirs.close()
        self.connections[ours] = process, job
        job.state, job.started = RUNNING, time.monotonic()
        self.board.started(job)

    def _hear(self, connection):
        process, job = self.connections[connection]
        try:
            kind, content = connection.recv()
        except EOFError:
            kind, content = "end", (False, "its process died")
        if kind == "cell":
            job.cell, job.of = content
            return
        del self.connections[connection]
        process.join()
        good, news = content
        self._end(job, DONE if good else FAILED, news if good else [news])

    def _end(self, job, state, news=()):
        job.took = job.elapsed()
        job.state, job.news = state, list(news)
        if state == DONE:
            _remember(job)
        self.board.ended(job)

    def _urgency(self, job):
        """How long the job and the longest chain of those that wait for it take; unknown times as one minute."""
        after = [other for other in self.jobs.values() if job.name in other.needs]
        return (job.last or 60.0) + max(map(self._urgency, after), default=0.0)

    def remaining(self):
        """Seconds until all is ready if each takes as long as last time, None where a time is not known."""
        ahead = [job for job in self.jobs.values() if job.state in (WAITING, RUNNING)]
        if any(job.last is None for job in ahead):
            return None
        ends = {job.name: max(job.last - job.elapsed(), 0.0) for job in ahead if job.state == RUNNING}
        slots = sorted([*ends.values(), *[0.0] * self.slots])[-self.slots:]
        for job in sorted((job for job in ahead if job.state == WAITING), key=self._urgency, reverse=True):
            slots.sort()
            start = max([slots[0], *(ends.get(name, 0.0) for name in job.needs)])
            slots[0] = ends[job.name] = start + job.last
        return max(ends.values(), default=0.0)


def _work(notebook, store, cores, connection):
    """In its own process: run the notebook, with as many processes of its own as `cores`."""
    os.environ["LOKY_MAX_CPU_COUNT"] = str(cores)
    try:
        result = run(notebook, store, lambda cell, of: connection.send(("cell", (cell, of))))
        connection.send(("end", result))
    except (KeyboardInterrupt, BrokenPipeError):
        pass


class Lines:
    """Where no terminal is: a line as each notebook starts and ends."""

    def __init__(self, console):
        self.console = console

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def started(self, job):
        self.print(f"  {job.name:<28} started{_last_time(job)}")

    def ended(self, job):
        end = {DONE: f"{job.took:.1f} s", CURRENT: CURRENT, FAILED: "FAILED in", LEFT: f"{LEFT}:"}[job.state]
        self.print(f"  {job.name:<28} {end} {_indented(job)}".rstrip())

    def refresh(self, build):
        pass

    def print(self, text):
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Board(Lines):
    """On a terminal: a board that updates in place. Only what needs reading, failures and warnings, stays above it."""

    def __enter__(self):
        self.live = Live(console=self.console, auto_refresh=False)
        self.live.__enter__()
        return self

    def __exit__(self, *exception):
        self.live.__exit__(*exception)

    def started(self, job):
        pass

    def ended(self, job):
        if job.news:
            super().ended(job)

    def refresh(self, build):
        self.live.update(board(build), refresh=True)


def board(build):
    """The board of a :class:`Build`, as rich draws it."""
    jobs = build.jobs.values()
    table = Table.grid(padding=(0, 2))
    for job in sorted((job for job in jobs if job.state == RUNNING), key=lambda job: job.started):
        last = _last_time(job).removeprefix(", ") or "first time here"
        table.add_row(Text(f"  {job.name}", "bold"), f"cell {job.cell}/{job.of}" if job.of else "starting", _clock(job.elapsed()), last)
    lines = []
    for label, states, style in (("done", (DONE, CURRENT), "green"), ("failed", (FAILED, LEFT), "red"), ("waiting", (WAITING,), "dim")):
        names = [job.name.split("_")[0] for job in jobs if job.state in states]
        if names:
            lines.append(Text(f"  {label:<8}{' '.join(names)}", style))
    left = build.remaining()
    if left:
        ready = time.strftime("%H:%M", time.localtime(time.time() + left))
        lines.append(Text(f"  all ready in about {_clock(left)}, at {ready}"))
    return Group(table, *lines)


def _last_time(job):
    return "" if job.last is None else f", last time {_clock(job.last)}"


def _clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _indented(job):
    """Warnings or the cause of a failure, below the notebook's line."""
    text = "\n".join(job.news)
    if job.state == FAILED:
        text += f"\nits executed copy: {os.path.relpath(job.notebook.executed)}"
    return text.replace("\n", "\n    ") if job.state in (FAILED, LEFT) else "".join(f"\n    {line}" for line in text.splitlines())


# How long each takes: measured here, or as stored with the notebooks


def _times(notebook):
    return notebook.build / "times.json"


def _remember(job):
    with locked(job.notebook.build / "times.lock"):
        path = _times(job.notebook)
        write_json(path, read_json(path) | {job.name: round(job.took, 1)})


def selection(names, profile, root=PROJECT):
    """The jobs of the notebooks `names`, all where there are none, with those that they read; the longest first."""
    known = sorted(path.stem for path in (root / "notebooks").glob("*.ipynb"))
    for name in names:
        if name not in known:
            raise ValueError(f"no notebook {name}; there are {', '.join(known)}")
    chosen, look = {}, list(names or known)
    while look:
        notebook = Notebook(look.pop(), profile, root)
        if notebook.name not in chosen:
            chosen[notebook.name] = notebook
            look += notebook.needs()
    stored = read_json(root / "notebooks" / "times.json") if profile == "paper" else {}
    jobs = []
    for name in sorted(chosen):
        last = read_json(_times(chosen[name])).get(name, stored.get(name))
        jobs.append(Job(chosen[name], tuple(chosen[name].needs()), last))
    return sorted(jobs, key=lambda job: -(job.last or 60.0))


def forget_the_gone(profile, root=PROJECT):
    """Take back what notebooks published that are no longer there: their files and their entries in the manifest."""
    for place in companions_and_own(profile, root):
        named = {entry["notebook"] for entry in read_json(place.manifest).values()}
        for notebook in (Notebook(name, profile, root) for name in sorted(named)):
            if not notebook.source.exists():
                notebook.forget()


def main(arguments=None, root=PROJECT):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="notebooks, without .ipynb; all by default")
    parser.add_argument("--profile", choices=PROFILES, default="paper")
    parser.add_argument("--jobs", type=int, default=joblib.cpu_count(), help="how many run side by side")
    parser.add_argument("--store", action="store_true", help="put the outputs into notebooks/, and how long each took (paper profile)")
    parser.add_argument("--order", action="store_true", help="only print these notebooks, or all, those that take longest first")
    options = parser.parse_args(arguments)
    if options.store and options.profile != "paper":
        sys.exit("only the paper profile's outputs are stored in the notebooks")
    if options.jobs < 1:
        sys.exit(f"--jobs: expected a whole number >= 1, got {options.jobs}")
    try:
        jobs = selection(options.names, options.profile, root)
    except ValueError as error:
        sys.exit(str(error))
    if options.order:
        print(*(job.name for job in jobs if job.name in options.names or not options.names))
        return 0
    try:
        tidy(options.profile, root)
        if not options.names:
            forget_the_gone(options.profile, root)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}. The notebooks need a copy of the project whose build/ and figures/ can be written to.")
    console = Console()
    start = time.monotonic()
    with Board(console) if console.is_terminal else Lines(console) as shown:
        build = Build(jobs, options.jobs, options.store, shown)
        try:
            good = build.run()
        except KeyboardInterrupt:
            shown.print("  interrupted; what has run stays, the next make goes on from there")
            return 130
    ended = [job for job in jobs if job.state in (DONE, CURRENT)]
    where = ", ".join(sorted({f"{os.path.relpath(job.notebook.published)}/" for job in jobs}))
    console.print(f"{len(ended)} of {len(jobs)} notebooks ready after {_clock(time.monotonic() - start)}: {where}", highlight=False, soft_wrap=True)
    if options.store:
        path = root / "notebooks" / "times.json"
        write_json(path, read_json(path) | {job.name: round(job.took) for job in jobs if job.state == DONE})
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
