"""What `objective` and a call of it refuse, in words that name the argument."""

import numpy as np
import pytest
import torch

import vmf_embeddings as vmf

Z, Y = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4)


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("smooth_ap", {"temperature": None}, "temperature: expected a number"),
        ("contrastive", {"memory_size": 1.5}, "memory_size: expected a whole number"),
        ("elk", {"init_temp": "warm"}, "init_temp: expected a number"),
        ("ce", {"head": {"name": "linear", "normalizer": "yes"}}, "normalizer: expected true or"),
        ("cider", {"n_classes": -3}, "n_classes: expected a whole number >= 1"),
        ("siren", {"embedding_dim": 1}, "needs embedding_dim >= 2, got 1"),
        ("hib", {"embedding_dim": 1}, "needs embedding_dim >= 2, got 1"),
        ("vmf_bayes", {"embedding_dim": 1}, "needs embedding_dim >= 2, got 1"),
        (
            "ce",
            {"embedding_dim": 1, "head": {"name": "linear", "normalizer": True}},
            "normalizer=true needs embedding_dim >= 2, got 1",
        ),
        ("vmf_op", {"n_epochs": 0}, "n_epochs: expected a whole number >= 1, got 0"),
        ("bcl", {"n_classes": 1}, "compares classes: expected at least two"),
    ],
)
def test_an_option_of_another_type_is_refused_by_name(name, options, words):
    with pytest.raises(ValueError, match=words):
        vmf.objective(name, **{"embedding_dim": 8, "n_classes": 4} | options)


@pytest.mark.parametrize("name", ["cider", "smooth_ap", "elk", "ce"])
@pytest.mark.parametrize(
    "embeddings, labels, words",
    [
        (Z, [0, 1, 2, 3], "labels: expected a tensor, got list"),
        (Z[:0], Y[:0], "embeddings: expected at least one row"),
        (Z, Y[:, None], "labels: expected"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_by_name(name, embeddings, labels, words):
    loss_fn = vmf.objective(name, embedding_dim=8, n_classes=4)
    with pytest.raises((TypeError, ValueError), match=words):
        loss_fn(embeddings, labels)


@pytest.mark.parametrize("name", ["cider", "siren", "elk", "vmf_softmax", "ce"])
@pytest.mark.parametrize("labels", [Y - 1, Y + 1])
def test_class_numbers_outside_the_classes_are_refused(name, labels):
    loss_fn = vmf.objective(name, embedding_dim=8, n_classes=np.int64(4))
    with pytest.raises(ValueError, match="labels: expected class numbers 0 to 3, got"):
        loss_fn(Z, labels)


def test_objectives_without_classes_take_any_numbers():
    loss_fn = vmf.objective("smooth_ap", embedding_dim=8)
    assert loss_fn(Z, 7 - (Y % 2) * 9) == loss_fn(Z, Y % 2)


def test_one_row_cannot_be_normalised_over_the_batch():
    loss_fn = vmf.objective("proco", embedding_dim=8, n_classes=4, class_counts=[1, 2, 3, 4])
    with pytest.raises(ValueError, match="expected at least two rows, got 1"):
        loss_fn(Z[:1], Y[:1])


def test_soft_labels_have_one_number_for_each_class():
    loss_fn = vmf.objective("ce", embedding_dim=8, n_classes=4)
    assert torch.isfinite(loss_fn(Z, torch.full((4, 4), 0.25)))
    with pytest.raises(ValueError, match=r"labels: expected .* soft labels \[B, 4\]"):
        loss_fn(Z, torch.full((4, 3), 1 / 3))


@pytest.mark.parametrize("name", ["cider", "siren", "proco"])
def test_objectives_with_moving_averages_are_refused_on_prefixes(name):
    with pytest.raises(ValueError, match="cannot train .* on prefixes: its .* whole embeddings"):
        vmf.objective("matryoshka", objective=name, embedding_dim=8, n_classes=4)


@pytest.mark.parametrize("name", ["elk", "vmf_softmax", "ce", "proxy_anchor", "s2sd", "nir"])
def test_embeddings_of_another_precision_than_the_weights_are_refused(name):
    loss_fn = vmf.objective(name, embedding_dim=8, n_classes=4, n_features=8)
    context = {"features": Z.double()} if "features" in loss_fn.needs else {}
    words = r"expected torch.float32, as the objective's weights, got torch.float64: pass"
    with pytest.raises(ValueError, match=words):
        loss_fn(Z.double(), Y, **context)
    with pytest.raises(ValueError, match=r"got torch.float32.* call loss_fn.to\(torch.float32\)"):
        loss_fn.double().embed(Z.bfloat16())
    assert loss_fn(Z.double(), Y, **context).dtype == torch.float64


@pytest.mark.parametrize("name", ["margin", "siren", "cider", "ncm", "vmf_bayes"])
def test_objectives_without_weight_matrices_take_any_precision(name):
    loss_fn = vmf.objective(name, embedding_dim=8, n_classes=2)
    if "class means" in loss_fn.needs:
        loss_fn.fit(Z, Y % 2)
    assert loss_fn(Z.double(), Y % 2).dtype == torch.float64
    loss_fn.eval()  # moving means stay
    torch.testing.assert_close(loss_fn(Z.bfloat16(), Y % 2), loss_fn(Z.bfloat16().float(), Y % 2))


@pytest.mark.parametrize("name", ["fsgl", "vmf_op"])
def test_an_epoch_of_a_training_of_unknown_length_is_refused_with_what_to_type(name):
    loss_fn = vmf.objective(name, embedding_dim=8, n_classes=4, class_counts=[4, 3, 2, 1])
    with pytest.raises(ValueError, match=r"vmf.objective\(…, n_epochs=…\)"):
        loss_fn.begin_epoch(0)
