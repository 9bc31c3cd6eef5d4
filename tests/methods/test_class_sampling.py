"""Losses over some of the classes: exact with all, unbiased with few, and what is drawn."""

import math

import pytest
import torch

from tests.methods.laws import normal
from vmf_embeddings.class_shard import ClassShard
from vmf_embeddings.directional.partition import log_partition
from vmf_embeddings.methods.class_sampling import ClassSampling

N, B = 400, 6
LABELS = torch.tensor([3, 399, 3, 17, 200, 3])


def drawn(fraction, seed=0, *, corrected=True, shard=None, labels=LABELS):
    torch.manual_seed(seed)
    return ClassSampling(fraction, corrected)(shard or ClassShard(N, 0, 1), labels)


@pytest.mark.parametrize("rank", range(3))
def test_own_classes_of_the_batch_and_distinct_others_are_used(rank):
    step = drawn(0.2, shard=ClassShard(N, rank, 3))
    own = range(N)[step.classes]
    used = [own[row] for row in step.columns]
    of_batch = {int(y) for y in LABELS if int(y) in own}
    assert len(used) == len(set(used)) == math.ceil(0.2 * len(own)) and of_batch <= set(used)
    is_own, rows = step.own(LABELS)
    assert is_own.tolist() == [int(y) in own for y in LABELS]
    assert [used[row] for row in rows[is_own]] == LABELS[is_own].tolist()
    # those of the batch stand for themselves, all together for all
    log_weights = dict(zip(used, step.log_weights.double().exp(), strict=True))
    assert all(log_weights[y] == 1 for y in of_batch)
    assert float(sum(log_weights.values())) == pytest.approx(len(own), rel=1e-6)


def test_the_number_of_classes_depends_on_no_label_and_leaves_room_for_others():
    for labels in (LABELS, torch.zeros(B, dtype=torch.long), torch.arange(B)):
        assert len(drawn(0.1, labels=labels).columns) == 40
        assert len(drawn(0.001, labels=labels).columns) == 2 * B


@pytest.mark.parametrize(("fraction", "n"), [(1.0, N), (0.01, 2 * B), (0.9995, N)])
def test_where_there_is_room_for_all_nothing_is_drawn(fraction, n):
    shard = ClassShard(n, 0, 1)
    before = torch.get_rng_state()
    assert ClassSampling(fraction)(shard, LABELS % n) is shard
    assert torch.equal(before, torch.get_rng_state())


def test_every_process_draws_as_many_random_numbers_also_with_fewer_classes():
    shards = [ClassShard(41, rank, 4) for rank in range(4)]  # 10 or 11 classes
    for fraction, n_rows in ((0.5, 1), (0.95, 1), (0.91, 5), (1.0, 1), (0.1, 5)):
        states = []
        for shard in shards:
            drawn(fraction, shard=shard, labels=torch.arange(n_rows))
            states.append(torch.get_rng_state())
        assert all(torch.equal(states[0], state) for state in states)


def test_the_same_state_of_the_generator_draws_the_same_classes():
    first, again, other = drawn(0.1, 1), drawn(0.1, 1), drawn(0.1, 2)
    assert torch.equal(first.columns, again.columns)
    assert not torch.equal(first.columns, other.columns)


def estimates(logits, n_draws, *, corrected=True):
    """Partition sums of one row by sampled classes."""
    sums = []
    for seed in range(n_draws):
        step = drawn(0.1, seed, corrected=corrected)
        of_step = logits[step.columns]
        sums.append((of_step if not corrected else of_step + step.log_weights).exp().sum())
    return torch.stack(sums)


def test_the_partition_sum_is_unbiased_with_the_variance_of_draws_without_replacement():
    logits = normal(N, seed=3)
    others = torch.ones(N, dtype=torch.bool).index_fill(0, LABELS, False)
    terms, n = logits.exp()[others], int(others.sum())
    m = 40 - (N - n)
    variance = n**2 / m * (1 - m / n) * terms.var()
    n_draws = 1000
    sums = estimates(logits, n_draws)
    assert abs(sums.mean() - logits.exp().sum()) < 4 * (variance / n_draws).sqrt()
    # the sample variance of about normal sums has a relative error of sqrt(2 / n)
    assert float(sums.var() / variance) == pytest.approx(1, abs=5 * (2 / n_draws) ** 0.5)
    # and every class comes as often
    counts = sum(torch.bincount(drawn(0.1, seed).columns, minlength=N) for seed in range(n_draws))
    error = (counts[others] / n_draws - m / n).abs().max()
    assert error < 4.5 * (m / n * (1 - m / n) / n_draws) ** 0.5


def test_without_the_correction_the_sum_lacks_the_classes_that_are_not_drawn():
    logits = normal(N, seed=3)
    whole = logits.exp().sum()
    assert float(estimates(logits, 200).log().mean() - whole.log()) == pytest.approx(0, abs=0.03)
    uncorrected = estimates(logits, 200, corrected=False).log().mean() - whole.log()
    assert float(uncorrected) == pytest.approx(math.log(0.1), abs=0.15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("dim", [3, 8, 128])
def test_a_class_with_the_log_of_a_number_counts_as_so_many_copies(dim, dtype):
    mu = torch.nn.functional.normalize(normal(5, dim), dim=-1).to(dtype)
    angle, beta = normal(4, 5, seed=1).sigmoid().to(dtype), torch.tensor(3.0, dtype=dtype)
    weights, copies = 10 * normal(4, dim, seed=2).to(dtype), torch.tensor([1, 3, 1, 5])

    def found(weights, log_weights=None):
        generator = torch.Generator().manual_seed(1)
        arguments = (mu, angle, weights, beta, True, generator, lambda log_sums: log_sums)
        return log_partition(*arguments, log_weights)

    counted = found(weights, copies.double().log())
    rows = torch.arange(4).repeat_interleave(copies)
    copied = found(weights[rows])
    added = torch.zeros_like(weights).index_add_(0, rows, copied.grad_weights)
    expected = copied._replace(grad_weights=added)
    tolerance = 1e-13 if dtype == torch.float64 else 2e-6
    for one, other in zip(counted, expected, strict=True):
        assert float((one - other).abs().max() / other.abs().max()) < tolerance


@pytest.mark.parametrize("fraction", [0, 1.5, -0.1, "0.1", None, True])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(ValueError, match="trainer.sampled_classes is a fraction in"):
        ClassSampling(fraction)
