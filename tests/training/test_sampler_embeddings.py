"""Samplers that choose by embeddings get those of the training images, before every epoch."""

import pytest
import torch

from tests.cli.test_second_stage import composed, differing
from vmf_embeddings.cli import app, assembly
from vmf_embeddings.samplers.greedy_coreset import GreedyCoresetSampler
from vmf_embeddings.training import checkpoint

RUN = [
    *("dataset=digits_lt", "dataset.params.augment=shift", "method=normalized_sce"),
    *("arch=n_digit_mnist", "arch.params.embedding_dim=8", "arch.params.learn_temp=True"),
    *("sampler=greedy_coreset", "sampler.batch_size=128", "mode.learning_rate=0.1"),
    *("trainer.cpu=true", "trainer.threads=1"),
]


@pytest.fixture
def given(monkeypatch):
    """The embeddings that samplers were given, in order."""
    rows, update = [], GreedyCoresetSampler.update_embeddings

    def noted(self, embeddings):
        rows.append(embeddings.clone())
        update(self, embeddings)

    monkeypatch.setattr(GreedyCoresetSampler, "update_embeddings", noted)
    return rows


def trained(folder, n_epochs):
    folder.mkdir(exist_ok=True)
    app.train(composed([*RUN, f"mode.epochs={n_epochs}"]), folder)
    return checkpoint.load(folder / "last.pt")


def test_a_resumed_run_is_given_the_same_and_ends_the_same(tmp_path, given):
    whole = trained(tmp_path / "whole", 2)
    first = trained(tmp_path / "parts", 1)
    resumed = trained(tmp_path / "parts", 2)
    assert not differing(whole["method_state_dict"], resumed["method_state_dict"])
    assert len(given) == 4
    assert torch.equal(given[0], given[2]) and torch.equal(given[1], given[3])
    assert not torch.allclose(given[0], given[1], atol=1e-3)

    cfg = composed(RUN)
    data = assembly.dataset(cfg)
    method = assembly.method(cfg, data, pretrained=False)
    method.load_state_dict(first["method_state_dict"])
    train = data.split("train")
    with torch.no_grad():
        rows = method.eval().embed(train.batch(torch.arange(len(train)))["examples"])
    expected = torch.nn.functional.normalize(rows)
    torch.testing.assert_close(given[3], expected, rtol=1e-4, atol=1e-5)
    moved = data.split("train", augment=True).batch(torch.arange(len(train)))["examples"]
    with torch.no_grad():
        others = torch.nn.functional.normalize(method.embed(moved))
    assert not torch.allclose(others, expected, atol=1e-2)  # the images were not augmented
