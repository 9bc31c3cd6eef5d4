"""Deep metric learning: criterion, miner, rates, validation, refusals; whole runs on digits."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch.nn.functional import normalize

import vmf_embeddings
from tests.criteria.made import NAMES, node
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.cli import assembly
from vmf_embeddings.criteria.base import Criterion
from vmf_embeddings.geometry import Cosine, Euclidean
from vmf_embeddings.methods.dml import DML
from vmf_embeddings.methods.parameter_groups import take_rate
from vmf_embeddings.miners.base import Triplets
from vmf_embeddings.miners.semihard import SemihardMiner
from vmf_embeddings.training.fit import fit

CONF = Path(vmf_embeddings.__file__).parent / "conf"
Z, Y = normal(12, 3), torch.arange(12) % 4
SMALL = (
    "dataset=digits_open", "sampler.n_episodes=12", "sampler.n_classes=5", "sampler.n_samples=6",
    "mode.epochs=2", "mode.learning_rate=0.01", "trainer.cpu=True", "arch.params.embedding_dim=8",
)  # fmt: skip


class FewFeatures(TinyArch):
    n_features = 8

    def project(self, features):
        return self.projection(features)


def dml(name: str, miner=None, **options) -> DML:
    torch.manual_seed(0)
    return DML(FewFeatures(4, 3), assembly.instantiate("criterion", node(name, **options)), miner)


def composed(*overrides: str):
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["method=dml", *overrides])


class Recorded(Criterion):
    """Keeps what it is given."""

    takes, allowed_miners = "triplets", None

    def forward(self, embeddings, labels, triplets=None, **context):
        self.given = embeddings, labels, triplets, context
        return embeddings.sum()


def test_criterion_and_miner_see_unit_vectors_and_no_gradient_passes_the_miner():
    seen = []

    def miner(embeddings, labels):
        seen.append(embeddings)
        return Triplets(*torch.tensor([[0], [4], [1]]))

    miner.name = "distance"
    method = DML(TinyArch(4, 3), Recorded(), miner)
    embeddings = (3 * Z).requires_grad_()
    method.loss(embeddings, Y)
    unit, labels, triplets, _ = method.criterion.given
    torch.testing.assert_close(unit, normalize(Z, dim=-1))
    assert labels is Y and triplets.positive.tolist() == [4]
    assert unit.requires_grad and not seen[0].requires_grad


def test_lengths_reach_a_criterion_whose_geometry_is_not_the_cosine():
    recorded = Recorded()
    recorded.geometry = Euclidean()
    method = DML(TinyArch(4, 3), recorded, None)
    method.loss(3 * Z, Y)
    assert torch.equal(method.criterion.given[0], 3 * Z)
    assert method.geometry == Euclidean() != dml("margin").geometry == Cosine()


def test_features_go_along_where_a_criterion_wants_them_and_embeddings_are_the_same():
    method = dml("s2sd", weight=1.0, target_dims=[5])
    images = normal(12, 1, 4, 4).float()
    method.eval()  # BatchNorm: the same batch statistics in all three passes
    loss = method({"examples": images, "ids": Y})
    features = method.arch.features(images)
    wanted = method.loss(method.embed(images), Y, features=features)
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert all(p.grad is not None for p in method.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_every_criterion_trains_a_network_and_its_groups_are_a_partition(name):
    method = dml(name)
    groups = method.param_groups(0.1, "none")
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in method.parameters())
    batch = {"examples": normal(12, 1, 4, 4).float(), "ids": Y}
    method(batch).backward()
    assert method.arch.projection.weight.grad.abs().max() > 0
    assert method.has_logits == (method.logits(method.embed(batch["examples"])) is not None)


def test_rates_of_the_published_code_reach_the_optimizer():
    def rates(name):
        groups = dml(name).param_groups(0.0)
        return [(g["lr_factor"] if "lr_factor" in g else g.get("lr")) for g in groups[-1:]][0]

    wanted = {
        "proxy_anchor": 2000, "proxy_nca": 50, "soft_triple": 1,
        "margin": 5e-4, "softmax": 1e-5, "arcface": 5e-4,
    }  # fmt: skip
    assert {name: rates(name) for name in wanted} == wanted
    assert dml("softmax").param_groups(0.0, "all")[-1]["weight_decay"] == 0


def test_a_miner_changes_the_loss_and_its_draws_follow_torchs_seed():
    method = dml("triplet", SemihardMiner(0.2))
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(method.loss(Z, Y).item())
    assert losses[0] == losses[1]
    assert losses[0] != dml("triplet").loss(Z, Y).item()


@pytest.mark.parametrize(
    ("name", "miner"),
    [("proxy_anchor", "distance"), ("multisimilarity", "npair"), ("npair", "random")],
)
def test_a_miner_that_does_not_fit_is_refused_before_work_starts(name, miner):
    cfg = composed(f"criterion={name}", f"miner={miner}", *SMALL)
    with (
        pytest.raises(assembly.Refused, match=f"criterion={name} .* say miner=none"),
        assembly.refusals(),
    ):
        assembly.training_job(cfg, Path("nowhere"))


@pytest.mark.parametrize("override", ("criterion=margin", "miner.params.margin=0.1"))
def test_naming_a_criterion_or_a_miner_beside_another_method_is_refused(monkeypatch, override):
    overrides = SimpleNamespace(task=["method=arcface", override])
    hydra = SimpleNamespace(
        initialized=lambda: True, get=lambda: SimpleNamespace(overrides=overrides)
    )
    monkeypatch.setattr("hydra.core.hydra_config.HydraConfig", hydra)
    with pytest.raises(assembly.Refused, match="method=arcface .* use method=dml"):
        assembly.refuse_unread_groups(composed("method=arcface"))
    assembly.refuse_unread_groups(composed())


def test_rates_that_were_meant_for_a_smaller_one_are_named_in_the_log_with_what_to_type(caplog):
    assembly.warn_of_rates(dml("proxy_anchor", lr_factor=2000), 1e-5)
    assembly.warn_of_rates(dml("proxy_anchor"), 10.0)
    assembly.warn_of_rates(dml("margin"), 1.0)
    assert not caplog.records
    assembly.warn_of_rates(dml("proxy_anchor", lr_factor=2000), 0.01)
    assert "is 20" in caplog.text and "criterion.params.lr_factor=2\n" in caplog.text


@pytest.mark.parametrize(
    ("name", "published"), [("proxy_anchor", 2000), ("proxy_anchor_nca", 2000), ("proxy_nca", 50)]
)
def test_proxies_learn_at_the_published_rate_however_large_that_of_the_run(name, published):
    for learning_rate in (1e-6, 1e-5, 1e-3, 1.0):
        *_, group = dml(name).param_groups(0.0)
        rate = take_rate(group, learning_rate)
        assert rate == pytest.approx(published * min(learning_rate, 1e-5))
        assert group.keys() == {"params", "weight_decay"}  # what torch's optimizers know


@pytest.mark.parametrize("name", ("npair", "lifted", "margin", "proxy_anchor"))
def test_a_backbone_that_takes_lengths_from_a_criterion_that_reads_them_is_named(name, caplog):
    method = dml(name)
    assembly.warn_of_lost_norms(method)
    assert not caplog.records
    method.arch.normalize = True
    assembly.warn_of_lost_norms(method)
    assert ("arch.params.normalize=false" in caplog.text) == (name in ("npair", "lifted"))


@pytest.mark.parametrize(
    "words",
    (
        ("criterion=margin", "miner=distance"),
        ("criterion=proxy_anchor", "criterion.params.lr_factor=10.0"),
        ("criterion=s2sd", "criterion.params.target_dims=[16]"),
        # on a closed set, and no classes to predict
        ("criterion=triplet", "dataset=digits", "mode.epochs=1"),
    ),
)
def test_a_run_learns_resumes_and_its_proxies_come_back_from_the_embedding_file(tmp_path, words):
    from vmf_embeddings.embeddings import load_embeddings
    from vmf_embeddings.extract import extract

    cfg = composed(*SMALL, *words)
    metric = fit(assembly.training_job(cfg, tmp_path))
    assert metric > 0.5
    assert fit(assembly.training_job(cfg, tmp_path)) == metric  # finished: nothing more to train
    cfg = composed("mode=get_embeddings", "trainer.cpu=True")
    (path,) = extract(assembly.extraction_job(cfg, tmp_path, []))
    file = load_embeddings(path)
    proxies = "proxy_anchor" in words[0]
    assert (file.class_weights is not None) == proxies
    assert json.loads(json.dumps(file.meta))["geometry"]["name"] == "cosine"
    if proxies:
        assert file.class_weights.shape == (5, 8)
        assert np.abs(file.class_weights).max() > 0.1
