"""A trained run as a file for other programs (ONNX, torch.export) or for a colleague (a bundle)."""

from pathlib import Path
from typing import Any, Protocol

import torch

import vmf_embeddings
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.library.bundle import ENDING as BUNDLE
from vmf_embeddings.library.bundle import write_bundle
from vmf_embeddings.library.export_graph import (
    EmbeddingGraph,
    Exported,
    example_inputs,
    export_graph,
)
from vmf_embeddings.library.trained_inputs import Transform
from vmf_embeddings.methods.base import Method
from vmf_embeddings.untrusted.refused import Refused

EXPORTS = (".onnx", ".pt2", BUNDLE)
COMPARED = 5  # inputs on which an exported graph is compared with torch


class TrainedRun(Protocol):
    """What is needed of a `Run`."""

    module: Method
    device: torch.device
    transform: Transform | None
    class_names: list[str] | None
    config: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def geometry(self) -> Geometry:
        """How embeddings are compared."""

    @property
    def confidence_name(self) -> str:
        """What a confidence is."""


def export_run(run: TrainedRun, path: Path, *, predict: bool, batch: int | None) -> Exported:
    """Writes a run by the ending of `path`; see `Run.export`."""
    if path.suffix not in EXPORTS:
        got = path.suffix or "no ending"
        raise Refused(f"{path}: expected a file {', '.join(EXPORTS)}, got {got}")
    if path.suffix == BUNDLE:
        if predict or batch is not None:
            raise Refused("predict and batch are for .onnx and .pt2: a bundle has everything")
        values = {**description(run), **_of_checkpoint(run.metrics), "config": run.config}
        write_bundle(path, values, run.module.state_dict())
        return Exported(path, {}, ())
    if batch is not None and batch < 1:
        raise Refused(f"batch: expected at least 1, got {batch}")
    examples = example_inputs(run.module, run.transform, batch or COMPARED)
    try:
        graph = EmbeddingGraph(run.module.cpu(), predict=predict).eval()
        meta = {**description(run), **(_of_probabilities(run.module) if predict else {})}
        return export_graph(graph, path, examples, meta, batch)
    finally:
        run.module.to(run.device)


def description(run: TrainedRun) -> dict[str, Any]:
    """What exported files say of a run, as JSON values."""
    to_meta = getattr(run.transform, "to_meta", None)
    return {
        "program": f"vmf_embeddings {vmf_embeddings.__version__}",
        "method": run.module.name,
        "geometry": run.geometry.to_meta(),
        "embedding_dim": run.module.arch.class_spec.embedding_dim,
        "confidence_name": run.confidence_name,
        "n_classes": run.module.arch.class_spec.n_classes,
        "class_names": run.class_names,
        "image_transform": None if to_meta is None else to_meta(),
    }


def _of_probabilities(method: Method) -> dict[str, str]:
    """What a graph's probabilities are: logits [B, S, C] are of S samples."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        logits = method.logits(torch.ones(1, method.arch.class_spec.embedding_dim))
    drawn = logits is not None and logits.ndim == 3
    return {"probabilities": f"softmax of the {'expected ' * drawn}logits"}


def embedding_meta(run: TrainedRun) -> dict[str, Any]:
    """What files of embeddings say of a run, as JSON values."""
    kept = ("program", "method", "geometry", "confidence_name", "image_transform")
    epoch = run.metrics.get("epoch")
    own = {key: value for key, value in description(run).items() if key in kept}
    return {**own, "epoch": None if epoch is None else int(epoch)}


def _of_checkpoint(metrics: dict[str, Any]) -> dict[str, Any]:
    """Epoch and scores with the keys of a checkpoint."""
    best = {key: value for key, value in metrics.items() if key != "selected_on"}
    return {
        "epoch": metrics.get("epoch"),
        "best_epoch": best if best.get("epoch") is not None else None,
        "selected_on": metrics.get("selected_on"),
    }
