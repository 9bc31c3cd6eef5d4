"""PaCo: its softmax by the formula, its queue, and its momentum copy."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from tests.methods.laws import TinyArch, normal
from vmf_embeddings.heads.linear import LinearHead
from vmf_embeddings.methods.momentum_copy import MomentumCopy
from vmf_embeddings.methods.paco import PaCo, parametric_contrast
from vmf_embeddings.methods.row_queue import RowQueue

B, C, D, P = 24, 5, 3, 8
COUNTS = torch.arange(2, 2 + C)
LOG_FREQUENCIES = (COUNTS.double() / COUNTS.sum()).log()


def unit(*shape, seed=0):
    return normalize(normal(*shape, seed=seed), dim=-1)


def method(momentum=None, **options):
    torch.manual_seed(0)
    known = {"views": 2, "temperature": 0.1, "alpha": 0.3, "beta": 1.0, "adjust": True}
    known |= {"queue": 30, "projection_dim": P, "projection_hidden": 6, "momentum": momentum}
    made = PaCo(TinyArch(C, D), partial(LinearHead, bias=True), 0.0, **(known | options))
    made.set_class_counts(COUNTS)
    return made.double()


def images(views=2, seed=0):
    return {"examples": normal(B, views, 1, 4, 4, seed=seed), "ids": torch.arange(B) % C}


def slow(logits, rows, labels, others, other_labels, temperature, alpha, beta):
    """The published loss: weights alpha and beta on log-probabilities, over their sum."""
    losses = []
    for i, y in enumerate(labels.tolist()):
        terms, weights = list(logits[i]), [beta * (c == y) for c in range(logits.shape[1])]
        for j, (row, label) in enumerate(zip([*rows, *others], [*labels, *other_labels],
                                             strict=True)):  # fmt: skip
            if j != i and label >= 0:
                terms.append(rows[i] @ row / temperature)
                weights.append(alpha * float(label == y))
        log_p = torch.stack(terms).log_softmax(0)
        weights = torch.tensor(weights, dtype=torch.float64)
        losses.append(-(weights * log_p).sum() / weights.sum())
    return torch.stack(losses).mean()


def case(n=6, m=4):
    labels, others = torch.tensor([0, 0, 1, 2, 0, 1]), torch.tensor([0, -1, 2, 1])
    return [normal(n, C, seed=2), unit(n, P), labels, unit(m, P, seed=1), others]


# the loss


@pytest.mark.parametrize("weights", [(0.2, 0.05, 1.0), (0.05, 0.0, 1.0), (1.0, 2.0, 0.5)])
def test_the_loss_is_the_published_one_row_by_row(weights):
    torch.testing.assert_close(parametric_contrast(*case(), *weights), slow(*case(), *weights))


def test_the_loss_is_its_gradient():
    logits, rows, labels, others, classes = case()
    inputs = logits.requires_grad_(), rows.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z, x: parametric_contrast(z, x, labels, others, classes, 0.3, 0.4, 1.0), inputs
    )


def test_without_other_rows_it_is_the_cross_entropy():
    logits, rows, labels = normal(1, C), unit(1, P), torch.tensor([3])
    found = parametric_contrast(logits, rows, labels, rows[:0], labels[:0], 0.1, 0.5, 1.0)
    torch.testing.assert_close(found, cross_entropy(logits, labels))


def test_it_is_least_at_the_weights_of_the_own_class_and_its_rows():
    """Logits log beta of the class and log alpha of n rows: the entropy of these shares."""
    alpha, n = 0.25, 3
    rows, labels = unit(1, P), torch.tensor([1])
    others, temperature = rows.expand(n, P), 1.0
    logits = torch.full((1, C), -torch.inf).double()
    logits[0, 1] = 1.0 - torch.tensor(alpha).log()
    found = parametric_contrast(logits, rows, labels, others, labels.expand(n), temperature,
                                alpha, 1.0)  # fmt: skip
    shares = torch.tensor([1.0] + n * [alpha]).double()
    shares = shares / shares.sum()
    torch.testing.assert_close(found, -(shares * shares.log()).sum())
    for step in (-0.1, 0.1):
        moved = parametric_contrast(logits + step, rows, labels, others, labels.expand(n),
                                    temperature, alpha, 1.0)  # fmt: skip
        assert moved > found


# the queue


def test_the_queue_keeps_the_last_rows_in_any_division():
    rows, labels = normal(20, P), torch.arange(20)
    for sizes in ([20], [3, 3, 4, 7, 3], [9, 11]):
        kept = RowQueue(7, P).double()
        for r, y in zip(rows.split(sizes), labels.split(sizes), strict=True):
            kept.add(r, y)
        assert sorted(kept.labels.tolist()) == [*range(13, 20)]
        assert torch.equal(kept.rows, rows[kept.labels])


def test_a_queue_that_is_not_full_leaves_its_places_out():
    kept = RowQueue(7, P).double()
    kept.add(unit(2, P), torch.tensor([0, 1]))
    assert kept.labels.tolist() == [0, 1, -1, -1, -1, -1, -1]
    RowQueue(0, P).add(unit(2, P), torch.tensor([0, 1]))


# the momentum copy


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double()


def changed(net):
    with torch.no_grad():
        for p in net.parameters():
            p.add_(normal(*p.shape, seed=5))
    return net


def test_a_copy_computes_what_the_network_did_and_leaves_its_statistics():
    net, x = network(), normal(9, 4)
    copied = MomentumCopy(net, 0.9)
    expected = net(x).detach()
    before = {k: v.clone() for k, v in net.named_buffers()}
    found = copied.output(changed(net), x)
    assert torch.equal(found, expected) and not found.requires_grad
    assert all(torch.equal(before[k], v) for k, v in net.named_buffers())
    assert not torch.equal(net(x), expected)


@pytest.mark.parametrize("momentum", (0.0, 0.75, 1.0))
def test_a_copy_follows_by_its_momentum(momentum):
    net = network()
    copied, start = MomentumCopy(net, momentum), [p.detach().clone() for p in net.parameters()]
    copied.follow(changed(net))
    for own, first, now in zip(copied.buffers(), start, net.parameters(), strict=True):
        torch.testing.assert_close(own, momentum * first + (1 - momentum) * now)
    copied.restart(net)
    assert all(map(torch.equal, copied.buffers(), net.parameters()))


def test_frozen_weights_are_not_copied():
    net = network()
    net[0].requires_grad_(False)
    copied = MomentumCopy(net, 0.9)
    assert len(list(copied.buffers())) == 4
    assert torch.equal(copied.output(net, normal(9, 4)), net(normal(9, 4)))


# the method


def test_views_are_compared_with_one_another_and_with_the_queue():
    made, y = method(), torch.arange(B) % C
    for step in range(2):
        x, queue = normal(B, 2, D, seed=step), made.queue
        kept = [queue.rows.clone(), queue.labels.clone()]
        found = made.loss(x, y)
        both = torch.cat([x[:, 0], x[:, 1]])
        rows = normalize(made.projection(both), dim=1)
        logits = made.classifier(both) + LOG_FREQUENCIES
        wanted = slow(logits, rows, y.repeat(2), *kept, 0.1, 0.3, 1.0)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)
        torch.testing.assert_close(made.queue.rows[made.queue.place - 1], rows[-1])


def test_a_momentum_copy_makes_keys_of_the_last_view_without_gradient():
    made, batch = method(momentum=0.9), images()
    inputs = made.loss_inputs(batch)
    first, last = batch["examples"].unbind(1)
    torch.testing.assert_close(inputs["embeddings"], made.embed(first))
    torch.testing.assert_close(inputs["keys"], made.embed(last).detach())
    y = batch["ids"]
    rows, keys = (normalize(made.projection(inputs[k]), dim=1) for k in ("embeddings", "keys"))
    logits = made.classifier(inputs["embeddings"]) + LOG_FREQUENCIES
    found = made.loss(**inputs)
    torch.testing.assert_close(found, slow(logits, rows, y, keys, y, 0.1, 0.3, 1.0))
    assert not inputs["keys"].requires_grad
    torch.testing.assert_close(made.queue.rows[:B], keys)


@pytest.mark.parametrize("momentum", (None, 0.5))
def test_what_goes_on_from_its_state_learns_the_same(momentum):
    def trained(made, steps):
        optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
        for step in steps:
            optimizer.zero_grad()
            loss = made(images(seed=step))
            loss.backward()
            optimizer.step()
        return loss.item()

    whole, parts, resumed = method(momentum), method(momentum), method(momentum)
    trained(parts, range(2))
    resumed.load_state_dict(parts.state_dict())
    assert trained(resumed, range(2, 4)) == trained(whole, range(4))
    assert all(map(torch.equal, resumed.state_dict().values(), whole.state_dict().values()))


def test_the_first_of_two_passes_over_a_batch_leaves_queue_and_copies():
    made = method(momentum=0.5)
    made.queue.frozen = True
    before = {k: v.clone() for k, v in made.state_dict().items() if k.startswith(("key", "queue"))}
    made(images())
    assert all(torch.equal(made.state_dict()[k], v) for k, v in before.items())


def test_a_compiled_network_makes_the_same_keys():
    made, batch = method(momentum=0.5), images()
    changed(made.arch)
    expected = made.loss_inputs(batch)["keys"]
    made.arch.compile(backend="eager")
    torch.testing.assert_close(made.loss_inputs(batch)["keys"], expected)


def test_copies_begin_with_the_weights_at_the_start_of_training():
    made, batch = method(momentum=0.99), images()
    changed(made.arch)
    made.init_from_data(lambda: [])
    inputs = made.loss_inputs(batch)
    torch.testing.assert_close(inputs["keys"], made.embed(batch["examples"][:, 1]).detach())


def test_predictions_are_those_of_the_head_alone_and_evaluation_leaves_the_state():
    made, x = method(momentum=0.5), normal(B, D)
    torch.testing.assert_close(made.logits(x), made.classifier(x))
    made.eval()
    before = {k: v.clone() for k, v in made.state_dict().items()}
    assert made(images()).isfinite()
    assert all(torch.equal(before[k], v) for k, v in made.state_dict().items())


def test_frequencies_are_added_on_demand():
    x = normal(B, D)
    plain, adjusted = method(adjust=False), method()
    assert adjusted.uses_prior and not plain.uses_prior
    difference = adjusted.class_logits(x) - plain.class_logits(x)
    torch.testing.assert_close(difference, LOG_FREQUENCIES.expand(B, C))


@pytest.mark.parametrize(
    ("options", "words"),
    [({"views": 3}, "views"), ({"temperature": 0.0}, "temperature"), ({"alpha": -1.0}, "alpha"),
     ({"beta": 0.0}, "beta"), ({"momentum": 1.5}, "momentum"), ({"queue": -1}, "queue")],
)  # fmt: skip
def test_unusable_values_are_refused_by_their_name(options, words):
    with pytest.raises(ValueError, match=f"method.params.{words}"):
        method(**options)
