"""Side by side, killed and resumed, on processes and on a cluster: always the same table."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import pepg
from pepg import algorithms, experiments
from pepg.experiments import sweeps
from pepg.experiments.fingerprint import fingerprint

TESTS = Path(__file__).parent
NAMES = ("pepg", "policy_gradient", "repeated_policy_optimization", "repeated_gradient_ascent")
GAMMAS = (0.3, 0.6, 0.9)
SEEDS = range(5)


# What is swept; the subprocess that is killed imports it from here


def logged(env, seed, name, log, pause=0.0):
    """An algorithm that notes each call in a file, which several processes append to."""
    with open(log, "a") as handle:
        handle.write(f"{name} {env.gamma} {seed}\n")
    time.sleep(pause)
    return getattr(algorithms, name)(env, seed=seed, iterations=4)


def environments():
    return {f"γ = {gamma}": pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, gamma) for gamma in GAMMAS}


def sweep(folder, log, **workers):
    swept = {name: functools.partial(logged, name=name, log=str(log)) for name in NAMES}
    return experiments.sweep(swept, environments(), SEEDS, folder, **workers)


def slow_sweep(folder, log):
    """The same sweep, slow enough to be killed half-way; the pause is no setting of a cell."""
    sweeps._run_cell = functools.partial(_pause_and_run, sweeps._run_cell)
    sweep(folder, log, jobs=2)


def _pause_and_run(run_cell, case):
    time.sleep(0.15)
    return run_cell(case)


def calls(log):
    return sorted(Path(log).read_text().splitlines()) if Path(log).exists() else []


@pytest.fixture(scope="module")
def cluster():
    """A local dask cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(host="127.0.0.1", worker_dashboard_address=None, **settings) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The table of a sweep on this process alone."""
    folder = tmp_path_factory.mktemp("reference")
    return sweep(folder / "cells", folder / "log", jobs=1)


# parallel


def draw(seed):
    time.sleep(0.02 * (seed % 3))  # so that they do not end in order
    return os.getpid(), np.random.default_rng(seed).normal(size=2)


@pytest.mark.parametrize("jobs", [1, 2, None])
def test_parallel_equals_a_loop(jobs):
    results = experiments.parallel(draw, range(7), jobs=jobs)
    assert np.array_equal([drawn for _, drawn in results], [draw(seed)[1] for seed in range(7)])
    if jobs is not None:
        assert len({process for process, _ in results}) <= jobs
        assert (os.getpid() in {process for process, _ in results}) == (jobs == 1)


def meet(place):
    """A case that ends only once the other has begun too: it says in whose process."""
    place.touch()
    deadline = time.monotonic() + 60
    while len(list(place.parent.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return os.getpid()


def test_two_cases_run_at_once(tmp_path):
    assert len(set(experiments.parallel(meet, [tmp_path / "a", tmp_path / "b"], jobs=2))) == 2


def test_parallel_takes_any_function_and_any_number_of_cases():
    scale = 3.0
    assert experiments.parallel(lambda case: scale * case[0] + case[1], iter([(1, 2), (3, 4)]), jobs=2) == [5.0, 13.0]
    assert experiments.parallel(draw, []) == []


def test_workers_run_one_thread_of_blas(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    threads = experiments.parallel(lambda _: os.environ["OPENBLAS_NUM_THREADS"], range(2), jobs=2)
    assert threads == ["1", "1"]


def fail_at_three(case):
    if case == 3:
        raise ArithmeticError("no three")
    return case


@pytest.mark.parametrize("jobs", [1, 2])
def test_parallel_says_which_case_failed(jobs):
    with pytest.raises(ArithmeticError, match="no three") as caught:
        experiments.parallel(fail_at_three, range(6), jobs=jobs)
    assert caught.value.__notes__ == ["in case 3: 3"]


@pytest.mark.parametrize("jobs", [0, -1, 1.5])
def test_parallel_checks_the_number_of_processes(jobs):
    with pytest.raises(ValueError, match=f"jobs: expected a number of processes >= 1, or None, got {jobs}"):
        experiments.parallel(draw, range(2), jobs=jobs)


def test_a_cluster_counts_its_own_workers():
    with pytest.raises(ValueError, match="jobs: .* got 2"):
        experiments.parallel(draw, range(2), jobs=2, cluster="tcp://127.0.0.1:1")


def test_parallel_on_a_cluster(cluster):
    results = experiments.parallel(draw, range(7), cluster=cluster.scheduler_address)
    assert np.array_equal([drawn for _, drawn in results], [draw(seed)[1] for seed in range(7)])
    assert len({process for process, _ in results}) == 2 and os.getpid() not in {process for process, _ in results}


# sweep


def test_the_table_has_a_row_for_each_iterate(reference):
    """In the order of the arguments, with what the runs themselves say."""
    keys = ["algorithm", "environment", "seed", "iteration"]
    assert list(reference.columns) == [*keys, "value", "shift", "deployments", "samples"]
    rows = [(n, e, s, t) for n in NAMES for e in environments() for s in SEEDS for t in range(5)]
    assert list(reference[keys].itertuples(index=False, name=None)) == rows
    for name in NAMES:
        run = getattr(algorithms, name)(environments()["γ = 0.6"], seed=3, iterations=4)
        part = reference.query("algorithm == @name and environment == 'γ = 0.6' and seed == 3")
        assert (part["value"] == run.values).all() and (part["deployments"] == run.deployments).all()
        assert np.isnan(part["shift"].iloc[0]) and (part["shift"].iloc[1:] == run.shifts).all()


def test_killed_and_resumed(reference, tmp_path):
    """Killed with SIGKILL half-way: nothing that had ended runs again, and the table is that of one process."""
    folder, log = tmp_path / "cells", tmp_path / "log"
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_experiments as t; t.slow_sweep(*sys.argv[2:])"
    command = [sys.executable, "-c", code, TESTS, folder, log]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("[!.]*.npz"))) < 25:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)  # its workers too
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("[!.]*.npz")}
    started = calls(log)
    assert 25 <= len(before) <= len(started) < 60  # stored while others are yet to start

    log.unlink()
    resumed = sweep(folder, log, jobs=2)
    assert len(calls(log)) == 60 - len(before)
    assert len(set(started) | set(calls(log))) == 60
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert resumed.equals(reference)

    log.unlink()
    assert sweep(folder, log).equals(reference)
    assert calls(log) == []


def test_the_same_table_on_a_cluster(reference, cluster, tmp_path):
    with cluster.get_client() as client:
        table = sweep(tmp_path / "cells", tmp_path / "log", cluster=client)
        assert client.status == "running"  # whoever opened it closes it
    assert table.equals(reference)
    assert len(calls(tmp_path / "log")) == 60


def test_a_changed_setting_runs_anew_and_nothing_else(tmp_path):
    folder, log = tmp_path / "cells", tmp_path / "log"
    world = pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, 0.5)

    def run(pause=0.0, env=world, seeds=(0, 1)):
        swept = {"PG": functools.partial(logged, name="policy_gradient", log=str(log), pause=pause)}
        before = len(calls(log))
        table = experiments.sweep(swept, {"world": env}, seeds, folder, jobs=1)
        return len(calls(log)) - before, table

    assert run()[0] == 2 and run()[0] == 0
    pepg.performative_gradient(world, world.uniform_policy())  # what it remembers of this is no setting
    assert run()[0] == 0
    assert run(pause=1e-9)[0] == 2
    assert run(seeds=(0, 1, 2))[0] == 1 and run(seeds=np.arange(3))[0] == 0
    other = pepg.random_softmax_pemdp(np.random.default_rng(1), 3, 2, 0.5)
    count, table = run(env=other)
    assert count == 2 and not table.equals(run()[1]) and run()[0] == 0


def fail_sometimes(env, seed, broken):
    if broken and seed == 1 and env.gamma > 0.5:
        raise ArithmeticError(f"it broke at {env.gamma}")
    return algorithms.policy_gradient(env, seed=seed, iterations=2)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cell_that_fails_stops_no_other_and_is_named(jobs, tmp_path):
    swept = {name: functools.partial(fail_sometimes, broken=name == "broken") for name in ("sound", "broken")}
    message = r"2 of 18 cells failed, .* algorithm 'broken', environment 'γ = 0.6', seed 1"
    with pytest.raises(RuntimeError, match=message) as caught:
        experiments.sweep(swept, environments(), range(3), tmp_path, jobs=jobs)
    assert "ArithmeticError: it broke at 0.6" in str(caught.value) and "fail_sometimes" in str(caught.value)
    assert len(list(tmp_path.iterdir())) == 16


def test_an_algorithm_must_return_a_run_of_one_policy(tmp_path):
    several = functools.partial(algorithms.policy_gradient, policy=np.full((2, 3, 2), 0.5), iterations=1)
    for wrong in (lambda env, seed: env.uniform_policy(), several):
        with pytest.raises(RuntimeError, match="expected a Run of one policy"):
            experiments.sweep({"wrong": wrong}, environments(), [0], tmp_path, jobs=1)
    assert not any(tmp_path.iterdir())


def test_runs_hold_the_policies(tmp_path):
    world = {"roads": pepg.pigou()}
    (cell, run), = experiments.runs({"PePG": algorithms.pepg}, world, [4], tmp_path, jobs=1).items()
    expected = algorithms.pepg(pepg.pigou(), seed=4)
    assert cell == ("PePG", "roads", 4) and isinstance(run, pepg.Run)
    for name in ("policies", "values", "shifts", "deployments", "samples"):
        assert (getattr(run, name) == getattr(expected, name)).all()
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("PePG_roads_4_")


def test_cells_do_not_share_what_an_environment_remembers(tmp_path):
    """On one process too: an environment swept is as it was."""
    env = pepg.Gridworld(n_followers=2)
    once = functools.partial(algorithms.policy_gradient, iterations=1)
    experiments.sweep({"PG": once}, {"grid": env}, [0], tmp_path, jobs=1)
    assert env._last == env._answers == []


@pytest.mark.parametrize(
    "change, message",
    [
        ({"algorithms": {"PG": 3}}, "algorithms: expected functions .* got 3 for 'PG'"),
        ({"environments": {"world": np.eye}}, "environments: expected a PeMDP, got <function eye.*> for 'world'"),
        ({"seeds": []}, "seeds: expected at least one"),
        ({"algorithms": {}}, "algorithms: expected at least one"),
        ({"seeds": [0, 1.5]}, "seeds: expected whole numbers, got 1.5"),
    ],
)
def test_arguments_are_checked(change, message, tmp_path):
    good = {"algorithms": {"PG": algorithms.policy_gradient}, "environments": {"world": pepg.pigou()}, "seeds": [0]}
    with pytest.raises(ValueError, match=message):
        experiments.sweep(**good | change, folder=tmp_path)


# Fingerprints


def scaled(factor, offset=0.0):
    def respond(policy):
        return np.full((2, 2, 2), 0.5), factor * policy + offset

    return respond


def test_a_fingerprint_is_that_of_the_settings():
    """Each pair is made alike or differs in one thing; what an environment has answered changes nothing."""
    function_env = functools.partial(pepg.FunctionPeMDP, n_states=2, n_actions=2, gamma=0.5, rho=[0.5, 0.5])
    makers = [
        lambda: pepg.Gridworld(n_followers=2),
        lambda: pepg.Gridworld(n_followers=2, eps=0.4),
        lambda: pepg.Gridworld(n_followers=3),
        lambda: pepg.random_softmax_pemdp(np.random.default_rng(0), 3, 2, 0.5),
        lambda: pepg.random_softmax_pemdp(np.random.default_rng(1), 3, 2, 0.5),
        lambda: function_env(scaled(1.0)),
        lambda: function_env(scaled(2.0)),
        lambda: function_env(scaled(1.0, 0.1)),
        lambda: function_env(scaled(1.0), gamma=0.6),
        lambda: function_env(functools.partial(lambda policy, k: scaled(k)(policy), k=1.0)),
        lambda: algorithms.pepg,
        lambda: algorithms.policy_gradient,
        lambda: functools.partial(algorithms.pepg, iterations=5),
        lambda: functools.partial(algorithms.pepg, iterations=6),
        lambda: functools.partial(algorithms.pepg, iterations=5, step_size=0.1),
        lambda: functools.partial(algorithms.pepg, step_size=0.1, iterations=5),
    ]
    prints = []
    for make in makers:
        first, again = make(), make()
        if isinstance(first, pepg.PeMDP):
            pepg.performative_gradient(first, first.uniform_policy())
        assert fingerprint(first) == fingerprint(again)
        prints.append(fingerprint(first))
    assert prints[-1] == prints[-2]  # the same settings in another order
    assert len(set(prints)) == len(makers) - 1


FUNCTION = """
drift, unused = {drift}, {unused}
def slope(p):
    return {slope}
def respond(policy):
    {comment}
    return np.full((1, 2, 1), 1.0), np.array([slope(p) for p in policy])
made = respond
"""
CLASS = """
class Mine(pepg.PeMDP):
    n_states, n_actions, gamma, rho = 1, 2, {gamma}, np.ones(1)
    def __init__(self, k):
        self.k = k
    @property
    def mean(self):
        return self.k / {divisor}
    def respond(self, policy):
        return pepg.MDP(np.ones((1, 2, 1)), self.k * policy{power}, self.gamma, self.rho)
    def response_gradient(self, policy, occupancy, value):
        return self.k * occupancy
made = Mine({k})
"""
IN_A_NOTEBOOK = {
    "a function": (
        FUNCTION,
        {"drift": 0.3, "slope": "drift * p", "unused": 1, "comment": ""},
        [{"drift": 0.4}, {"slope": "drift * p * p"}],
        {"unused": 2, "comment": "# a comment"},
    ),
    "a class": (
        CLASS,
        {"k": 1.0, "gamma": 0.5, "power": "", "divisor": 2},
        [{"k": 2.0}, {"gamma": 0.6}, {"power": " ** 2"}, {"divisor": 3}],
        {},
    ),
}


def made_in_a_notebook(text, settings):
    """The fingerprint of what a cell of a notebook makes, whose functions have no file."""
    names = {"__name__": "__main__", "np": np, "pepg": pepg}
    exec(text.format(**settings), names)
    return fingerprint(names["made"])


@pytest.mark.parametrize("text, settings, changes, other_names", IN_A_NOTEBOOK.values(), ids=IN_A_NOTEBOOK)
def test_what_a_notebook_defines_enters_with_its_code_and_what_it_names(text, settings, changes, other_names):
    first = made_in_a_notebook(text, settings)
    assert made_in_a_notebook(text, settings | other_names) == first
    assert len({first} | {made_in_a_notebook(text, settings | change) for change in changes}) == 1 + len(changes)


def test_a_fingerprint_is_the_same_in_another_process():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_experiments as t; print(*t.all_in_notebooks())"
    process = subprocess.run([sys.executable, "-c", code, str(TESTS)], capture_output=True, text=True, check=True)
    assert process.stdout.split() == all_in_notebooks()


def all_in_notebooks():
    sets = fingerprint({"sets are in no order", "of their own", "b", "c"})
    return [made_in_a_notebook(text, settings) for text, settings, *_ in IN_A_NOTEBOOK.values()] + [sets]


def test_what_cannot_be_hashed_is_refused():
    with pytest.raises(ValueError, match="expected a setting that can be hashed, got"):
        fingerprint(functools.partial(algorithms.pepg, policy=(state for state in ())))


# What a fingerprint reaches: files beside a script, and what a script says of itself


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Writes modules of a reader's own, found by their names; what was imported of them is forgotten in the end."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


IMPORTS = {
    "from the file": ("from mine_deep import slope\n", "slope(env)"),
    "inside a function": ("", "slope(env)"),
    "a module": ("import mine_deep\n", "mine_deep.slope(env)"),
}


@pytest.mark.parametrize("head, body", IMPORTS.values(), ids=IMPORTS)
def test_a_file_that_the_algorithms_file_imports_enters(head, body, files):
    """Also one two imports away; a file that nothing imports does not."""
    inside = "    from mine_deep import slope\n" if not head else ""
    files(mine=f"{head}def algorithm(env, seed):\n{inside}    return {body}\n")
    files(mine_deep="from mine_deeper import SCALE\ndef slope(env):\n    return SCALE\n")
    files(mine_deeper="SCALE = 1.0\n", mine_beside="SCALE = 1.0\n")
    from mine import algorithm

    prints = [fingerprint(algorithm)]
    for text in ("SCALE = 2.0\n", "SCALE = 3.0\n"):
        files(mine_deeper=text)
        prints.append(fingerprint(algorithm))
    files(mine_beside="SCALE = 2.0\n")
    assert fingerprint(algorithm) == prints[-1] and len(set(prints)) == 3


def in_a_script(text):
    names = {"__name__": "__main__", "np": np, "pepg": pepg}
    exec(text, names)
    return names["made"]


def test_a_module_that_a_script_reads_enters_with_its_file_and_its_values(files):
    files(mine="import mine_deeper\nX = 1.0\n", mine_deeper="Y = 1.0\n")
    made = in_a_script("import mine\ndef made(env, seed):\n    return mine.X\n")
    prints = [fingerprint(made)]
    sys.modules["mine"].X = 2.0
    prints.append(fingerprint(made))
    files(mine_deeper="Y = 2.0\n")
    prints.append(fingerprint(made))
    assert len(set(prints)) == 3 and fingerprint(made) == prints[-1]


OBJECT = """
import functools
class Algorithm:
    def __init__(self, k):
        self.k = k
    def __call__(self, env, seed):
        return {body}
@functools.lru_cache
def cached(env, seed):
    return {body}
made = {made}
"""


@pytest.mark.parametrize("made", ["Algorithm(2.0)", "Algorithm(2.0).__call__", "cached", "functools.partial(Algorithm(2.0), seed=1)"])
def test_the_code_of_an_object_that_a_script_defines_enters(made):
    first, same, other = (fingerprint(in_a_script(OBJECT.format(body=body, made=made))) for body in ("env + 1", "env + 1", "env + 2"))
    assert first == same != other
    assert fingerprint(in_a_script(OBJECT.format(body="env + 1", made="Algorithm(3.0)"))) != first


# Cells that are damaged


def cells(folder):
    return sorted(Path(folder).glob("[!.]*.npz"))


def small_sweep(folder):
    return experiments.sweep({"PePG": functools.partial(algorithms.pepg, iterations=3)}, {"roads": pepg.pigou()}, [1, 2], folder, jobs=1)


def flipped(data):
    return bytes([*data[:200], data[200] ^ 255, *data[201:]])


DAMAGES = {
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "no end": lambda data: data[:-1],
    "no start": lambda data: data[1:],
    "zeros": lambda data: bytes(len(data)),
    "a byte flipped": flipped,
    "random bytes": lambda data: np.random.default_rng(0).bytes(len(data)),
    "text": lambda data: b"no archive at all",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cell_is_named_and_runs_again(damage, tmp_path):
    expected = small_sweep(tmp_path)
    whole = [path.read_bytes() for path in cells(tmp_path)]
    hurt = cells(tmp_path)[0]
    hurt.write_bytes(damage(whole[0]))
    with pytest.warns(UserWarning, match=f"{hurt.name} is damaged"):
        assert small_sweep(tmp_path).equals(expected)
    assert [path.read_bytes() for path in cells(tmp_path)] == whole


@pytest.mark.parametrize("arrays", [{}, {"values": np.zeros(4)}], ids=["no arrays", "not all arrays"])
def test_an_archive_that_holds_no_run_is_a_damaged_cell(arrays, tmp_path):
    expected = small_sweep(tmp_path)
    np.savez(cells(tmp_path)[0], **arrays)
    with pytest.warns(UserWarning, match="is damaged"):
        assert small_sweep(tmp_path).equals(expected)


def test_a_cluster_that_does_not_answer_is_named(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(sweeps, "ANSWER", 1)
    with pytest.raises(ValueError, match="cluster: expected a scheduler that answers at tcp://127.0.0.1:1 within 1 s"):
        experiments.parallel(draw, range(2), cluster="tcp://127.0.0.1:1")
