"""Laws of paired batches."""

import numpy as np
import pytest
import torch

from vmf_embeddings.samplers.paired import PairedSampler

COUNTS = torch.tensor([60, 25, 10, 5])
LABELS = torch.arange(4).repeat_interleave(COUNTS)


def sampler(batch_size=8, power=0.0, replacement=True, seed=1, labels=LABELS):
    return PairedSampler(
        labels, batch_size=batch_size, power=power, replacement=replacement, seed=seed
    )


@pytest.mark.parametrize("replacement", (True, False))
def test_batches_are_two_halves_of_the_same_size(replacement):
    batches = list(sampler(replacement=replacement))
    assert len(batches) == len(sampler()) == 13
    assert all(batch.shape == (16,) and batch.dtype == torch.int64 for batch in batches)


def test_the_first_halves_hold_every_image_and_are_filled_up_from_their_beginning():
    order = torch.cat([batch[:8] for batch in sampler()])
    assert order[:100].sort().values.tolist() == list(range(100))
    assert torch.equal(order[100:], order[:4])


def test_a_batch_larger_than_the_data_set_repeats_it():
    (batch,) = sampler(batch_size=250)
    assert torch.bincount(batch[:250]).sort().values.tolist() == [2] * 50 + [3] * 50


@pytest.mark.parametrize("power", (0.0, 0.5, 1.0))
def test_second_halves_follow_the_power_of_the_class_counts(power):
    drawn = []
    weighted = sampler(batch_size=100, power=power)
    for epoch in range(400):
        weighted.set_epoch(epoch)
        drawn += [LABELS[batch[100:]] for batch in weighted]
    shares = torch.bincount(torch.cat(drawn)) / 40_000
    wanted = COUNTS ** (1 - power) / (COUNTS ** (1 - power)).sum()
    deviation = (wanted * (1 - wanted) / 40_000).sqrt()
    assert ((shares - wanted).abs() < 5 * deviation).all()


def test_without_replacement_all_images_come_once_before_any_comes_again():
    partners = torch.cat([batch[8:] for batch in sampler(power=1.0, replacement=False)])
    assert partners[:100].sort().values.tolist() == list(range(100))
    assert len(partners) == 104


def test_without_replacement_the_first_partner_follows_the_weights():
    weighted = sampler(batch_size=100, power=1.0, replacement=False)
    firsts = []
    for epoch in range(2000):
        weighted.set_epoch(epoch)
        firsts.append(int(LABELS[next(iter(weighted))[100]]))
    shares = np.bincount(firsts, minlength=4) / 2000
    assert (np.abs(shares - 0.25) < 5 * (0.25 * 0.75 / 2000) ** 0.5).all()


@pytest.mark.parametrize("world", (2, 4))
def test_shares_of_processes_keep_the_halves(world):
    for batch in sampler():
        shares = [batch[rank::world] for rank in range(world)]
        firsts = torch.stack([share.chunk(2)[0] for share in shares], 1).flatten()
        partners = torch.stack([share.chunk(2)[1] for share in shares], 1).flatten()
        assert torch.equal(torch.cat([firsts, partners]), batch)


def test_seed_and_epoch_decide_everything():
    one, two = sampler(), sampler()
    assert torch.equal(torch.cat(list(one)), torch.cat(list(two)))
    one.set_epoch(3)
    assert not torch.equal(torch.cat(list(one)), torch.cat(list(two)))
    two.load_state_dict(one.state_dict())
    assert torch.equal(torch.cat(list(one)), torch.cat(list(two)))
    assert not torch.equal(torch.cat(list(sampler(seed=2))), torch.cat(list(sampler())))


@pytest.mark.parametrize("wrong", ({"batch_size": 0}, {"power": -0.1}, {"power": float("nan")}))
def test_wrong_knobs_are_refused_by_their_names(wrong):
    with pytest.raises(ValueError, match=f"sampler.{next(iter(wrong))}"):
        sampler(**wrong)
