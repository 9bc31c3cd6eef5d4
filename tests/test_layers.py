"""Who may import whom: the walls of docs/architecture.md hold."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vmf_embeddings"

# room -> our rooms it may import; libraries it must not import
EVERYBODY_MAY = {"untrusted", "lazy", "labels", "progress", "typed", "once_differentiable", "tiles"}
MAY = {
    "untrusted": set(),
    "lazy": set(),
    "progress": set(),
    "typed": set(),
    "labels": set(),
    "once_differentiable": set(), "tiles": set(),
    "class_shard": set(),
    "native": set(),
    "threads": set(),
    "catalogue": set(),
    "argument_types": set(),
    "directional": {"native", "threads"},
    "hyperbolic": set(),
    "distillation": set(),
    "search": {"native", "threads"},
    "metrics": {"search", "native"},
    "embeddings": set(),
    "geometry": {"directional", "hyperbolic"},
    "archs": {"torchvision_compat"},
    "datasets": {"torchvision_compat", "embeddings"},
    "samplers": set(),
    "heads": {"directional", "geometry"},
    "losses": set(),
    "miners": set(),
    "criteria": {"class_shard", "directional", "geometry", "miners"},
    "flows": set(),
    "methods": {
        "directional", "hyperbolic", "distillation", "geometry", "archs", "heads", "losses",
        "criteria", "miners", "flows", "class_shard",
    },
    "training": {
        "archs", "class_shard", "datasets", "methods", "metrics", "samplers", "search", "geometry",
        "embeddings",
    },
    "extract_folder": {"datasets", "embeddings", "methods", "metrics", "training"},
    "extract": {
        "extract_folder", "training", "archs", "datasets", "methods", "metrics", "search",
        "geometry", "embeddings",
    },
    "evaluation": {
        "embeddings", "metrics", "search", "geometry", "directional", "hyperbolic",
    },
    "report": {"evaluation", "metrics", "search"},
    "virtual_distribution": {
        "datasets", "distillation", "evaluation", "methods", "metrics", "training",
    },
    "objective": {"library", "catalogue", "archs", "argument_types"},
    "trained": {"library", "methods", "geometry", "cli"},
    "library.objective_module": {
        "library", "argument_types", "criteria", "geometry", "heads", "methods",
    },
    "library.objective_needs": {"library"},
    "library.objective_batch": set(),
    "library.objective_parts": {
        "argument_types", "catalogue", "archs", "criteria", "heads", "losses", "methods",
    },
    "library.trained_inputs": set(),
    "library": set(),
    "library.evaluate": {"library", "embeddings", "evaluation", "geometry", "metrics"},
    "library.evaluate_arguments": {"embeddings"},
    "library.run_batches": {"library", "methods"},
    "library.search": {"library", "geometry", "search"},
    "library.table": {"library", "embeddings", "evaluation", "geometry"},
    "library.bundle": set(),
    "library.export": {"library", "geometry", "methods"},
    "library.export_graph": {"library", "methods", "torchvision_compat"},
    "library.progress_bar": set(),
    "library.train": {"cli", "datasets", "trained"},
    "evaluate": {"cli"},
    "summarize": {"cli"},
    "main": {"cli"},
    "__main__": {"cli"},
    "third_party": {"cli", "datasets"},
}  # fmt: skip
KNOW_HYDRA = {"cli"}


def room_of(path: Path) -> str:
    """The package a file is in; each file of `library` is a room of its own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts) if parts[0] == "library" and parts[1:] != ("__init__",) else parts[0]


@cache
def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import")
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("room", sorted({room_of(path) for path in FILES}))
def test_files_import_only_what_their_room_may(room):
    for path in (p for p in FILES if room_of(p) == room):
        ours = {n.split(".")[1] for n in imports(path) if n.startswith("vmf_embeddings.")}
        if room in MAY:
            assert ours - {room} <= MAY[room] | EVERYBODY_MAY, path
        if path.parent != PACKAGE and room not in ("cli", "library.train", "third_party"):
            assert "cli" not in ours, path
        if room not in KNOW_HYDRA:
            assert not {n.split(".")[0] for n in imports(path)} & {"hydra", "omegaconf"}, path


def test_methods_import_of_archs_their_base_alone_and_no_other_method():
    shared = {"__init__", "base", "class_parameters", "precision"}
    leaves = {p.stem for p in (PACKAGE / "conf" / "method").glob("*.yaml")}
    for path in (PACKAGE / "methods").glob("*.py"):
        for name in imports(path):
            if name.startswith("vmf_embeddings.archs."):
                assert name.split(".")[2] == "base", (path, name)
            if name.startswith("vmf_embeddings.methods.") and path.stem not in shared:
                assert name.split(".")[2] not in leaves - {path.stem}, (path, name)


def test_what_runs_a_job_imports_of_datasets_and_samplers_their_bases_alone():
    for room in ("training", "extract", "extract_folder", "virtual_distribution"):
        for path in (p for p in FILES if room_of(p) == room):
            for name in imports(path):
                if name.startswith(("vmf_embeddings.datasets", "vmf_embeddings.samplers")):
                    assert name.split(".")[2:3] == ["base"], (path, name)


def test_training_and_evaluation_name_no_method_or_data_set():
    methods = {p.stem for p in (PACKAGE / "conf" / "method").glob("*.yaml")}
    for room in ("training", "evaluation", "metrics", "search"):
        for path in (PACKAGE / room).rglob("*.py"):
            code = ast.parse(path.read_text())
            strings = {n.value for n in ast.walk(code) if isinstance(n, ast.Constant)}
            assert not methods & {s for s in strings if isinstance(s, str)}, path


def test_embedding_files_need_no_torch():
    for path in (PACKAGE / "embeddings").glob("*.py"):
        assert not any(name.split(".")[0] == "torch" for name in imports(path)), path


def test_every_room_is_held_to_a_rule():
    rooms = {room_of(path) for path in FILES}
    assert rooms <= MAY.keys() | KNOW_HYDRA | {"__init__", "torchvision_compat"}


def test_no_two_files_import_one_another():
    modules = {
        str(p.relative_to(PACKAGE.parent)).removesuffix(".py").replace("/", "."): p for p in FILES
    }

    def ours(path: Path) -> set[str]:
        return {m for n in imports(path) for m in (n, n.rpartition(".")[0]) if m in modules}

    graph = {module: ours(path) for module, path in modules.items()}
    both = {(a, b) for a in graph for b in graph[a] if a < b and a in graph[b]}
    assert not both
