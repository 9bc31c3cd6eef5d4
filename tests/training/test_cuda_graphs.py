"""What `trainer.cuda_graph` refuses before work starts, and how torch's graphs are called."""

import inspect
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch

from tests.device.graphs import CpuGraphs
from tests.training.few_digits import trained
from tests.training.test_execution import PLAIN
from vmf_embeddings import native
from vmf_embeddings.training import checkpoint, cuda_graphs
from vmf_embeddings.training.cuda_graphs import CudaGraphs, refuse_untried
from vmf_embeddings.training.execution import ExecutionSettings
from vmf_embeddings.untrusted.refused import Refused

FIELDS = {name: getattr(PLAIN, name) for name in ExecutionSettings.__dataclass_fields__}


@pytest.mark.parametrize(
    ("has_gpu", "changes"),
    [(False, {"cpu": False}), (True, {"cpu": True}), (True, {"cpu": False, "compile": True})],
)
def test_a_graph_needs_a_gpu_and_no_compilation(monkeypatch, has_gpu, changes):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    with pytest.raises(ValueError, match="leave trainer.cuda_graph=false"):
        ExecutionSettings(**FIELDS | {"cuda_graph": True} | changes)


def test_the_option_is_true_or_false_and_false_in_older_configurations():
    with pytest.raises(ValueError, match=r"trainer\.cuda_graph"):
        ExecutionSettings(**FIELDS | {"cuda_graph": "auto"})
    older = {k: v for k, v in FIELDS.items() if k != "cuda_graph"}
    assert ExecutionSettings.from_config(older).cuda_graph is False
    assert checkpoint.DEFAULTS_OF_OLDER_RUNS["trainer.cuda_graph"] is False


def job(*, learns=False, micro_batches=1, activation_checkpointing=False, sampling=None):
    execution = SimpleNamespace(activation_checkpointing=activation_checkpointing)
    settings = SimpleNamespace(execution=execution, micro_batches=micro_batches, sampling=sampling)
    return SimpleNamespace(sampler=SimpleNamespace(learns=learns), settings=settings)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"learns": True}, "sampler that learns"),
        ({"micro_batches": 4}, "trainer.micro_batches=4"),
        ({"activation_checkpointing": True}, "trainer.activation_checkpointing=true"),
        ({"sampling": object()}, "trainer.sampled_classes"),
    ],
)
def test_options_that_were_not_tried_with_graphs_are_refused(changes, named):
    refuse_untried(job())
    with pytest.raises(Refused, match=named):
        refuse_untried(job(**changes))


@pytest.fixture
def torch_cuda(monkeypatch):
    """Stands for the parts of `torch.cuda` that are called; notes the calls."""
    calls, mode = [], {"now": 0}

    class Stream:
        def __init__(self, device):
            pass

        def wait_stream(self, other):
            calls.append("graph waits" if other is current else "others")

    class Graph:
        def replay(self):
            calls.append("replay")

    @contextmanager
    def graph(captured, *args, **options):
        inspect.signature(real).bind(captured, *args, **options)
        calls.append("capture")
        yield

    def set_mode(new):
        mode["now"] = new
        calls.append(f"mode {new}")

    real, current = torch.cuda.graph, Stream(None)
    current.wait_stream = lambda other: calls.append("current waits")
    for name, stands in {
        "Stream": Stream, "CUDAGraph": Graph, "graph": graph, "stream": lambda s: nullcontext(),
        "graph_pool_handle": lambda: (0, 1), "current_stream": lambda: current,
        "get_sync_debug_mode": lambda: mode["now"], "set_sync_debug_mode": set_mode,
    }.items():  # fmt: skip
        monkeypatch.setattr(cuda_graphs.torch.cuda, name, stands)
    return calls


def test_a_step_before_the_capture_waits_for_others_and_they_for_it(torch_cuda):
    graphs = CudaGraphs(torch.device("cuda", 0))
    loss = graphs.warm_up(lambda: torch_cuda.append("step") or torch.ones(()), strict=True)
    assert loss == 1
    order = ["graph waits", "mode error", "step", "mode 0", "current waits"]
    assert torch_cuda == order


def test_a_step_in_which_the_host_waits_is_refused_and_other_errors_are_not(torch_cuda):
    graphs = CudaGraphs(torch.device("cuda", 0))

    def fails(message):
        raise RuntimeError(message)

    with pytest.raises(Refused, match="waits for the device"):
        graphs.warm_up(lambda: fails("called a synchronizing CUDA operation"), strict=True)
    assert torch_cuda[-1] == "mode 0"
    with pytest.raises(RuntimeError, match="out of memory"):
        graphs.warm_up(lambda: fails("out of memory"), strict=True)


def test_a_captured_step_is_replayed_without_running_it(torch_cuda):
    graphs = CudaGraphs(torch.device("cuda", 0))
    loss = torch.ones(())
    replay = graphs.capture(lambda: torch_cuda.append("step") or loss)
    assert replay() is loss and replay() is loss
    assert torch_cuda == ["capture", "step", "replay", "replay"]


@pytest.fixture
def on_cpu(monkeypatch):
    """Lets `trainer.cuda_graph` train on the CPU, with a stand-in for graphs; returns these."""
    made = []

    def capturer(device):
        made.append(CpuGraphs())
        return made[-1]

    monkeypatch.setattr(cuda_graphs, "CudaGraphs", capturer)
    monkeypatch.setattr(ExecutionSettings, "__post_init__", lambda self: None)
    monkeypatch.setenv(native.SWITCH, "0")
    return made


METHODS = {
    "arcface": ["method=arcface", "method.params.margin_warmup_epochs=1"],
    "classifier": ["method=classifier", "loss=ce"],
}


@pytest.mark.parametrize("name", ["arcface", "classifier"])
def test_a_whole_training_resumed_ends_with_the_same_bits(tmp_path, on_cpu, name):
    """Validation and checkpoints lie between the epochs, whose margins and losses differ."""
    words = [*METHODS[name], "mode.learning_rate=0.0625"]
    trained(tmp_path / "plain", *words, "mode.epochs=3")
    for epochs in (2, 3):
        graphs = ["trainer.cuda_graph=true", f"mode.epochs={epochs}"]
        trained(tmp_path / "graphs", *words, *graphs)
    plain, captured = (checkpoint.load(tmp_path / n / "last.pt") for n in ("plain", "graphs"))
    assert sum(graphs.n_replayed for graphs in on_cpu) >= 6
    for key in ("method_state_dict", "optimizer_state_dict"):
        assert_same(plain[key], captured[key])


def assert_same(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
