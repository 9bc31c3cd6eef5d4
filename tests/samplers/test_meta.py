"""Laws of the sampler that learns how often each class is drawn."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from vmf_embeddings.samplers.meta import MetaSampler

SIZES = torch.tensor((60, 25, 10, 4, 2, 1))
LABELS = torch.repeat_interleave(torch.arange(6), SIZES)
LABELS = LABELS[torch.randperm(102, generator=torch.Generator().manual_seed(0))]
B, M = 20, 12


def sampler(labels=LABELS, **knobs):
    usual = {"meta_share": 0.2, "learning_rate": 0.1, "init_power": 0.0, "seed": 1}
    return MetaSampler(labels, batch_size=B, meta_batch_size=M, **(usual | knobs))


def with_psi(values):
    made = sampler()
    made.psi.data.copy_(torch.tensor(values, dtype=torch.float64))
    return made


def epochs(made, n):
    for epoch in range(n):
        made.set_epoch(epoch)
        yield from made


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_an_epoch_is_as_many_full_batches_as_the_data_give():
    batches = list(sampler())
    assert [len(batch) for batch in batches] == [B + M] * 5 and len(sampler()) == 5


def test_no_image_is_both_trained_on_and_in_the_meta_loss_but_the_only_one_of_a_class():
    batches = torch.stack(list(epochs(sampler(), 200)))
    train, meta = set(batches[:, :B].flatten().tolist()), set(batches[:, B:].flatten().tolist())
    alone = int((LABELS == 5).nonzero())
    assert train & meta == {alone}
    assert train | meta == set(range(102))
    per_class = np.bincount(LABELS[list(meta)], minlength=6)
    assert per_class.tolist() == [12, 5, 2, 1, 1, 1]


def test_classes_of_meta_images_are_in_round_robin_order_through_all_epochs():
    meta = torch.cat([batch[B:] for batch in epochs(sampler(), 4)])  # 240 = 40 passes
    passes = LABELS[meta].reshape(-1, 6).sort(1).values
    assert torch.equal(passes, torch.arange(6).expand(40, 6))


@pytest.mark.parametrize("psi", ([0.0] * 6, [-3.0, 0.5, 2.0, 0.0, 4.0, -1.0]))
def test_classes_of_training_images_have_the_distribution_of_psi(psi):
    made = with_psi(psi)
    rates = made.train_classes.counts * torch.tensor(psi).double().sigmoid().numpy()
    np.testing.assert_allclose(made.class_probabilities(), rates / rates.sum(), rtol=1e-12)
    seen = np.bincount(LABELS[torch.cat([b[:B] for b in epochs(made, 40)])], minlength=6)
    assert chisquare(seen, rates / rates.sum() * seen.sum()).pvalue > 1e-3


def test_psi_starts_at_zero_or_by_a_power_of_the_counts():
    assert not sampler().psi.any()
    made = sampler(init_power=0.3)
    rates = made.psi.detach().sigmoid().numpy()
    powers = made.train_classes.counts**-0.3
    np.testing.assert_allclose(rates / rates[0], powers / powers[0], rtol=1e-12)
    assert rates.min() + rates.max() == pytest.approx(1)


def test_gradient_is_that_of_the_straight_through_softmax():
    made = with_psi([-1.0, 0.5, 2.0, 0.0, 1.0, -2.0])
    next(iter(made))
    logits, classes = made._drawn
    slopes = torch.randn(B, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    psi = made.psi.detach().clone().requires_grad_()
    noise = torch.from_numpy(logits - made.class_logits())
    counts = torch.from_numpy(made.train_classes.counts).double()
    soft = (counts.log() + torch.nn.functional.logsigmoid(psi) + noise).softmax(1)
    hard = torch.nn.functional.one_hot(torch.from_numpy(classes), 6).double()
    weights = ((hard - soft.detach() + soft) * hard).sum(1)
    (slopes * weights).sum().backward()
    np.testing.assert_allclose(made.gradient(slopes.numpy()), psi.grad.numpy(), atol=1e-13)


def test_psi_increases_where_training_images_decrease_the_meta_loss_and_the_next_draws_follow():
    made, first = sampler(), []
    for batch in epochs(made, 30):
        classes = LABELS[batch[:B]]
        first.append(classes)
        made.learn(torch.where(classes == 3, -1.0, 1.0))
    assert made.psi[3] > 1 > made.psi[[0, 1, 2, 4, 5]].max()
    share = [(torch.cat(part) == 3).double().mean() for part in (first[:40], first[-40:])]
    assert share[1] > 2 * share[0]


def test_seed_epoch_and_psi_decide_everything():
    one, two = sampler(), sampler()
    assert same(one, one) and same(one, two)
    one.set_epoch(3)
    assert not same(one, two)
    assert not same(sampler(seed=2), sampler())
    assert not same(with_psi([3.0, -3, 0, 0, 0, 0]), sampler())


def test_a_saved_state_goes_on_as_if_nothing_had_happened(tmp_path):
    slopes = torch.linspace(-1, 1, B)

    def train(made, first, last):
        for epoch in range(first, last):
            made.set_epoch(epoch)
            for _ in made:
                made.learn(slopes)

    whole, half, resumed = sampler(), sampler(), sampler()
    train(whole, 0, 4)
    train(half, 0, 2)
    torch.save(half.state_dict(), tmp_path / "state.pt")
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    train(resumed, 2, 4)
    assert torch.equal(whole.psi, resumed.psi)
    assert whole.psi.any() and same(whole, resumed)


def test_slopes_of_another_batch_are_refused():
    with pytest.raises(ValueError, match="slopes for the 20 training images"):
        sampler().learn(torch.zeros(B))  # nothing drawn yet
    made = sampler()
    next(iter(made))
    with pytest.raises(ValueError, match="slopes for the 20 training images .*, got 3"):
        made.learn(torch.zeros(3))


def test_an_empty_class_is_refused():
    with pytest.raises(ValueError, match=r"1 of 3 classes have no training image \(first: class 1"):
        sampler(torch.tensor([0, 0, 2, 2]))


@pytest.mark.parametrize(
    ("knob", "value", "words"),
    [
        ("meta_share", 0.0, r"meta_share must be in \(0, 1\), got 0.0"),
        ("meta_share", 1.0, r"meta_share must be in \(0, 1\)"),
        ("learning_rate", -1.0, "learning_rate must be >= 0, got -1.0"),
        ("init_power", float("nan"), "init_power must be >= 0, got nan"),
    ],
)
def test_values_outside_their_range_are_refused(knob, value, words):
    with pytest.raises(ValueError, match=f"sampler.{words}"):
        sampler(**{knob: value})
