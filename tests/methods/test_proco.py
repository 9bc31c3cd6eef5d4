"""ProCo: published values, exact normaliser and concentrations, state, two branches."""

import math
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from tests.conftest import cases, load_golden
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.directional import mean_cosine, sample
from vmf_embeddings.heads.cosine import CosineHead
from vmf_embeddings.losses.logit_adjustment import LogitAdjustment
from vmf_embeddings.methods.head_and_loss import HeadAndLoss
from vmf_embeddings.methods.proco import ProCo
from vmf_embeddings.methods.proco_logits import (
    contrast_logits,
    contrast_loss,
    published_log_i,
    published_logits,
)
from vmf_embeddings.methods.proco_statistics import (
    ClassDistributions,
    ClassStatistics,
    concentration,
    shrunk_resultant,
)

GOLDEN = load_golden("dm_proco")
RUNS = [case for case in cases(GOLDEN) if case != "table"]
B, C, D = 24, 5, 3


def golden(case, key):
    found = torch.tensor(GOLDEN[f"{case}/{key}"])
    return found.double() if found.is_floating_point() else found


def statistics(n_classes=C, dim=8, **options):
    known = {"statistics": "window", "min_count": 2, "kappa_max": 1e5, "reference": False}
    return ClassStatistics(n_classes, dim, **(known | options)).double()


def method(**options):
    torch.manual_seed(0)
    known = {"views": 3, "temperature": 0.1, "alpha": 1.0, "adjust": True, "min_count": 2}
    known |= {"projection_dim": 8, "projection_hidden": 6, "statistics": "window"}
    known |= {"kappa_max": 1e5, "variant": "standard"}
    head = partial(CosineHead, bias=False, scale=None)
    made = ProCo(TinyArch(C, D), head, LogitAdjustment(1.0), 0.0, **(known | options))
    made.set_class_counts(torch.arange(2, 2 + C))
    return made.double()


def embeddings(views=3):
    return normal(B, views, D), torch.arange(B) % C


# published code


def replay(case, logits_of, kappa_of):
    """The four steps of a golden: per view kappa and logits; losses; the last rows' gradients."""
    features, labels = golden(case, "features"), golden(case, "labels")
    counts = golden(case, "class_counts").double()
    tau, found = float(golden(case, "temperature")), {"kappa": [], "logits": [], "loss": []}
    kept = statistics(len(counts), features.shape[-1], reference=True)
    kept.directions.copy_(torch.stack([golden(case, f"init_{k}") for k in ("old", "new")]) / 0.9)
    kept.epoch.fill_(0)
    for step in range(4):
        if step == 2:
            kept.begin_epoch(1)
            kept.directions[1] = golden(case, "init_after_reset") / 0.9
        rows = features[step].clone().requires_grad_()
        losses = []
        for v in range(2):
            kept.add(rows[v], labels[step])
            classes = kappa_of(kept)
            logits = logits_of(rows[v], classes, tau)
            found["kappa"].append(classes.kappa)
            found["logits"].append(logits.detach())
            losses.append(cross_entropy(logits + (counts / counts.sum()).log(), labels[step]))
        torch.stack(losses).mean().backward()
        found["loss"].append(torch.stack(losses).mean().detach())
    return {k: torch.stack(v) for k, v in found.items()}, rows


def exact_kappa(kept):
    """The published statistics with the exact concentration."""
    published, counts = kept.fitted(), kept.counts[0][:, None]
    means = torch.where(counts > 0, kept.sums[0] / counts.clamp_min(1), 0.9 * kept.directions[0])
    r = means.norm(dim=1).clamp_max(1)
    return ClassDistributions(published.mu, concentration(r, kept.dim, 1e5))


@pytest.mark.parametrize("case", RUNS)
def test_the_reference_is_the_published_code(case):
    found, rows = replay(case, published_logits, lambda kept: kept.fitted())
    for key, values in found.items():
        wanted = golden(case, f"ref_{key}").reshape(values.shape)
        torch.testing.assert_close(values, wanted, rtol=1e-10, atol=1e-10)
    slope = golden(case, "ref_grad_last")
    torch.testing.assert_close(rows.grad, slope, rtol=0, atol=1e-9 * float(slope.abs().max()))


@pytest.mark.parametrize("case", RUNS)
def test_exact_concentrations_logits_and_gradients_are_those_of_many_digits(case):
    found, rows = replay(case, contrast_logits, exact_kappa)
    for key, values in found.items():
        wanted = golden(case, f"exact_{key}").reshape(values.shape)
        # logits lose digits where kappa is 1e5
        torch.testing.assert_close(values, wanted, rtol=1e-10, atol=2e-8)
    slope = golden(case, "exact_grad_last")
    unit = rows.detach()
    # rows have norm 1: only the gradient along the sphere means something
    along = [g - (g * unit).sum(-1, keepdim=True) * unit for g in (rows.grad, slope)]
    torch.testing.assert_close(*along, rtol=0, atol=1e-8 * float(slope.abs().max()))


def test_the_published_recurrence_is_that_of_the_table_with_its_errors():
    kappa = golden("table", "kappa")
    for row, dim in enumerate(golden("table", "dim").tolist()):
        value, ratio = published_log_i(kappa, dim)
        wanted = golden("table", "ref_minus_logC")[row]
        torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-10)
        torch.testing.assert_close(ratio, golden("table", "ref_ratio")[row], rtol=1e-10, atol=0)
    assert ratio.shape == kappa.shape
    assert published_log_i(torch.tensor([1e4]).double(), 128)[1] > 1.5  # a ratio above 1


# the distributions


@pytest.mark.parametrize("dim", (3, 16, 128, 1024))
def test_concentration_inverts_the_mean_cosine(dim):
    kappa = torch.tensor([0.0, 0.1, 5.0, 300.0, 2e4]).double()
    found = concentration(mean_cosine(kappa, dim), dim, 1e5)
    torch.testing.assert_close(found, kappa, rtol=1e-8, atol=1e-10)
    assert concentration(torch.ones(1).double(), dim, 1e5) == pytest.approx(1e5, rel=1e-6)


def test_the_shrunk_length_is_without_bias():
    generator = torch.Generator().manual_seed(0)
    mu = normalize(normal(1, 16), dim=1)
    draws = sample(mu, torch.tensor([20.0]).double(), 4 * 5000, generator=generator)
    few = draws.view(5000, 4, 16).mean(1).norm(dim=1)
    rho = mean_cosine(torch.tensor(20.0).double(), 16)
    unbiased = (4 * few.square() - 1) / 3
    error = unbiased.std() / 5000**0.5
    assert abs(unbiased.mean() - rho.square()) < 4 * error < abs(few.square().mean() - rho**2)
    torch.testing.assert_close(shrunk_resultant(few, torch.tensor(4.0))[unbiased > 0] ** 2,
                               unbiased[unbiased > 0])  # fmt: skip


def test_statistics_ignore_the_order_and_the_division_of_rows():
    rows, labels = normalize(normal(B, 8), dim=1), torch.arange(B) % C
    whole, parts = statistics(), statistics()
    whole.add(rows, labels)
    order = torch.randperm(B, generator=torch.manual_seed(0))
    for part in order.split(7):
        parts.add(rows[part], labels[part])
    torch.testing.assert_close(tuple(whole.fitted()), tuple(parts.fitted()))
    slow = torch.stack([rows[labels == c].mean(0) for c in range(C)])
    torch.testing.assert_close(
        mean_cosine(whole.fitted().kappa, 8), slow.norm(dim=1), rtol=1e-9, atol=0
    )
    torch.testing.assert_close(whole.fitted().mu, normalize(slow, dim=1))


def test_the_window_is_the_last_epoch_and_this_one():
    kept, rows = statistics(), normalize(normal(4 * C, 8), dim=1).view(4, C, 8)
    labels, fresh = torch.arange(C), statistics()
    for epoch, part in enumerate(rows):
        kept.begin_epoch(epoch)
        kept.add(part, labels)
    for part in rows[2:]:
        fresh.add(part, labels)
    torch.testing.assert_close(tuple(kept.fitted()), tuple(fresh.fitted()))


def test_an_epoch_that_goes_on_after_a_stop_keeps_its_window():
    kept, rows = statistics(reference=True), normalize(normal(B, 8), dim=1)
    kept.begin_epoch(0)
    kept.add(rows, torch.arange(B) % C)
    kept.begin_epoch(1)
    kept.add(rows[:5], torch.arange(5))
    resumed = statistics(reference=True)
    resumed.load_state_dict(kept.state_dict())
    resumed.begin_epoch(1)
    for one, other in zip(resumed.buffers(), kept.buffers(), strict=True):
        assert torch.equal(one, other)


def test_a_class_of_one_row_is_uniform_and_one_of_equal_rows_has_the_largest_concentration():
    kept, row = statistics(kappa_max=500.0), normalize(normal(1, 8), dim=1)
    kept.add(row.expand(3, 8), torch.tensor([0, 1, 1]))
    assert kept.fitted().kappa.tolist() == pytest.approx([0, 500, 0, 0, 0], rel=1e-6)


# the logits


def classes_of(kappa, dim=16):
    kappa = torch.as_tensor(kappa).double()
    return ClassDistributions(normalize(normal(len(kappa), dim), dim=1), kappa)


def test_logits_tend_to_cosines_over_the_temperature_and_are_equal_without_concentration():
    x = normalize(normal(6, 16, seed=1), dim=1)
    sure, unsure = classes_of([1e9] * 4), classes_of([0.0] * 4)
    torch.testing.assert_close(
        contrast_logits(x, sure, 0.1), x @ sure.mu.T / 0.1, rtol=1e-5, atol=1e-5
    )
    found = contrast_logits(x, unsure, 0.1)
    torch.testing.assert_close(found, found[:1, :1].expand_as(found))


def test_logits_are_log_expectations_over_draws():
    classes, x = classes_of([5.0, 60.0, 400.0]), normalize(normal(4, 16, seed=1), dim=1)
    generator = torch.Generator().manual_seed(0)
    draws = sample(classes.mu, classes.kappa, 20000, generator=generator)  # [S, C, D]
    values = torch.einsum("scd,nd->snc", draws, x).div(0.5).exp()
    error = values.std(0) / len(draws) ** 0.5
    assert ((contrast_logits(x, classes, 0.5).exp() - values.mean(0)).abs() < 4 * error).all()


@pytest.mark.parametrize("dim", (4, 16, 128))
def test_gradients_are_finite_differences_and_the_closed_form(dim):
    classes = classes_of([0.0, 3.0, 80.0], dim)
    x = normalize(normal(2, dim, seed=1), dim=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: contrast_logits(rows, classes, 0.2), x)
    (slope,) = torch.autograd.grad(contrast_logits(x, classes, 0.2).sum(), x)
    q = classes.kappa[:, None] * classes.mu + x.detach()[:, None] / 0.2
    length = q.norm(dim=2)
    wanted = (mean_cosine(length, dim) / length)[..., None] * classes.kappa[:, None] * classes.mu
    torch.testing.assert_close(slope, wanted.sum(1) / 0.2)


@pytest.mark.parametrize("dtype, rtol", ((torch.float64, 1e-9), (torch.float32, 1e-4)))
@pytest.mark.parametrize("dim", (5, 16, 128))
def test_the_contrast_is_the_cross_entropy_of_the_logits(dim, dtype, rtol):
    classes = classes_of([0.0, 0.4, 30.0, 900.0, 1e5], dim)
    labels, prior = torch.arange(20) % 5, torch.linspace(-4, 0, 5)

    def of(loss):
        x = normal(20, dim, seed=1).to(dtype).requires_grad_()
        value = loss(normalize(x, dim=1))
        return [value, *torch.autograd.grad(value, x)]

    def plain(rows):
        rows = rows.double()
        return cross_entropy(contrast_logits(rows, classes, 0.1) + prior, labels)

    found = of(lambda rows: contrast_loss(rows, labels, classes, 0.1, prior))
    for one, other in zip(found, of(plain), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=rtol, atol=rtol / 100)


# the method


def test_the_loss_is_that_of_the_classifier_and_the_mean_contrast_of_the_other_views():
    made, (x, labels) = method(alpha=0.7), embeddings()
    loss = made.loss(x, labels)
    supervised = HeadAndLoss.loss(made, x[:, 0], labels)
    rows = normalize(made.projection(torch.cat([x[:, 1], x[:, 2]])), dim=1)
    logits = contrast_logits(rows, made.statistics.fitted(), 0.1)
    prior = torch.arange(2, 2 + C).double()
    logits = logits + (prior / prior.sum()).log()
    contrast = sum(cross_entropy(part, labels) for part in logits.chunk(2)) / 2
    torch.testing.assert_close(loss, supervised + 0.7 * contrast)
    assert method(alpha=0.0).loss(x, labels) == supervised


@pytest.mark.parametrize("variant", ("standard", "reference"))
def test_one_view_serves_both_branches(variant):
    x, labels = embeddings(1)
    one, other = method(variant=variant), method(variant=variant)
    torch.testing.assert_close(one.loss(x, labels), other.loss(x[:, 0], labels))
    assert one.loss(x, labels).isfinite()


def test_statistics_have_no_gradient_and_stay_in_evaluation_mode():
    made, (x, labels) = method(), embeddings()
    made.loss(x, labels)
    assert made.statistics.counts[0].sum() == 2 * B
    made.eval()
    before = {k: v.clone() for k, v in made.state_dict().items()}
    assert made.loss(x, labels).isfinite()
    assert all(torch.equal(before[k], v) for k, v in made.state_dict().items())
    assert not any(t.requires_grad for t in made.statistics.fitted())


def test_predictions_are_those_of_the_head_alone():
    made, (x, _) = method(), embeddings()
    torch.testing.assert_close(made.logits(x[:, 0]), made.classifier(x[:, 0]))
    assert math.isfinite(made.status()["class_kappa"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": 0}, "views"),
        ({"temperature": 0.0}, "temperature"),
        ({"alpha": -1.0}, "alpha"),
        ({"projection_dim": 3}, "projection_dim"),
        ({"statistics": "ema"}, "statistics"),
        ({"variant": "published"}, "variant"),
        ({"min_count": 0}, "min_count"),
    ],
)
def test_unusable_values_are_refused_by_their_name(options, words):
    with pytest.raises(ValueError, match=f"method.params.{words}"):
        method(**options)
