"""Accuracy of predictions by draws where classes are divided among processes over gloo."""

from types import SimpleNamespace

import pytest
import torch

from tests.methods.laws import normal
from tests.training.sharded_methods import method_of
from vmf_embeddings.training.class_sharding import shard_classes
from vmf_embeddings.training.divided_scores import divided_accuracies, divided_accuracy_and_nll
from vmf_embeddings.training.processes import start


def accuracies(world, rank, concentration, n_seeds):
    """Top-1 and top-3 accuracy of drawn predictions [n_seeds, 2]."""
    method = method_of("vmf_softmax", 11, 8)
    method.class_weights.data.mul_(concentration)
    here = SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu"))
    if world > 1:
        shard_classes(method, learning_sampler=False, accelerator=start(cpu=True))
    rows = concentration * normal(40, 8, seed=4)
    split = SimpleNamespace(labels=torch.arange(40) % 11)
    found = []
    for seed in range(n_seeds):
        torch.manual_seed(seed)
        of_seed = divided_accuracies((1, 3), method, rows[rank::world], split, here, 7)
        found.append([*of_seed, float(torch.rand(()))])
    return torch.tensor(found).double()


def accuracy_and_nll(world, rank, name, concentration=1.0):
    """Of a method whose classes are divided among the processes."""
    method = method_of(name, 11, 8)
    method.class_weights.data.mul_(concentration)
    here = SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu"))
    if world > 1:
        shard_classes(method, learning_sampler=False, accelerator=start(cpu=True))
    rows = concentration * normal(40, 8, seed=4)
    split = SimpleNamespace(labels=torch.arange(40) % 11)
    torch.manual_seed(0)
    return divided_accuracy_and_nll(method, rows[rank::world], split, here, 7)


NLL_CASES = (("normalized_sce", 1.0), ("linear", 1.0), ("vmf_softmax", 1e6))


def of_process(rank, world, folder):
    return {
        "nll": [accuracy_and_nll(world, rank, *case) for case in NLL_CASES],
        "certain": accuracies(world, rank, 1e6, 1)[:, :2],
        "drawn": accuracies(world, rank, 0.3, 60),
    }


def check_predictions(processes):
    """By draws that hardly vary as in one process, by others in distribution; alike everywhere."""
    alone = accuracies(1, 0, 0.3, 60)[:, :2]
    for each in processes:
        assert torch.equal(each["certain"], accuracies(1, 0, 1e6, 1)[:, :2])
        assert torch.equal(each["drawn"], processes[0]["drawn"])
        difference = each["drawn"][:, :2].mean(0) - alone.mean(0)
        error = ((each["drawn"][:, :2].var(0) + alone.var(0)) / 60).sqrt()
        assert (difference.abs() < 4 * error).all() and (alone.var(0) > 0).all()


def check_nll(processes):
    alone = [accuracy_and_nll(1, 0, *case) for case in NLL_CASES]
    assert all(nll > 0 for _, nll in alone)
    for each in processes:
        assert each["nll"] == processes[0]["nll"]
        for (name, _), found, wanted in zip(NLL_CASES, each["nll"], alone, strict=True):
            rel = 1e-3 if name == "vmf_softmax" else 1e-9  # draws of a process are its own
            assert found == pytest.approx(wanted, rel=rel)


def test_accuracy_and_nll_are_those_of_all_classes(of_two_processes):
    check_nll(of_two_processes["test_sharded_predictions"])


def test_predictions_by_draws_are_those_of_all_classes(of_two_processes):
    check_predictions(of_two_processes["test_sharded_predictions"])


@pytest.mark.slow
def test_predictions_in_more_processes_are_those_of_all_classes(of_several):
    check_nll(of_several["test_sharded_predictions"])
    check_predictions(of_several["test_sharded_predictions"])
