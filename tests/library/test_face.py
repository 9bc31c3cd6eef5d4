"""`import vmf_embeddings as vmf`: light, complete, typed."""

import ast
import importlib
import inspect
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import vmf_embeddings as vmf

ROOT = Path(vmf.__file__).parents[1]


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules); import vmf_embeddings; "
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    imported = set(ast.literal_eval(python(code)))
    assert not imported & {"torch", "numpy", "scipy", "matplotlib", "hydra", "yaml", "rich"}


def test_objectives_and_runs_are_imported_without_hydra():
    names = "v.objective, v.objectives, v.load, v.read"
    code = f"import sys, vmf_embeddings as v; {names}; print('hydra' in sys.modules)"
    assert python(code).strip() == "False"


def test_dir_lists_the_face_and_every_name_is_there():
    assert dir(vmf) == sorted(vmf.__all__)
    for name in vmf.__all__:
        assert getattr(vmf, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'objectve'"):
        vmf.objectve  # noqa: B018


@pytest.mark.parametrize("name", ("evaluate", "objective", "search"))
def test_a_name_of_a_module_and_a_function_is_both(name):
    module = importlib.import_module(f"vmf_embeddings.{name}")
    assert getattr(vmf, name) is module and inspect.ismodule(module)
    assert list(inspect.signature(getattr(vmf, name)).parameters)


def test_every_function_and_class_has_a_docstring_and_annotations():
    for name in set(vmf.__all__) - {"__version__"}:
        thing = getattr(vmf, name)
        thing = thing._function if inspect.ismodule(thing) else thing
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            parameters = inspect.signature(thing).parameters.values()
            assert all(p.annotation is not p.empty for p in parameters), name


@pytest.mark.skipif(find_spec("mypy") is None, reason="needs mypy")
def test_mypy_accepts_the_face():
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
