"""The house: each wing imports only from below, and `import pepg` gives every public name."""

import ast
from pathlib import Path

import pytest

import pepg

PACKAGE = Path(pepg.__file__).resolve().parent
GROUND = ("arguments", "quadratic", "mdp", "performative", "policies")  # in this order
MAY_IMPORT = {
    "environments": {"ground"},
    "data": {"ground"},
    "algorithms": {"ground", "data"},
    "theory": {"ground", "data", "environments"},
    "experiments": {"ground", "data", "environments", "algorithms", "theory"},
    "companion": {"ground", "data", "environments", "algorithms", "theory", "experiments", "__version__"},
}
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imported(file):
    """The modules of the package that a file imports anywhere in it, as tuples of names below pepg."""
    for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level:
            here = ("pepg", *file.parent.parts)[: len(file.parent.parts) + 2 - node.level]
            module = tuple((node.module or "").split(".")) if node.module else ()
            names = [(*here, *module)] if module else [(*here, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [tuple(node.module.split("."))]
            if names == [("pepg",)]:
                names = [("pepg", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        yield from (name[1:] for name in names if name[0] == "pepg")


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_only_what_stands_below(file):
    wing = file.parts[0] if len(file.parts) > 1 else file.stem
    for module in imported(file):
        if wing == "__init__":
            assert module[0] in {*MAY_IMPORT, *GROUND}
        elif wing in GROUND:
            assert module[0] in GROUND[: GROUND.index(wing)], f"{file} imports {'.'.join(module)}"
        elif module[0] != wing:
            assert ("ground" if module[0] in GROUND else module[0]) in MAY_IMPORT[wing], f"{file} imports {'.'.join(module)}"


def test_every_file_is_in_a_wing():
    assert {file.parts[0] for file in FILES if len(file.parts) > 1} == set(MAY_IMPORT)
    assert {file.stem for file in FILES if len(file.parts) == 1} == {"__init__", *GROUND}


def test_names_of_the_first_house_remain():
    from pepg import certificate, experiments, figures, trajectories

    assert certificate.certified_optimum and experiments.sweep and figures.Output and trajectories.sample_trajectories
    assert pepg.gymnasium.DeployedMDP
    for name in pepg.__all__:
        assert getattr(pepg, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pepg.nothing  # noqa: B018
