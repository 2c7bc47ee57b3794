"""Many runs side by side: on the cores of this machine, or on a dask cluster.

:func:`parallel` maps a function over cases. :func:`sweep` runs every algorithm on every environment with every seed,
stores each run as soon as it has ended, and gives one tidy table. What a case gives depends on the case alone, so that
neither the number of workers nor the order in which they end changes a result. A worker's BLAS runs one thread.
"""

import os
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import joblib
import numpy as np
from tqdm import tqdm

from ..algorithms import Run
from ..arguments import check_function, check_instance, check_mapping, check_number, check_sequence, described
from ..mdp import PeMDP
from .files import write_whole
from .fingerprint import fingerprint

if TYPE_CHECKING:
    import pandas as pd  # which a worker need not load
    from distributed import Client  # the `dask` extra

Case = TypeVar("Case")
Result = TypeVar("Result")
ANSWER = 10  # seconds that a cluster's scheduler has to answer
WATCH = 1.0  # seconds between two looks of a worker at whether its parent lives


def sweep(
    algorithms: Mapping[str, Callable[..., Run]], environments: Mapping[str, PeMDP], seeds: Iterable[int], folder: str | os.PathLike,
    jobs: int | None = None, cluster: "str | Client | None" = None,
) -> "pd.DataFrame":
    """Every algorithm on every environment with every seed: a tidy table with one row per iterate.

    Columns: algorithm, environment, seed, iteration, value (the true performative value), shift (the relative change of the
    occupancy on the way to this iterate, missing at the first), deployments and samples so far. The rows come in the order
    of the arguments. What `jobs` and `cluster` are says :func:`parallel`; the rest says :func:`runs`, which it tabulates.
    """
    import pandas as pd  # here, so that a worker need not load it

    tables = []
    for (algorithm, environment, seed), run in runs(algorithms, environments, seeds, folder, jobs, cluster).items():
        columns = {
            "algorithm": algorithm,
            "environment": environment,
            "seed": seed,
            "iteration": np.arange(len(run.values)),
            "value": run.values,
            "shift": np.concatenate([[np.nan], run.shifts]),
            "deployments": run.deployments,
            "samples": run.samples,
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def runs(
    algorithms: Mapping[str, Callable[..., Run]], environments: Mapping[str, PeMDP], seeds: Iterable[int], folder: str | os.PathLike,
    jobs: int | None = None, cluster: "str | Client | None" = None,
) -> dict[tuple[str, str, int], Run]:
    """The runs of a sweep, {(algorithm, environment, seed): Run}, those that `folder` holds from there.

    algorithms : {name: function}, called as ``function(env, seed=seed)`` and returning a :class:`pepg.Run` of one policy;
        settings by ``functools.partial(pepg.algorithms.pepg, iterations=100)``
    environments : {name: PeMDP}
    seeds : whole numbers
    folder : one file for each cell, its name and a :func:`pepg.fingerprint.fingerprint` of the algorithm with its
        settings, the environment and the seed. It is written as soon as the cell has ended, so that an interrupted sweep
        goes on where it was, and a changed setting is run anew.

    A file that is damaged is named in a warning, and its cell run again. A cell that fails stops no other: all others end and
    are stored, and then a RuntimeError names the first that failed. Raises ValueError for arguments that are no sweep.
    """
    seeds = _check_sweep(algorithms, environments, seeds, folder)
    swept = {name: fingerprint(algorithm) for name, algorithm in algorithms.items()}
    worlds = {name: fingerprint(env) for name, env in environments.items()}
    files = {}
    for algorithm, environment, seed in product(algorithms, environments, seeds):
        key = joblib.hash([algorithm, swept[algorithm], environment, worlds[environment], seed])
        readable = re.sub(r"[^\w.=-]+", "-", f"{algorithm}_{environment}_{seed}")
        files[algorithm, environment, seed] = Path(folder) / f"{readable}_{key[:16]}.npz"
    found = {cell: _stored(file) for cell, file in files.items()}
    missing = [cell for cell, run in found.items() if run is None]
    cases = [(algorithms[algorithm], environments[environment], seed) for algorithm, environment, seed in missing]
    failures = {}
    for index, (run, failure) in _as_completed(_run_cell, cases, jobs, cluster):
        if failure is None:
            arrays = {field.name: getattr(run, field.name) for field in fields(Run) if getattr(run, field.name) is not None}
            write_whole(files[missing[index]], lambda partial, arrays=arrays: _save(partial, arrays))
            found[missing[index]] = run
        else:
            failures[index] = failure
    if failures:
        (algorithm, environment, seed), failure = missing[min(failures)], failures[min(failures)]
        raise RuntimeError(
            f"{len(failures)} of {len(files)} cells failed, the others are stored in {folder}. The first is algorithm "
            f"{algorithm!r}, environment {environment!r}, seed {seed}:\n{failure}"
        )
    return found


def _check_sweep(algorithms, environments, seeds, folder):
    """The seeds as a list of whole numbers, each once."""
    check_folder("folder", folder)
    for names, given, kind in (("algorithms", algorithms, "function"), ("environments", environments, "PeMDP")):
        check_mapping(names, given, kind)
    for name, algorithm in algorithms.items():
        if not callable(algorithm):
            raise ValueError(f"algorithms: expected functions of an environment and a seed, got {described(algorithm)} for {name!r}")
    for name, env in environments.items():
        if not isinstance(env, PeMDP):
            raise ValueError(f"environments: expected a PeMDP, got {described(env)} for {name!r}")
    seeds = check_sequence("seeds", seeds, "whole numbers")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"seeds: expected whole numbers, got {described(seed)}")
    twice = [seed for seed in seeds if seeds.count(seed) > 1]
    if twice:
        raise ValueError(f"seeds: expected each once, got {twice[0]} {len(twice)} times")
    return [int(seed) for seed in seeds]


def check_folder(name, folder):
    """`folder` as a path that is a folder or can become one, or a ValueError."""
    if not (isinstance(folder, (str, os.PathLike)) and os.fspath(folder)):
        raise ValueError(f"{name}: expected the path of a folder, got {described(folder)}")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{name}: expected a folder, got the file {folder}")
    return folder


def _run_cell(case):
    """(Run, None), or (None, what went wrong) so that a failure stops no other cell."""
    algorithm, env, seed = case
    try:
        # A copy, which shares nothing that an environment remembers with cells at the same time.
        run = algorithm(deepcopy(env), seed=seed)
        if not (isinstance(run, Run) and run.values.ndim == 1):
            raise ValueError(f"expected a Run of one policy, got {run!r:.200}")
    except Exception:
        return None, traceback.format_exc()
    return run, None


def _save(path, arrays):
    with open(path, "wb") as handle:  # a name would get the suffix .npz
        np.savez(handle, **arrays)


def _stored(file):
    """The run that `file` holds, None where there is none or it cannot be read."""
    try:
        with np.load(file) as arrays:
            return Run(**arrays)
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever reading a damaged archive comes upon
        warnings.warn(f"{file} is damaged, and its cell runs again ({type(error).__name__}: {error})", stacklevel=4)
        return None


def parallel(
    function: Callable[[Case], Result], cases: Iterable[Case], jobs: int | None = None, cluster: "str | Client | None" = None,
) -> list[Result]:
    """``[function(case) for case in cases]``, the cases side by side, with a progress bar.

    function : of one case; anything that cloudpickle can send, so also one defined in a notebook
    cases : an iterable; where a case draws random numbers, its seed belongs to the case
    jobs : how many processes; None: every core that this process may use (joblib counts them, and heeds
        LOKY_MAX_CPU_COUNT); 1: this process itself, where a debugger can follow
    cluster : the address or ``distributed.Client`` of a dask cluster whose workers have this package, instead of `jobs`

    An exception in a case stops the others and is raised, with a note that says which case it was. Workers end when this process
    does, however it ends. Raises ValueError for a cluster that does not answer within ten seconds.
    """
    check_function("function", function)
    if isinstance(cases, (str, bytes, dict)) or not hasattr(cases, "__iter__"):
        raise ValueError(f"cases: expected a sequence of cases, got {described(cases)}")
    cases = list(cases)
    results = [None] * len(cases)
    for index, result in _as_completed(function, cases, jobs, cluster):
        results[index] = result
    return results


def _as_completed(function, cases, jobs, cluster):
    """Yield (index, result) of every case, in the order in which they end."""
    if cluster is not None and jobs is not None:
        raise ValueError(f"jobs: a cluster counts its own workers, expected None with one, got {described(jobs)}")
    if jobs is not None:
        jobs = int(check_number("jobs", jobs, "a number of processes >= 1, or None", lambda n: n >= 1 and n == int(n)))
    tasks = [joblib.delayed(_numbered)(function, index, case) for index, case in enumerate(cases)]
    if not tasks:
        return
    with _client(cluster) as client:
        if client is None:
            count = min(jobs or joblib.cpu_count(), len(tasks))
            workers = {"backend": "loky", "n_jobs": count, "inner_max_num_threads": 1}
            workers |= {"initializer": _begin_worker, "initargs": (os.getpid(),)}
        else:
            workers = {"backend": "dask", "client": client}
        with joblib.parallel_config(**workers):
            # One task a batch: a result is handed over when it is there, not when its neighbours are.
            pool = joblib.Parallel(return_as="generator_unordered", batch_size=1, max_nbytes=None)
        yield from tqdm(pool(tasks), total=len(tasks), leave=False, disable=None)


def _begin_worker(parent):
    """In a worker: no progress bars of the cases' own, which would write over the one that counts the cases; an end with the parent."""
    sys.stderr.isatty = lambda: False
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent):
    """A parent that is killed cannot tell its workers, who would wait for it."""
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)


def _client(cluster):
    """A context with the client of `cluster`, closed at its end if it was opened here."""
    if cluster is None:
        return nullcontext(None)
    from distributed import Client  # the `dask` extra

    if isinstance(cluster, Client):
        return nullcontext(cluster)
    check_instance("cluster", cluster, str, "the address of a dask scheduler or a distributed.Client")
    try:
        return Client(cluster, set_as_default=False, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise ValueError(f"cluster: expected a scheduler that answers at {cluster} within {ANSWER} s, got {error}") from error


def _numbered(function, index, case):
    try:
        return index, function(case)
    except Exception as error:
        error.add_note(f"in case {index}: {case!r}")
        raise
