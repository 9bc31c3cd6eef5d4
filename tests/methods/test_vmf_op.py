"""vMF-OP: its head, the overlap of classes, both terms by slow formulas and at their limits."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import ive
from scipy.stats import vonmises_fisher
from torch.nn.functional import normalize, one_hot

from tests.methods.laws import TinyArch, normal
from vmf_embeddings.directional import HypersphericalUniform, VonMisesFisher, mean_cosine
from vmf_embeddings.heads.overlap import (
    class_overlap,
    mean_overlap_with_others,
    overlap_calibrated,
)
from vmf_embeddings.heads.vmf import VMFHead
from vmf_embeddings.losses.ldam import LDAM
from vmf_embeddings.losses.logit_adjustment import LogitAdjustment
from vmf_embeddings.methods.classifier import Classifier
from vmf_embeddings.methods.vmf_op import (
    VMFOP,
    class_feature_consistency,
    inter_class_discrepancy,
)

B, C, D = 12, 5, 4
LABELS = torch.arange(B) % C
KAPPAS = torch.tensor([0.3, 2.0, 9.0, 40.0, 40.0], dtype=torch.float64)


def classes(kappas=KAPPAS, dim=D):
    return kappas[:, None] * normalize(normal(len(kappas), dim), dim=1)


def method(loss=None, **options):
    torch.manual_seed(0)
    known = {"kappa_init": 16.0, "kappa_lr_factor": 1.0, "icd_weight": 0.2, "cfc_weight": 0.0}
    made = VMFOP(TinyArch(C, D), loss or LogitAdjustment(1.0), **(known | {"decay": 0.9} | options))
    made.configure(margin_warmup_epochs=0, n_epochs=4)
    made.set_class_counts(torch.arange(2, 2 + C))
    return made.double()


def slow_kl(p, q):
    """Of densities by scipy: minus the entropy of p, minus the mean of log q under p."""
    (k, mu), (k2, mu2) = ((np.linalg.norm(v), v / np.linalg.norm(v)) for v in (p, q))
    ratio = ive(len(p) / 2, k) / ive(len(p) / 2 - 1, k)
    log_q_at_mode = vonmises_fisher(mu2, k2).logpdf(mu2)
    return -vonmises_fisher(mu, k).entropy() - (log_q_at_mode + k2 * (ratio * mu @ mu2 - 1))


@pytest.mark.parametrize("dim", (2, 3, 4, 7))  # odd ones are wrong in the published code
def test_overlap_is_one_over_one_plus_the_divergence_of_the_first_from_the_second(dim):
    w = classes(dim=dim)
    expected = [[1 / (1 + slow_kl(p, q)) for q in w.numpy()] for p in w.numpy()]
    np.testing.assert_allclose(class_overlap(w).numpy(), expected, rtol=1e-8)


def test_overlap_is_one_for_equal_classes_and_symmetric_for_equal_concentrations_alone():
    overlap = class_overlap(classes())
    assert (overlap > 0).all() and (overlap <= 1).all()
    torch.testing.assert_close(overlap.diag(), torch.ones(C).double(), rtol=1e-13, atol=0)
    torch.testing.assert_close(overlap[3, 4], overlap[4, 3])
    assert (overlap - overlap.T).abs()[0, 3] > 0.01
    assert class_overlap(classes().float()).max() <= 1


def test_discrepancy_is_the_mean_over_pairs_of_different_classes_between_its_limits():
    w = classes()
    pairs = [class_overlap(w)[i, j] for i in range(C) for j in range(C) if i != j]
    torch.testing.assert_close(inter_class_discrepancy(w), torch.stack(pairs).mean())
    torch.testing.assert_close(
        inter_class_discrepancy(w[2:3].repeat(3, 1)), torch.ones(()).double()
    )
    assert inter_class_discrepancy(1e6 * torch.eye(3).double()) < 1e-5


def test_consistency_is_the_formula_class_by_class_and_leaves_out_classes_without_rows():
    w, z, labels = classes(), normal(B, D, seed=1), LABELS.clamp_max(2)
    terms = []
    for c in range(3):
        mean = normalize(normalize(z[labels == c], dim=1).sum(0), dim=0)
        kappa = w[c].norm()
        terms.append(1 - 1 / (1 + mean_cosine(kappa, D) * kappa * (1 - w[c] @ mean / kappa)))
    found = class_feature_consistency(w, z, labels)
    torch.testing.assert_close(found, torch.stack(terms).mean())
    soft = one_hot(labels, C).double()
    torch.testing.assert_close(class_feature_consistency(w, z, soft), found)
    torch.testing.assert_close(class_feature_consistency(w, 3 * z, labels), found)


def test_consistency_is_0_at_the_class_directions_and_near_1_opposite_to_them():
    w = classes()
    assert class_feature_consistency(w, w, torch.arange(C)).abs() < 1e-12
    assert class_feature_consistency(1e6 * w, -w, torch.arange(C)) > 1 - 1e-5


def test_both_terms_have_their_gradients():
    w, z = classes().requires_grad_(), normal(B, D, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(inter_class_discrepancy, w)
    assert torch.autograd.gradcheck(lambda w, z: class_feature_consistency(w, z, LABELS), (w, z))


def test_descending_the_discrepancy_moves_classes_apart():
    w = classes(torch.full((C,), 8.0).double()).requires_grad_()
    (gradient,) = torch.autograd.grad(inter_class_discrepancy(w), w)
    assert inter_class_discrepancy(w - 5 * gradient) < inter_class_discrepancy(w)


def test_the_loss_is_that_of_the_head_plus_both_terms_weighted_by_the_epoch():
    z = normal(B, D, seed=1)
    made = method(icd_weight=0.3, cfc_weight=0.7)
    head = partial(VMFHead, kappa_init=16.0)
    plain = Classifier(TinyArch(C, D), head, LogitAdjustment(1.0), 0.0).double()
    plain.load_state_dict(made.state_dict())
    alone = plain.loss(z, LABELS)
    assert torch.equal(method(icd_weight=0.0).loss(z, LABELS), alone)
    w = made.classifier.distributions()
    icd, cfc = inter_class_discrepancy(w), class_feature_consistency(w, z, LABELS)
    for epoch, factor in ((0, 1.0), (3, 0.25**0.9)):
        made.begin_epoch(epoch)
        expected = alone + factor * (0.3 * icd + 0.7 * cfc)
        torch.testing.assert_close(made.loss(z, LABELS), expected)
    torch.testing.assert_close(made.logits(z), plain.logits(z))


def test_parts_of_a_batch_give_the_loss_of_the_whole_where_that_is_a_mean_over_rows():
    z = normal(B, D, seed=1)
    parts = [method().loss(x, y) for x, y in zip(z.chunk(2), LABELS.chunk(2), strict=True)]
    torch.testing.assert_close(torch.stack(parts).mean(), method().loss(z, LABELS))
    assert method().loss_is_row_mean and not method().needs_global_batch
    with_rows = method(cfc_weight=0.1)
    assert with_rows.needs_global_batch and not with_rows.loss_is_row_mean


def test_logits_are_log_densities_over_the_uniform_one():
    head, x = VMFHead(C, D, 16.0).double(), normal(B, D, seed=1)
    head.raw_kappa.data = KAPPAS.clamp_min(1)
    mu, unit = normalize(head.weight, dim=1), normalize(x, dim=1)
    density = VonMisesFisher(mu, head.kappa).log_prob(unit[:, None])
    uniform = HypersphericalUniform(D, like=x).log_prob(unit)
    torch.testing.assert_close(head(x), density - uniform[:, None])
    torch.testing.assert_close(head(7 * x), head(x))
    (slope,) = torch.autograd.grad(head(x)[0].sum(), head.raw_kappa)
    torch.testing.assert_close(slope, mu @ unit[0] - mean_cosine(head.kappa, D))


def test_a_concentration_below_1_counts_as_1_and_can_come_back():
    head, x = VMFHead(2, D, 1.0).double(), normal(1, D)
    at_1 = head(x)
    head.raw_kappa.data.fill_(-3.0)
    torch.testing.assert_close(head(x), at_1)
    (slope,) = torch.autograd.grad(head(x).sum(), head.raw_kappa)
    assert (slope != 0).all()


def test_calibrated_concentrations_keep_their_range_and_take_the_order_of_overlaps():
    kappa, overlap = KAPPAS[:4], mean_overlap_with_others(classes())[:4]
    assert torch.equal(overlap_calibrated(kappa, overlap, 1.0), kappa)
    found = overlap_calibrated(kappa, overlap, 0.0)
    assert torch.equal(found.argsort(), overlap.argsort())
    torch.testing.assert_close(torch.stack(found.aminmax()), torch.stack(kappa.aminmax()))
    half = overlap_calibrated(kappa, overlap, 0.5)
    torch.testing.assert_close(half, (kappa * found).sqrt())
    assert torch.equal(overlap_calibrated(kappa, overlap.new_full((4,), 0.3), 0.0), kappa)
    equal = kappa.new_full((4,), 9.0)
    torch.testing.assert_close(overlap_calibrated(equal, overlap, 0.3), equal)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got 1.5"):
        overlap_calibrated(kappa, overlap, 1.5)


def test_concentrations_have_a_rate_of_their_own_and_no_decay():
    made = method(kappa_lr_factor=30.0)
    groups = {id(p): g for g in made.param_groups(0.1, "reference") for p in g["params"]}
    group = groups[id(made.classifier.raw_kappa)]
    assert (group["lr_factor"], group["weight_decay"]) == (30.0, 0.0)
    assert "weight_decay" not in groups[id(made.classifier.weight)]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"kappa_init": 0.5}, "kappa_init must be >= 1"), ({"icd_weight": -1.0}, "icd_weight"),
     ({"cfc_weight": -1.0}, "cfc_weight"), ({"decay": float("nan")}, "decay"),
     ({"kappa_lr_factor": -1.0}, "kappa_lr_factor")],
)  # fmt: skip
def test_unusable_values_are_refused_by_their_name(options, words):
    with pytest.raises(ValueError, match=f"method.params.{words}"):
        method(**options)


def test_what_does_not_fit_is_refused_in_words():
    options = {"kappa_init": 16.0, "kappa_lr_factor": 1.0, "icd_weight": 0.2, "cfc_weight": 0.0}
    with pytest.raises(ValueError, match="compares classes: expected at least two, got 1"):
        VMFOP(TinyArch(1, D), LogitAdjustment(1.0), **options, decay=0.9)
    with pytest.raises(ValueError, match="needs bounded logits, got log densities"):
        method(LDAM(max_margin=0.5, scale=30.0, drw_epoch=None, beta=0.9999))
    with pytest.raises(ValueError, match=r"method=vmf_op needs configure\(n_epochs=…\)"):
        VMFOP(TinyArch(C, D), LogitAdjustment(1.0), **options, decay=0.9).begin_epoch(0)
    with pytest.raises(ValueError, match="shard_classes=true: method=vmf_op needs all classes"):
        method().sharded_parameters()
