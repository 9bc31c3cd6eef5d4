"""Heads: the laws of t-vMF similarity, goldens, and what every head of conf/head promises."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, softplus

import vmf_embeddings
from tests.conftest import cases, load_golden, variants
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.cli import assembly
from vmf_embeddings.directional import HypersphericalUniform, VonMisesFisher, mean_cosine
from vmf_embeddings.geometry import cosines
from vmf_embeddings.heads.cosine import CosineHead
from vmf_embeddings.heads.cosnorm import CosNormHead
from vmf_embeddings.heads.linear import LinearHead
from vmf_embeddings.heads.lws import LWSHead
from vmf_embeddings.heads.ncm import NCMHead
from vmf_embeddings.heads.posthoc import max_norm_projected, norm_limit, tau_normalized
from vmf_embeddings.heads.tvmf import TVMFHead, tvmf_similarity
from vmf_embeddings.losses.ce import CrossEntropy
from vmf_embeddings.methods.classifier import Classifier

CONF = Path(vmf_embeddings.__file__).parent / "conf" / "head"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
C, D = 5, 4
FITTED = ("ncm", "vmf_bayes")  # in a second stage, without gradients


def made(name: str, n_classes: int = C, dim: int = D):
    from omegaconf import OmegaConf

    torch.manual_seed(0)
    node = OmegaConf.load(CONF / f"{name}.yaml")
    head = assembly.instantiate("head", node, n_classes=n_classes, dim=dim)
    if name in FITTED:
        head.fit(normal(20, dim).float(), torch.arange(20) % n_classes)
    return head


# t-vMF similarity

TABLE = {  # kappa -> phi at -0.5, 0, 0.5, 0.9, 0.99
    -0.3: (-0.0909, 0.4286, 0.7647, 0.9588, 0.9960),
    4.0: (-0.9286, -0.8, -0.5, 0.3571, 0.9135),
    16.0: (-0.98, -0.9412, -0.8333, -0.2692, 0.7155),
    64.0: (-0.9948, -0.9846, -0.9545, -0.7432, 0.2134),
}


@pytest.mark.parametrize("kappa", TABLE)
def test_similarity_has_its_known_values_and_keeps_the_ends(kappa):
    c = torch.tensor([-1, -0.5, 0, 0.5, 0.9, 0.99, 1], dtype=torch.float64)
    phi = tvmf_similarity(c, kappa).tolist()
    assert phi[0] == -1 and phi[-1] == 1
    assert [round(p, 4) for p in phi[1:-1]] == list(TABLE[kappa])


def test_kappa_zero_is_the_cosine():
    c = torch.linspace(-1, 1, 41, dtype=torch.float64)
    assert torch.equal(tvmf_similarity(c, 0.0), c)


@pytest.mark.parametrize("kappa", (-0.49, -0.3, 4.0, 64.0))
def test_similarity_grows_with_the_cosine_with_known_slopes_at_the_ends(kappa):
    c = torch.linspace(-1, 1, 41, dtype=torch.float64, requires_grad=True)
    phi = tvmf_similarity(c, kappa)
    (slope,) = torch.autograd.grad(phi.sum(), c)
    assert (slope > 0).all() and (phi.diff() > 0).all()
    assert slope[-1].item() == pytest.approx(1 + 2 * kappa)
    assert slope[0].item() == pytest.approx(1 / (1 + 2 * kappa))


@pytest.mark.parametrize("kappa", (-0.5, -1.0, math.nan))
def test_kappa_that_does_not_grow_is_refused(kappa):
    with pytest.raises(ValueError, match="head.params.kappa must be > -0.5"):
        TVMFHead(C, D, kappa=kappa, bias=False, scale=None)


def test_similarity_equals_the_golden(golden):
    data = golden("tvmf_heads")
    c = torch.tensor(data["similarity/cosine"])
    for kappa, phi in zip(data["similarity/kappa"], data["similarity/phi"], strict=True):
        ours = tvmf_similarity(c, float(kappa))
        np.testing.assert_allclose(ours.numpy(), phi, rtol=0, atol=1e-14)


VARIANTS = variants(load_golden("tvmf_heads"), "logits")  # "cosine", and one per kappa


def golden_head(data, case: str, variant: str, dtype: torch.dtype):
    weight = torch.tensor(data[f"{case}/weight"], dtype=dtype)
    options = {"bias": bool(data[f"{case}/has_bias"]), "scale": None}
    head = CosineHead(*weight.shape, **options)
    if variant != "cosine":
        kappa = float(data[f"{case}/{variant}/kappa"])
        head = TVMFHead(*weight.shape, kappa=kappa, **options)
    head = head.to(dtype)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.raw_scale.fill_(float(data[f"{case}/s_param"]))
        if head.bias is not None:
            head.bias.copy_(torch.tensor(data[f"{case}/bias"]))
    return head


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_loss_and_gradients_equal_the_golden(golden, variant):
    data = golden("tvmf_heads")
    for case in set(cases(data)) - {"similarity"}:
        head = golden_head(data, case, variant, torch.float64)
        x = torch.tensor(data[f"{case}/x"]).double().requires_grad_()
        loss = cross_entropy(head(x), torch.tensor(data[f"{case}/targets"]))
        loss.backward()
        results = {
            "logits": head.logits(x),
            "scale": head.scale,
            "loss": loss,
            "grad_x": x.grad,
            "grad_weight": head.weight.grad,
            "grad_s": head.raw_scale.grad,
        }
        if head.bias is not None:
            results["grad_bias"] = head.bias.grad
        for name, value in results.items():
            expected = data[f"{case}/{variant}/{name}"]
            np.testing.assert_allclose(
                value.detach().numpy(),
                expected,
                rtol=0,
                atol=1e-9 * np.abs(expected).max(),
                err_msg=f"{case} {name}",
            )


@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_logits_agree_with_the_golden(golden, variant):
    data = golden("tvmf_heads")
    for case in set(cases(data)) - {"similarity"}:
        head = golden_head(data, case, variant, torch.float32)
        logits = head.logits(torch.tensor(data[f"{case}/x"])).detach().numpy()
        expected = data[f"{case}/{variant}/logits"]
        # kappa multiplies the rounding of a cosine, 3e-7 at most, by up to 1 + 2 kappa
        kappa = 0.0 if variant == "cosine" else float(data[f"{case}/{variant}/kappa"])
        atol = max(2e-5, 3e-7 * (1 + 2 * kappa))
        np.testing.assert_allclose(logits, expected, rtol=0, atol=atol, err_msg=case)


# the scale


@pytest.mark.parametrize("name", ("cosine", "tvmf", "tvmf_km03", "tvmf_k64"))
def test_learned_scale_starts_at_1_6931_and_multiplies_the_logits(name):
    head, z = made(name), normal(3, D).float()
    assert head.scale.item() == pytest.approx(1.6931, abs=5e-5)
    torch.testing.assert_close(head(z), head.scale * head.logits(z))
    assert head.logits(z).abs().max() <= 1


@pytest.mark.parametrize("name", ("cosine", "tvmf", "tvmf_km03", "tvmf_k64"))
@pytest.mark.parametrize("scale", (1.69, 6.0))
def test_the_largest_confidence_is_that_of_rows_at_the_corners_of_a_simplex(name, scale):
    head = made(name)
    head.set_scale(scale)
    centred = torch.eye(C, dtype=torch.float64) - 1 / C  # a simplex in the D = C - 1 dimensions
    corners = centred @ torch.linalg.qr(centred).Q[:, :D]
    head.double().weight.data.copy_(corners)
    found = head(corners).softmax(1).diag()
    torch.testing.assert_close(found, torch.full_like(found, head.largest_confidence(scale)))
    if name == "cosine":
        likelihoods = [at_the_weights(scale, seed) for seed in range(20)]
        assert max(likelihoods) < math.log(head.largest_confidence(scale))


def at_the_weights(scale: float, seed: int) -> float:
    """Mean log probability of the right class at class weights of random directions."""
    directions = torch.nn.functional.normalize(normal(C, D, seed=seed), dim=1)
    return float((scale * directions @ directions.T).log_softmax(1).diag().mean())


def test_a_fixed_scale_is_no_parameter_and_stands_in_the_state():
    head = made("cosine")
    head.set_scale(30)
    assert [key for key, _ in head.named_parameters()] == ["weight"]
    assert head.scale == 30 and head.state_dict()["fixed_scale"] == 30
    with pytest.raises(ValueError, match="head.params.scale must be > 0"):
        head.set_scale(0)


def test_heads_without_bounded_logits_refuse_a_scale():
    for name in ("linear", "lws", *FITTED):
        with pytest.raises(ValueError, match=f"head=cosine.*got head={name}"):
            made(name).set_scale(30.0)


def test_bias_is_added_before_the_scale():
    head = CosineHead(C, D, bias=True, scale=10.0)
    z = normal(3, D).float()
    torch.testing.assert_close(head(z), 10 * (cosines(z, head.weight) + head.bias))


# normalised heads


def densities(name: str, **options):
    """A normalised head of classes whose lengths differ, and beta, its scale."""
    torch.manual_seed(0)
    head = LinearHead(C, D, bias=False, normalizer=True)
    if name == "cosine":
        head = CosineHead(C, D, bias=False, scale=3.0, normalizer=True)
    head = head.double()
    head.weight.data = normal(C, D) * torch.tensor([[0.01], [1.0], [5.0], [30.0], [300.0]])
    return head, head.scale.item()


@pytest.mark.parametrize("name", ("linear", "cosine"))
def test_normalised_logits_are_log_densities_over_the_uniform_one(name):
    head, beta = densities(name)
    mu = torch.nn.functional.normalize(head.weight, dim=1)
    classes = VonMisesFisher(mu, beta * head.weight.norm(dim=1))
    x = normal(7, D, seed=1)
    unit = torch.nn.functional.normalize(x, dim=1)
    uniform = HypersphericalUniform(D, like=x)
    wanted = classes.log_prob(unit[:, None]) - uniform.log_prob(unit[:1])
    torch.testing.assert_close(head(x), wanted, rtol=1e-9, atol=1e-9)
    assert head.geometry.name == "cosine" and not head.uses_norm


@pytest.mark.parametrize("name", ("linear", "cosine"))
def test_a_normalised_length_grows_while_cosines_are_above_the_mean_one(name):
    """The slope of a logit in |w| is beta (cos - A(beta |w|)): the maximum likelihood."""
    head, beta = densities(name)
    x = normal(1, D, seed=1)
    for c in range(C):
        (slope,) = torch.autograd.grad(head(x)[0, c], head.weight)
        w = head.weight[c].detach()
        along = slope[c] @ w / w.norm()
        wanted = beta * (cosines(x, w[None])[0, 0] - mean_cosine(beta * w.norm(), D))
        torch.testing.assert_close(along, wanted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ("linear", "cosine"))
def test_the_normaliser_changes_nothing_for_equal_lengths(name):
    head, _ = densities(name)
    head.weight.data = torch.nn.functional.normalize(head.weight, dim=1)
    x = torch.nn.functional.normalize(normal(7, D, seed=1), dim=1)
    found = head(x).log_softmax(1)
    head.normalizer = False
    torch.testing.assert_close(found, head(x).log_softmax(1))


def test_a_loss_that_needs_bounded_logits_refuses_densities():
    with pytest.raises(ValueError, match="leave head.params.normalizer=false"):
        densities("cosine")[0].set_scale(30.0)


def test_densities_are_not_divided_among_processes():
    method = Classifier(TinyArch(C, D), partial(LinearHead, bias=True, normalizer=True),
                        CrossEntropy(), 0.0)  # fmt: skip
    with pytest.raises(ValueError, match="head.params.normalizer=true is for one process"):
        method.sharded_parameters()


# every head


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_gives_logits_of_all_classes_and_carries_its_geometry(name):
    head = made(name)
    assert head.logits(normal(7, D).float()).shape == (7, C)
    assert head.scale.shape == () and head.scale > 0
    assert head.weight is None or head.weight.shape == (C, D)
    assert head.geometry.name == ("euclidean" if name in ("linear", "lws") else "cosine")


@pytest.mark.parametrize("name", NAMES)
def test_whether_a_head_reads_lengths_is_what_it_says(name):
    head, z = made(name), normal(7, D).float()
    assert torch.allclose(head(3 * z), head(z), atol=1e-5) is not head.uses_norm or name == "ncm"


@pytest.mark.parametrize("name", NAMES)
def test_state_restores_a_head(name):
    head, other = made(name), made(name)
    other.reset()
    other.load_state_dict(head.state_dict())
    z = normal(7, D).float()
    assert torch.equal(head(z), other(z))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {*FITTED}))
def test_reset_starts_anew_within_the_bounds_of_a_linear_layer(name):
    head = made(name, dim=100)
    before = head.weight.clone()
    head.reset()
    assert not torch.equal(head.weight, before)
    assert 0.09 < head.weight.abs().max() <= 0.1
    if getattr(head, "raw_scale", None) is not None:
        assert head.scale.item() == pytest.approx(1 + softplus(torch.zeros(())).item())


def test_presets_are_the_four_kappas():
    kappas = {name: made(name).kappa.item() for name in NAMES if name.startswith("tvmf_")}
    assert kappas == pytest.approx(
        {"tvmf_km03": -0.3, "tvmf_k4": 4, "tvmf_k16": 16, "tvmf_k64": 64}
    )


# other heads


def test_cosnorm_equals_the_golden(golden):
    data, extras = golden("longtail_extras"), "cosnorm"
    w = torch.tensor(data["tau_norm/weights"]).double()
    x = torch.tensor(data["tau_norm/features"]).double().requires_grad_()
    head = CosNormHead(*w.shape, scale=float(data["cosnorm/scale"])).double()
    head.weight.data.copy_(w)
    loss = cross_entropy(head(x), torch.tensor(data["cosnorm/targets"]))
    loss.backward()
    for name, value in (
        ("logits", head(x)),
        ("loss", loss),
        ("grad_features", x.grad),
        ("grad_weights", head.weight.grad),
    ):
        expected = data[f"{extras}/{name}"]
        atol = 1e-9 * np.abs(expected).max()
        np.testing.assert_allclose(value.detach().numpy(), expected, rtol=0, atol=atol)


def test_lws_equals_the_golden_and_learns_its_scales_alone(golden):
    data = golden("longtail_extras")
    w, x = (torch.tensor(data[f"tau_norm/{n}"]).double() for n in ("weights", "features"))
    first = LinearHead(*w.shape, bias=True).double()
    first.weight.data.copy_(w)
    first.bias.data.copy_(torch.tensor(data["lws/bias"]))
    head = LWSHead(*w.shape, bias=True).double().copy_weights_from(first)
    torch.testing.assert_close(head(x), first(x))  # scales start at 1
    head.scales.data.copy_(torch.tensor(data["lws/scales"]))
    np.testing.assert_allclose(head(x).detach().numpy(), data["lws/logits"], rtol=1e-9, atol=1e-12)
    assert [key for key, p in head.named_parameters() if p.requires_grad] == ["scales"]


@pytest.mark.parametrize("features", ("un", "l2n", "cl2n"))
@pytest.mark.parametrize("distance", ("l2", "dot"))
def test_nearest_class_mean_equals_the_golden(golden, features, distance):
    data = golden("longtail_extras")
    x = torch.tensor(data["tau_norm/features"]).double()
    train = torch.tensor(data["ncm/train_features"]).double()
    centroids = data[f"ncm/centroids_{features}"]
    head = NCMHead(*centroids.shape, features, distance).double()
    head.fit(train, torch.tensor(data["ncm/train_labels"]))
    np.testing.assert_allclose(head.centroids.numpy(), centroids, rtol=0, atol=1e-12)
    key = f"ncm/logits_{features}_{'cos' if distance == 'dot' else 'l2'}"
    np.testing.assert_allclose(head(x).numpy(), data[key], rtol=0, atol=1e-9)


def test_nearest_class_mean_needs_its_means():
    head = NCMHead(C, D, "cl2n", "l2")
    with pytest.raises(ValueError, match="no class means yet"):
        head(normal(2, D).float())
    with pytest.raises(ValueError, match=r"classes \[4\] have none"):
        head.fit(normal(8, D).float(), torch.arange(8) % 4)


def test_weights_of_another_size_are_not_taken():
    with pytest.raises(ValueError, match=r"needs class weights \[5, 4\].*\[5, 3\]"):
        made("lws").copy_weights_from(made("linear", dim=3))


# weight maps


def test_tau_normalisation_equals_the_golden(golden):
    data = golden("longtail_extras")
    w, x = (torch.tensor(data[f"tau_norm/{n}"]).double() for n in ("weights", "features"))
    for i, tau in enumerate(data["tau_norm/p"]):
        ours = tau_normalized(w, float(tau))
        np.testing.assert_allclose(ours.numpy(), data["tau_norm/normalised_weights"][i], atol=1e-12)
        assert ((x @ ours.T).argmax(1).numpy() == data["tau_norm/predictions"][i]).all()


def test_tau_normalisation_ends():
    w = normal(6, 3)
    assert torch.equal(tau_normalized(w, 0.0), w)
    torch.testing.assert_close(tau_normalized(w, 1.0).norm(dim=1), torch.ones(6).double())


def test_max_norm_projected_weights_keep_their_direction_and_stay_within_the_limit():
    w = normal(6, 3)
    limit = norm_limit(w, 0.3)
    ours = max_norm_projected(w, limit)
    torch.testing.assert_close(ours.norm(dim=1), w.norm(dim=1).clamp_max(limit))
    torch.testing.assert_close(cosines(ours, w).diagonal(), torch.ones(6).double())
    torch.testing.assert_close(max_norm_projected(w, norm_limit(w, 1.0)), w)
    torch.testing.assert_close(
        max_norm_projected(w, norm_limit(w, 0.0)).norm(dim=1), w.norm(dim=1).min().expand(6)
    )
