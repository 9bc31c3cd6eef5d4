"""NIR: equal to published code, its gradients, the matched control, its rates and its log."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.conftest import cases
from tests.flows.golden import flow_of, ours
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.criteria.base import Criterion
from vmf_embeddings.criteria.proxy_anchor import ProxyAnchor
from vmf_embeddings.criteria.proxy_anchor_nca import ProxyAnchorNCA
from vmf_embeddings.criteria.proxy_nca import ProxyNCA
from vmf_embeddings.criteria.soft_triple import SoftTriple
from vmf_embeddings.flows import ConditionalFlow, negative_log_likelihood
from vmf_embeddings.geometry import cosines
from vmf_embeddings.methods.nir import NIR, own_proxies
from vmf_embeddings.methods.parameter_groups import take_rate

B, C, D = 24, 5, 8
FLOW = {"blocks": 2, "depth": 3, "width": 6}
OPTIONS = {
    "flow": FLOW, "flow_objective": "exp", "w_flow": 1.0, "w_align": 0.01, "noise": 0.0,
    "logmatch": 1.0, "pair_perc": 1.0, "proxy_lr_factor": 4000, "flow_lr_factor": 50,
}  # fmt: skip


def anchor() -> ProxyAnchor:
    return ProxyAnchor(32, 32, 0.1, -0.1, average="samples", lr_factor=2000)


def anchor_nca() -> ProxyAnchorNCA:
    return ProxyAnchorNCA(32, 32, 0.1, -0.1, lr_factor=2000)


def nca() -> ProxyNCA:
    return ProxyNCA(3.0, "others", lr_factor=50)


def centres() -> SoftTriple:
    return SoftTriple(3, margin=0.01, gamma=0.1, scale=8.0, reg_weight=0.2, lr_factor=1)


def nir(n_classes: int = C, dim: int = D, criterion=None, miner=None, **options) -> NIR:
    torch.manual_seed(0)
    arch = TinyArch(n_classes, dim)
    arch.normalize = True
    return NIR(arch, criterion or anchor(), miner, **OPTIONS | options).double()


def rows(seed: int = 0) -> Tensor:
    return normalize(normal(B, D, seed=seed)).requires_grad_()


LABELS = torch.arange(B) % C


# equal to published code


def of_golden(data, case: str, **options) -> tuple[NIR, Tensor, Tensor]:
    """The method with a golden's flow and proxies; rows with gradient, and their labels."""
    flow, proxies = flow_of(data, case), torch.tensor(data[f"{case}/proxies"]).double()
    method = nir(*proxies.shape, w_align=data[f"{case}/w_align"].item(), **options)
    method.flow, method.criterion.proxies.data = flow, proxies
    x = torch.tensor(data[f"{case}/x"]).double().requires_grad_()
    return method, x, torch.tensor(data[f"{case}/labels"])


def assert_golden(data, case: str) -> NIR:
    method, x, labels = of_golden(data, case)
    loss = method.loss(x, labels)
    assert loss.item() == pytest.approx(data[f"{case}/total_loss"].item(), rel=1e-9)
    loss.backward()
    for name, value in (("grad_x", x.grad), ("grad_proxies", method.criterion.proxies.grad)):
        wanted = torch.tensor(data[f"{case}/{name}"])
        torch.testing.assert_close(value, wanted, rtol=1e-8, atol=1e-9, msg=name)
    said = method.status()
    assert said["proxy_loss"] == pytest.approx(data[f"{case}/proxy_anchor_loss"].item(), rel=1e-9)
    assert said["flow_nll"] == pytest.approx(data[f"{case}/nll_mean_no_exp"].item(), rel=1e-9)
    return method


def test_loss_and_gradients_equal_the_goldens(golden):
    data = golden("dml_nir")
    for case in cases(data):
        parameters = dict(assert_golden(data, case).flow.named_parameters())
        for key in (k for k in data if k.startswith(f"{case}/grad/")):
            gradient = parameters[ours(key.removeprefix(f"{case}/grad/"))].grad
            torch.testing.assert_close(gradient, torch.tensor(data[key]), rtol=1e-8, atol=1e-9)


def test_the_other_reading_of_its_proxies_equals_the_golden(golden):
    data = golden("dml_nir")
    for case in cases(data):
        method, x, labels = of_golden(data, case, criterion=anchor_nca())
        value = method.criterion(x, labels).item()
        assert value == pytest.approx(data[f"{case}/proxy_nca_loss"].item(), rel=1e-9)
        nll = method.flow_nll(x, labels)
        total = nll.exp().mean() + data[f"{case}/w_align"].item() * value
        torch.testing.assert_close(method.loss(x, labels), total)


def test_the_published_size_equals_its_golden(golden):
    try:
        data = golden("dml_nir_default_size")
    except FileNotFoundError:
        pytest.skip("a golden of 3 MB that no clone carries")
    assert_golden(data, "default")


def fixture() -> tuple[NIR, Tensor, Tensor]:
    """Numbers made of sines, for which the loss of the published code is known."""
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 5])
    i, j = torch.arange(12.0).double()[:, None], torch.arange(8.0).double()
    x = (0.9 * (i + 1) * (j + 1)).sin() + 0.5 * (1.7 * labels[:, None].double() + j).cos()
    method = nir(6, 8, flow={"blocks": 2, "depth": 3, "width": 4})
    with torch.no_grad():
        for name, p in method.flow.named_parameters():
            k = torch.arange(1.0, p.numel() + 1).double().reshape(p.shape)
            p.copy_(0.3 * k.sin() if name.endswith("weight") else 0.1 * k.cos())
        method.criterion.proxies.copy_(
            (0.6 * (torch.arange(6.0).double()[:, None] + 1) * (j + 1)).cos()
        )
    return method, normalize(x).requires_grad_(), labels


def test_the_fixture_of_sines_has_its_published_values():
    method, x, labels = fixture()
    z, log_det = method.flow(x, own_proxies(method.criterion.proxies, x, labels))
    first = [-0.48610175, 0.54524273, 0.23551072, -0.14339847]
    torch.testing.assert_close(z[0, :4], torch.tensor(first).double(), rtol=0, atol=1e-8)
    assert log_det[0].item() == pytest.approx(-0.71269886, abs=1e-8)
    nll = negative_log_likelihood(z, log_det)
    assert nll.mean().item() == pytest.approx(1.1078886812, abs=1e-9)
    assert nll.exp().mean().item() == pytest.approx(3.0442100273, abs=1e-9)
    assert method.criterion(x, labels).item() == pytest.approx(24.1418592340, abs=1e-9)
    assert method.loss(x, labels).item() == pytest.approx(3.2856286196, abs=1e-9)
    (gradient,) = torch.autograd.grad(nll.exp().mean(), method.criterion.proxies)
    assert gradient.norm().item() == pytest.approx(0.0800257798, abs=1e-9)


# the two terms


def test_the_weights_are_those_of_their_terms():
    terms = []
    for w_flow, w_align in ((1.0, 0.0), (0.0, 1.0)):
        method = nir(w_flow=w_flow, w_align=w_align)
        terms.append(method.loss(rows(), LABELS).item())
    both = nir(w_flow=0.5, w_align=0.25).loss(rows(), LABELS).item()
    assert both == pytest.approx(0.5 * terms[0] + 0.25 * terms[1], rel=1e-12)


def test_the_flow_moves_the_proxies_through_its_condition():
    for mode, moves in (("dense", True), ("mid", True), ("dense_embed", True), ("none", False)):
        method = nir(w_align=0.0, flow=FLOW | {"cond_mode": mode})
        method.loss(rows(), LABELS).backward()
        assert bool(method.criterion.proxies.grad.abs().max() > 0) == moves


def test_the_control_is_the_weighted_criterion_from_the_same_start():
    method, control = nir(), nir(w_flow=0.0)
    assert control.flow is None
    theirs = dict(method.named_parameters())
    assert all(torch.equal(p, theirs[name]) for name, p in control.named_parameters())
    x = rows()
    proxy_term = control.criterion(x, LABELS)
    assert control.loss(x, LABELS).item() == pytest.approx(0.01 * proxy_term.item(), rel=1e-12)
    assert control.status() == {"proxy_loss": pytest.approx(proxy_term.item(), rel=1e-12)}


def test_objectives_are_of_one_likelihood():
    x = rows()
    nll = nir().flow_nll(x, LABELS)
    wanted = {"exp": nll.exp().mean(), "nll": nll.mean(), "nll_per_dim": nll.mean() / D}
    for objective, value in wanted.items():
        method = nir(flow_objective=objective, w_align=0.0)
        torch.testing.assert_close(method.loss(x, LABELS), value)


def test_an_unlikely_batch_overflows_neither_loss_nor_gradient():
    method = nir().float()
    with torch.no_grad():
        for p in method.flow.parameters():
            p.mul_(8)
    x = rows().detach().float().requires_grad_()
    assert method.flow_nll(x, LABELS).max() > 710  # where even float64 overflows
    loss = method.loss(x, LABELS)
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all() and x.grad.abs().max() > 0


@pytest.mark.parametrize("criterion", (anchor, anchor_nca, nca, centres), ids=lambda f: f.__name__)
def test_any_criterion_with_proxies_takes_a_flow_and_length_means_nothing(criterion):
    method = nir(criterion=criterion())
    x = rows()
    loss = method.loss(x, LABELS)
    loss.backward()
    own = method.criterion(x, LABELS).item()
    nll = method.flow_nll(x, LABELS)
    assert loss.item() == pytest.approx(nll.exp().mean().item() + 0.01 * own, rel=1e-12)
    assert (method.criterion.proxies.grad != 0).any()
    method.arch.normalize = False
    torch.testing.assert_close(method.loss(7 * x, LABELS), loss)
    torch.testing.assert_close(method.logits(7 * x), method.logits(x))


def test_noise_and_draws_of_rows_are_for_training_alone():
    x, plain = rows(), nir().flow_nll(rows(), LABELS)
    noisy, part = nir(noise=0.3), nir(pair_perc=0.25)
    assert (noisy.flow_nll(x, LABELS) - plain).abs().min() > 0
    seen = part.flow_nll(x, LABELS)
    assert len(seen) == 6 and all((plain - one).abs().min() < 1e-12 for one in seen)
    assert seen.unique().numel() == 6
    for method in (noisy.eval(), part.eval()):
        torch.testing.assert_close(method.flow_nll(x, LABELS), plain)


def test_noise_pushes_towards_the_positive_corner_and_keeps_the_length():
    method, x = nir(noise=50.0), rows()
    seen = []
    method.flow.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    method.flow_nll(x, LABELS)
    assert (seen[0] > 0).double().mean() > 0.95
    torch.testing.assert_close(seen[0].norm(dim=1), torch.ones(B).double())


def test_logmatch_weighs_the_log_determinant():
    x = rows()
    method = nir()
    condition = own_proxies(method.criterion.proxies, x, LABELS)
    _, log_det = method.flow(x, condition)
    difference = method.flow_nll(x, LABELS) - nir(logmatch=3.0).flow_nll(x, LABELS)
    torch.testing.assert_close(difference, 2 * log_det)


def test_of_several_proxies_the_nearest_of_the_own_class_is_meant():
    proxies, x = normal(C, 3, D, seed=1).requires_grad_(), rows()
    found = own_proxies(proxies, x, LABELS)
    for b in range(B):
        own = normalize(proxies[LABELS[b]], dim=-1)
        torch.testing.assert_close(found[b], own[(own @ x[b]).argmax()])
    found.sum().backward()
    assert proxies.grad.abs().sum() > 0


# rates and log


def test_rates_are_factors_without_decay_and_groups_a_partition():
    method = nir(flow=FLOW | {"cond_mode": "dense_embed_multi"})
    groups = method.param_groups(0.1)
    factors = {id(p): g.get("lr_factor", 1) for g in groups for p in g["params"]}
    assert len(factors) == sum(len(g["params"]) for g in groups) == len(list(method.parameters()))
    for name, p in method.named_parameters():
        top = name.split(".")[0]
        assert factors[id(p)] == {"criterion": 4000, "flow": 50}.get(top, 1), name
    assert all(g["weight_decay"] == 0 for g in groups if "lr_factor" in g)
    assert sum("lr_factor" in g for g in groups) == 3
    assert sum("lr_factor" in g for g in nir().param_groups(0.1)) == 2  # nothing before the flow
    kept = nir(proxy_lr_factor=None, flow_lr_factor=1).param_groups(0.1)
    assert [g["lr_factor"] for g in kept if "lr_factor" in g] == [2000, 1]


def test_rates_are_the_published_ones_at_any_rate_of_the_run():
    """4000 and 50 were published for Adam at 1e-5."""
    for learning_rate in (1e-6, 1e-5, 1e-3, 0.1):
        groups = nir(proxy_lr_factor="auto", flow_lr_factor="auto").param_groups(0.1)
        rates = [take_rate(g, learning_rate) for g in groups if "lr_factor" in g]
        assert rates == pytest.approx([f * min(learning_rate, 1e-5) for f in (4000, 50)])


@pytest.mark.parametrize(("adaptive", "rate"), [(True, 1e-3), (False, 0.02)])
def test_a_rate_at_which_the_flow_diverges_is_refused_with_what_to_type(adaptive, rate):
    with pytest.raises(ValueError, match=r"flow_lr_factor=50 .* type method.params.flow_lr_fac"):
        nir().refuse_rates(rate, adaptive=adaptive)
    nir().refuse_rates(rate / 10, adaptive=adaptive)
    nir(flow_lr_factor="auto").refuse_rates(1.0, adaptive=adaptive)
    nir(w_flow=0.0).refuse_rates(rate, adaptive=adaptive)  # there is no flow


def test_status_has_the_share_of_the_flow_in_the_gradient_on_the_embeddings():
    method = nir()
    shares, values = [], []
    for seed in (0, 1):
        x = rows(seed)
        method.loss(2 * x, LABELS).backward()
        nll = method.flow_nll(2 * x, LABELS)
        term = method.criterion(2 * x, LABELS)
        gradients = torch.autograd.grad(nll.exp().mean(), x), torch.autograd.grad(0.01 * term, x)
        flow, proxy = (g[0].norm().item() for g in gradients)
        shares.append(flow / (flow + proxy))
        values.append((nll.mean().item(), term.item()))
    said = method.status()
    assert said["flow_gradient_share"] == pytest.approx(sum(shares) / 2, rel=1e-5)
    assert said["flow_nll"] == pytest.approx((values[0][0] + values[1][0]) / 2, rel=1e-12)
    assert said["proxy_loss"] == pytest.approx((values[0][1] + values[1][1]) / 2, rel=1e-12)
    method.begin_epoch(1)
    assert method.status() == {}


def test_watching_the_gradient_does_not_change_it():
    method, x = nir(), rows()
    method.loss(x, LABELS).backward()
    y = rows()
    nll, term = method.flow_nll(y, LABELS), method.criterion(y, LABELS)
    (nll.exp().mean() + 0.01 * term).backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-12, atol=0)
    with torch.no_grad():
        method.loss(x, LABELS)  # nothing to watch


# mistakes


class NoProxies(Criterion):
    """Without parameters."""

    def forward(self, embeddings, labels, triplets=None, **context):
        return embeddings.square().mean()


@dataclass
class Miner:
    """A miner in name."""

    name: str = "distance"


@pytest.mark.parametrize(
    "options, said",
    (
        ({"criterion": NoProxies()}, "criterion=proxy_anchor"),
        ({"miner": Miner()}, "miner=none"),
        ({"flow_objective": "mean"}, "'mean'"),
        ({"flow": FLOW | {"cond_mode": "middle"}}, "'middle'"),
        ({"pair_perc": 0.0}, "pair_perc"),
        ({"noise": -1.0}, "noise"),
        ({"w_align": math.nan}, "w_align"),
        ({"proxy_lr_factor": -1}, "proxy_lr_factor"),
        ({"flow_lr_factor": "fast"}, "flow_lr_factor must be >= 0 or auto, got fast"),
        ({"w_flow": 0.0, "w_align": 0.0}, "both"),
    ),
)
def test_what_does_not_fit_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        nir(**options)


def test_logits_are_those_of_the_criterion_and_geometry_is_the_cosine():
    method, x = nir(), rows()
    torch.testing.assert_close(
        method.logits(x), 32 * cosines(x, method.criterion.proxies), rtol=1e-12, atol=0
    )
    assert method.class_weights is method.criterion.proxies
    assert method.geometry.name == "cosine"
    assert isinstance(method.flow, ConditionalFlow)
