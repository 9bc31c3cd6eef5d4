"""On an emulated device miners, criteria and the search give what they give on the CPU."""

from collections.abc import Iterator
from itertools import product

import torch

from tests.contracts import test_methods as methods
from tests.criteria import made as criteria
from tests.criteria.fixture import LABELS
from tests.criteria.fixture import embeddings as rows
from tests.device.emulator import CUDA, emulated
from tests.methods.laws import normal
from tests.miners import test_laws as miners
from vmf_embeddings.directional.bound import softmax_bound_of_draws
from vmf_embeddings.directional.partition import log_partition
from vmf_embeddings.search import nearest
from vmf_embeddings.search.by_class import by_class
from vmf_embeddings.search.ranks import negatives_before

METHODS = ("arcface", "hyperbolic_sce", "nir", "normalized_sce")
OWN_DRAWS = {"quadruplet", "mcinfonce", "hib"}  # draw other numbers, of other shape, on a device


def differences() -> Iterator[str]:
    """Names of what differs."""
    yield from _differences_of_losses()
    for name, (key, labels) in product(miners.NAMES, miners.BATCHES.items()):
        if _of_miner(name, labels, "cpu") != _of_miner(name, labels, CUDA):
            yield f"miner {name}, {key}"
    for name in criteria.NAMES:
        here, there = (_of_criterion(name, device) for device in ("cpu", CUDA))
        if name not in OWN_DRAWS and not torch.allclose(here, there, rtol=1e-9, atol=1e-12):
            yield f"criterion {name}"
    for found, metric in product((_neighbours, _ranks), ("ip", "l2")):
        if found(metric, "cpu") != found(metric, CUDA):
            yield f"{found.__name__} by {metric}"


def _differences_of_losses() -> Iterator[str]:
    for found, case in [*product((_of_method,), METHODS), *product((_of_bound,), (3, 8, 64))]:
        here, there = (found(case, device) for device in ("cpu", CUDA))
        if not torch.allclose(here, there, rtol=1e-9, atol=1e-12):
            yield f"{found.__name__}, {case}"


def _of_miner(name: str, labels: list[int], device) -> list[list[int]]:
    with emulated():
        x, y = (t.to(device) for t in miners.batch(labels))
        return [
            part.tolist() for part in miners.miner(name)(x, y, torch.Generator().manual_seed(2))
        ]


def _neighbours(metric: str, device) -> list[list[int]]:
    """By float32 candidates, which settings of the program would make coarser."""
    with emulated():
        x = normal(200, 32).float().to(device)
        own = torch.arange(len(x), device=x.device)
        return nearest(x, x, 3, metric=metric, exclude=own)[0].tolist()


def _ranks(metric: str, device) -> list[list[int]]:
    with emulated():
        x, everything = normal(200, 32).float().to(device), torch.arange(200)
        order = by_class(everything % 40, everything, everything)
        return [
            n for part in negatives_before(x, order, metric=metric) for n in part.before.tolist()
        ]


def _of_criterion(name: str, device) -> torch.Tensor:
    """Loss and gradient of the embeddings, in one row on the CPU."""
    with emulated():
        criterion = criteria.made(name).to(device)
        x, labels = rows().to(device).requires_grad_(), LABELS.to(device)
        features = normal(len(x), criteria.N_FEATURES).to(device)
        torch.manual_seed(0)
        loss = criterion(criterion.prepare_embeddings(x), labels, features=features)
        (gradient,) = torch.autograd.grad(loss, x)
        return torch.cat([loss.detach().flatten(), gradient.flatten()]).cpu()


def _of_method(name: str, device) -> torch.Tensor:
    """Loss and gradient of the embeddings, in one row on the CPU."""
    method = methods.build(name).double().eval()
    with emulated():
        method, labels = method.to(device), methods.labels().to(device)
        z = normal(len(labels), method.arch.class_spec.embedding_dim).to(device).requires_grad_()
        loss = method.loss(z, labels)
        (gradient,) = torch.autograd.grad(loss, z)
        return torch.cat([loss.detach().flatten(), gradient.flatten()]).cpu()


def _of_bound(dim: int, device) -> torch.Tensor:
    """The vMF loss of given draws, and the log partition, with gradients, in one row on the CPU."""
    with emulated():
        z, w = (3 * normal(n, dim, seed=n).to(device) for n in (6, 5))
        draws = torch.nn.functional.normalize(normal(6, 2, dim), dim=-1).to(device)
        beta, labels = torch.tensor(2.0).double().to(device), torch.arange(6).to(device) % 5
        leaves = [t.requires_grad_() for t in (z, w, beta, draws)]
        loss = softmax_bound_of_draws(z, w, labels, beta, draws)
        parts = [loss.detach(), *torch.autograd.grad(loss, leaves)]
        torch.manual_seed(7)
        angle = (1 + normal(2, 6).abs()).to(device)
        with torch.no_grad():
            parts += log_partition(draws[:, 0], angle, w, beta, True, None)
        return torch.cat([part.flatten() for part in parts]).cpu()
