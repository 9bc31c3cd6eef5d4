"""Writes the network of a trained run for other programs: ONNX, or a graph of torch.export.

Every file is compared with torch before it gets its name.
"""

import importlib.util
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vmf_embeddings.library.trained_inputs import Transform
from vmf_embeddings.methods.base import Method
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

LARGEST_DIFFERENCE = 1e-3  # from torch, of the largest value; float32 stays far below
_MOST_BYTES_OF_ONNX = 2**31 - 2**20  # one protocol buffer
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
# what torch raises for a network that cannot become a graph
_NO_GRAPH = (RuntimeError, NotImplementedError, ValueError, TypeError, AssertionError, KeyError)
_SHOWN = 300  # characters of such an error

Outputs = tuple[Tensor, ...]
Run = Callable[[Tensor], Sequence[Any]]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: of the file.
        inputs: name and shape of the input; a size that may vary has a name instead of a number.
        outputs: names of the outputs.
        largest_difference: between the file's outputs and those of torch, of all numbers compared;
            None for bundles, whose weights are the same numbers.
        compared: number of inputs on which they were compared.
    """

    path: Path
    inputs: dict[str, tuple[int | str, ...]]
    outputs: tuple[str, ...]
    largest_difference: float | None = None
    compared: int = 0


class EmbeddingGraph(nn.Module):
    """Network inputs -> embeddings [B, D], and with `predict` also class probabilities [B, C].

    Args:
        method: trained, in evaluation mode.
        predict: whether the graph has a second output, `Method.predict_without_draws`.
    """

    def __init__(self, method: Method, *, predict: bool) -> None:
        super().__init__()
        self.method, self.predict = method, predict

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return ("embeddings", "probabilities") if self.predict else ("embeddings",)

    def forward(self, inputs: Tensor) -> Outputs:
        """Inputs [B, ch, H, W] or [B, F] -> the outputs, float32."""
        embeddings = self.method.embed(inputs).float()
        if not self.predict:
            return (embeddings,)
        return embeddings, self.method.predict_without_draws(embeddings).float()


def example_inputs(method: Method, transform: Transform | None, n_images: int) -> Tensor:
    """Network inputs to compare a file with torch on: coarse coloured noise, transformed.

    Raises:
        Refused: nothing states the shape of the inputs.
    """
    generator = torch.Generator().manual_seed(0)
    if method.arch.in_features is not None:
        return torch.randn(n_images, method.arch.in_features, generator=generator)
    if transform is None:
        raise Refused(
            "this run does not state how images become network inputs, so their shape is unknown: "
            "in Python, vmf.load(path, transform=…).export(…)"
        )
    coarse = torch.rand(n_images, 3, 8, 8, generator=generator)
    images = nn.functional.interpolate(coarse, (96, 96), mode="bilinear").mul(255).byte()
    return torch.stack([transform(image) for image in images])


def export_graph(
    graph: EmbeddingGraph,
    path: Path,
    examples: Tensor,
    meta: dict[str, Any],
    batch: int | None = None,
) -> Exported:
    """Writes `.onnx` or `.pt2`, once it was found to compute what torch computes.

    Args:
        graph: on the CPU.
        path: of the file; its ending decides.
        examples: network inputs to compare on; of at least `batch`.
        meta: JSON values that describe the run; stored in the file.
        batch: number of inputs that the file takes; None = any.

    Raises:
        Refused: the network cannot become such a graph; says why.
        ImportError: a package for ONNX is missing.
        RuntimeError: the file computes something else than torch. It was not written.
    """
    as_onnx = path.suffix == ".onnx"
    if as_onnx:
        _refuse_without_onnx(graph)
    name = "images" if examples.ndim == 4 else "features"
    given = {name: ("batch" if batch is None else batch, *examples.shape[1:])}
    examples = examples if batch is None else examples[:batch]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch's exporter about itself
        try:
            program = _traced(graph, examples, batch)
            write = _onnx(program, name, graph.output_names, meta) if as_onnx else None
        except _NO_GRAPH as error:
            raise Refused(_why_no_graph(error, path, batch)) from error
        with replacing(path) as temporary:
            if write is None:
                # a file object: by name, torch insists on the ending .pt2
                with temporary.open("wb") as stream:
                    torch.export.save(program, stream, extra_files={"run.json": json.dumps(meta)})
                run = _run_of_pt2(temporary)
            else:
                write(temporary)
                run = _run_of_onnx(temporary, name)
            largest = _largest_difference(graph, run, examples, batch)
    return Exported(path, given, graph.output_names, largest, len(examples))


def _traced(graph: EmbeddingGraph, examples: Tensor, batch: int | None) -> Any:
    """The program of torch.export; it takes any number of inputs where `batch` is None."""
    dynamic = None if batch is not None else ({0: torch.export.Dim("batch")},)
    # an example of one or two would be taken for a constant
    return torch.export.export(graph, (examples,), dynamic_shapes=dynamic)


def _onnx(
    program: Any, name: str, outputs: Sequence[str], meta: dict[str, Any]
) -> Callable[[Path], None]:
    """Writes the ONNX model of a program to a path."""
    import onnx

    from vmf_embeddings import torchvision_compat  # noqa: F401 - torch's exporter imports it

    exported = torch.onnx.export(
        program, dynamo=True, input_names=[name], output_names=list(outputs), verbose=False
    )
    assert exported is not None  # it is where no path is given
    model = exported.model_proto
    for key, value in meta.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.checker.check_model(model)
    return lambda path: onnx.save_model(model, path)


def _run_of_onnx(path: Path, name: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, {name: inputs.numpy()})


def _run_of_pt2(path: Path) -> Run:
    with path.open("rb") as stream:
        module = torch.export.load(stream).module()
    return lambda inputs: [output.numpy() for output in module(inputs)]


def _largest_difference(
    graph: EmbeddingGraph, run: Run, examples: Tensor, batch: int | None
) -> float:
    """Largest difference from torch, on all examples at once and, where it may be, on one."""
    largest = 0.0
    for inputs in (examples,) if batch is not None else (examples, examples[:1]):
        for name, ours, theirs in zip(graph.output_names, graph(inputs), run(inputs), strict=True):
            wanted = ours.numpy()
            difference = float(np.abs(wanted - theirs).max())
            if not difference <= LARGEST_DIFFERENCE * max(1.0, float(np.abs(wanted).max())):
                raise RuntimeError(
                    f"the exported {name} differ from those of torch by up to {difference:.3g}: "
                    "the file was not written"
                )
            largest = max(largest, difference)
    return largest


def _refuse_without_onnx(graph: nn.Module) -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"writing .onnx needs {', '.join(missing)}: pip install {' '.join(missing)}, or "
            "pip install 'vmf_embeddings[onnx]'; .pt2 and .zip need neither"
        )
    size = sum(one.numel() * one.element_size() for one in graph.state_dict().values())
    if size > _MOST_BYTES_OF_ONNX:
        raise Refused(
            f"the weights take {size / 2**30:.1f} GiB, and one .onnx file holds less than 2: "
            "write .pt2 or .zip"
        )


def _why_no_graph(error: Exception, path: Path, batch: int | None) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    first = printable(lines[0] if lines else type(error).__name__)[:_SHOWN]
    fixed = "" if batch is not None else "for one size of batch (--batch 1), or "
    return (
        f"this network cannot be written as {path.suffix}: torch's exporter says "
        f"{type(error).__name__}: {first}. Try {fixed}a bundle (.zip), which vmf.load reads"
    )
