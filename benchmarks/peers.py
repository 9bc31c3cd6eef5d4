"""Other libraries as peers; where one is not installed, `NotAvailable` says so."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.results import NotAvailable


def needed(module: str, package: str | None = None) -> Any:
    """The module, or `NotAvailable`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NotAvailable(f"{package or module} is not installed ({error})") from error


def compiled(function: Callable, *, dynamic: bool = False) -> Callable:
    """The function under torch.compile, or `NotAvailable` where it has no compiler to call."""
    import shutil

    if not torch.cuda.is_available() and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise NotAvailable("torch.compile needs a C++ compiler, none was found")
    return torch.compile(function, dynamic=dynamic)


def linear_cross_entropy(inputs: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """torch's fused linear layer and cross-entropy, chunked where it offers that."""
    function = getattr(torch.nn.functional, "linear_cross_entropy", None)
    if function is None:
        raise NotAvailable("this torch has no linear_cross_entropy")
    options = getattr(torch.nn, "LinearCrossEntropyOptions", None)
    extra = {} if options is None else {"options": options()}
    return function(inputs, weights, labels, **extra)


def metric_learning(search: str) -> Callable[[Tensor, Tensor], tuple[float, float]]:
    """pytorch-metric-learning's R@1 and MAP@R with neighbours from "faiss" or "CustomKNN"."""
    name = "pytorch_metric_learning"
    calculator = needed(f"{name}.utils.accuracy_calculator", name)
    inference = needed(f"{name}.utils.inference", name)
    if search == "faiss":
        neighbours = inference.FaissKNN(index_init_fn=needed("faiss").IndexFlatIP)
    else:
        distance = needed(f"{name}.distances", name).CosineSimilarity()
        neighbours = inference.CustomKNN(distance, batch_size=512)
    include = ("precision_at_1", "mean_average_precision_at_r")
    scores = calculator.AccuracyCalculator(
        include=include, k="max_bin_count", knn_func=neighbours, device=torch.device("cpu")
    )

    def evaluate(x: Tensor, labels: Tensor) -> tuple[float, float]:
        found = scores.get_accuracy(x, labels)
        return found[include[0]], found[include[1]]

    return evaluate


def torchmetrics_retrieval() -> Callable[[Tensor, Tensor, int], tuple[float, float]]:
    """torchmetrics' HitRate@1 and R-precision for the first queries, from all their pairs."""
    import vmf_embeddings.torchvision_compat  # noqa: F401 - torchmetrics imports torchvision

    retrieval = needed("torchmetrics.retrieval", "torchmetrics")

    def evaluate(x: Tensor, labels: Tensor, n_queries: int) -> tuple[float, float]:
        scores = x[:n_queries] @ x.T
        scores[torch.arange(n_queries), torch.arange(n_queries)] = -torch.inf
        query = torch.arange(n_queries)[:, None].expand_as(scores)
        relevant = labels[:n_queries, None] == labels
        relevant[torch.arange(n_queries), torch.arange(n_queries)] = False
        flat = (scores.flatten(), relevant.flatten(), query.flatten())
        hit, precision = retrieval.RetrievalHitRate(top_k=1), retrieval.RetrievalRPrecision()
        hit.update(flat[0], flat[1], indexes=flat[2])
        precision.update(flat[0], flat[1], indexes=flat[2])
        return float(hit.compute()), float(precision.compute())

    return evaluate


def scipy_sampler(mu: np.ndarray, kappa: float, seed: int = 0) -> Callable[[int], np.ndarray]:
    """scipy's draws for one mean direction."""
    law = needed("scipy.stats").vonmises_fisher(mu, kappa, seed=seed)
    return lambda n: law.rvs(n)
