"""Scores of rows that are divided among processes over gloo are those of one, bit for bit."""

from types import SimpleNamespace

import pytest
import torch

from vmf_embeddings.geometry import Cosine, Euclidean, Poincare, VonMisesFisher
from vmf_embeddings.metrics import negative_log_likelihood, probabilities
from vmf_embeddings.training.divided_scores import (
    divided_accuracies,
    divided_recall_at,
    validation_scores,
)
from vmf_embeddings.training.processes import gather_rows_to_first, gathered_blocks
from vmf_embeddings.training.validate import recall_at, top_accuracies

KS = (1, 2, 5, 70)
GEOMETRIES = (Euclidean(), Cosine(), Poincare(0.5), VonMisesFisher())
CASES = ("far apart", "tied", "all equal", "few", "one row", "masks", "paths", "one gallery row")


def split_of(case, n):
    """Labels, masks and names of n rows."""
    draw = torch.Generator().manual_seed(n)
    masks = {"is_query": None, "is_gallery": None, "paths": None}
    if case == "masks":
        masks["is_query"] = torch.rand(n, generator=draw) < 0.4
        masks["is_gallery"] = torch.rand(n, generator=draw) < 0.6
    if case == "paths":
        masks["paths"] = [f"image_{i // 3}.png" for i in range(n)]
    if case == "one gallery row":
        masks["is_gallery"] = torch.arange(n) == 4
    return SimpleNamespace(labels=torch.randint(0, 6, (n,), generator=draw), **masks)


def rows_of(case, dim, dtype=torch.float32):
    n = {"few": 4, "one row": 2}.get(case, 61)
    draw = torch.Generator().manual_seed(dim)
    if case == "all equal":
        return torch.full((n, dim), 0.25).to(dtype)
    if case in ("tied", "paths"):
        rows = torch.randint(-1, 2, (n, dim), generator=draw) / (2.0 * dim)
        rows[20:40] = rows[:20]
        return rows.to(dtype)
    return (0.1 * torch.randn(n, dim, generator=draw)).to(dtype)


def maps(case, geometry, place):
    """MAP@R of the rows of a case; of one process without a place."""
    rows = rows_of(case, 3)
    split, (rank, world) = split_of(case, len(rows)), place or (0, 1)
    here = SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu"))
    method = SimpleNamespace(geometry=geometry, has_logits=False)
    options = {"open_set": False, "batch_size": 5, "search": "torch", "metric_name": "MAP@R"}
    found = validation_scores(method, rows[rank::world], split, here, **options)
    assert found.nll is None
    return found.metric


def recalls(case, geometry, dim, place=None):
    rows = rows_of(case, dim)
    split = split_of(case, len(rows))
    method = SimpleNamespace(geometry=geometry)
    if place is None:
        return recall_at(KS, method, rows, split, "torch")
    rank, world = place
    here = SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu"))
    return divided_recall_at(KS, method, rows[rank::world], split, here, "torch")


class Logits:
    """Probabilities that are a function of the row, or drawn."""

    has_logits, class_shard = True, None

    def __init__(self, drawn):
        self.drawn = drawn

    def logits(self, rows):
        """[B, 7], or [B, 3, 7]."""
        if not self.drawn:
            return rows
        return rows[:, None] + torch.randn(len(rows), 3, rows.shape[1], dtype=rows.dtype)

    def predict(self, rows):
        probabilities = self.logits(rows).softmax(-1)
        return probabilities.mean(1) if self.drawn else probabilities


def accuracies(drawn, n, place=None):
    """Top-1, top-3 and top-6 accuracy, the NLL, and the next random number."""
    rows = torch.randn(n, 7, generator=torch.Generator().manual_seed(n)).double()
    split = SimpleNamespace(labels=torch.arange(n) % 7)
    torch.manual_seed(4)
    if place is None:
        found = top_accuracies((1, 3, 6), Logits(drawn), rows, split.labels, 5)
        after = float(torch.rand(()))
        torch.manual_seed(4)
        logits = torch.cat([Logits(drawn).logits(part) for part in rows.split(5)])
        nll = negative_log_likelihood(probabilities(logits), split.labels)
    else:
        rank, world = place
        here = SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu"))
        own = rows[rank::world]
        found = divided_accuracies((1, 3, 6), Logits(drawn), own, split, here, 5)
        after = float(torch.rand(()))
        options = {"open_set": False, "batch_size": 5, "search": "torch"}
        torch.manual_seed(4)
        accuracy, nll = validation_scores(
            Logits(drawn), own, split, here, metric_name="accuracy", **options
        )
        assert accuracy == found[0] and float(torch.rand(())) == after
    return [*found, nll, after]


def blocks(rank, world):
    """Rows in blocks and in the first process, of 1 to 23 rows."""
    every = [torch.arange(n * 2.0).view(n, 2) for n in (1, 2, 6, 23)]
    joined, first = [], []
    for rows in every:
        own = rows[rank::world]
        parts = list(gathered_blocks(own, rank, world, len(rows), 3))
        assert all(len(part) == 3 * world for part in parts[:-1])
        joined.append(torch.equal(torch.cat(parts), rows))
        whole = gather_rows_to_first(own, rank, world, len(rows))
        first.append(whole is None if rank else torch.equal(whole, rows))
    return joined + first


def of_process(rank, world, folder):
    place = rank, world
    found = {"blocks": blocks(rank, world)}
    for case in CASES:
        for geometry in GEOMETRIES:
            for dim in (3, 40):
                found[case, geometry.name, dim] = recalls(case, geometry, dim, place)
            found["map", case, geometry.name] = maps(case, geometry, place)
    for drawn in (False, True):
        for n in (1, 2, 23):
            found["accuracy", drawn, n] = accuracies(drawn, n, place)
    return found


def assert_as_in_one_process(processes):
    for each in processes:
        assert all(each["blocks"])
        for drawn in (False, True):
            for n in (1, 2, 23):
                here, alone = each["accuracy", drawn, n], accuracies(drawn, n)
                assert here == processes[0]["accuracy", drawn, n]
                assert here[3] == pytest.approx(alone[3], rel=1e-12)
                assert here[:3] + here[4:] == alone[:3] + alone[4:]
        for case in CASES:
            for geometry in GEOMETRIES:
                for dim in (3, 40):
                    found = each[case, geometry.name, dim]
                    assert found == recalls(case, geometry, dim), (case, geometry.name, dim)
                alone = maps(case, geometry, None)
                assert each["map", case, geometry.name] == pytest.approx(alone, nan_ok=True)


def test_two_processes_find_the_scores_of_one(of_two_processes):
    assert_as_in_one_process(of_two_processes["test_divided_scores"])


@pytest.mark.slow
def test_more_processes_find_the_scores_of_one(of_several):
    assert_as_in_one_process(of_several["test_divided_scores"])


def test_the_cases_contain_ties_and_scores_between_0_and_1():
    assert 0 < recalls("tied", Euclidean(), 3)[0] < 1
    assert 0 < recalls("far apart", Cosine(), 3)[0] < recalls("far apart", Cosine(), 3)[2] <= 1
    assert accuracies(True, 23) != accuracies(False, 23)
