"""BCL: the balanced contrast by its formula, its prototypes, and the classifier beside it."""

from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from tests.methods.laws import TinyArch, normal
from vmf_embeddings.heads.cosine import CosineHead
from vmf_embeddings.heads.ncm import NCMHead
from vmf_embeddings.losses.logit_adjustment import LogitAdjustment
from vmf_embeddings.methods.bcl import BCL, balanced_contrast
from vmf_embeddings.methods.head_and_loss import HeadAndLoss

B, C, D, P = 24, 5, 3, 8


def unit(*shape, seed=0):
    return normalize(normal(*shape, seed=seed), dim=-1)


def method(head=None, **options):
    torch.manual_seed(0)
    known = {"views": 3, "temperature": 0.1, "alpha": 1.0}
    known |= {"projection_dim": P, "projection_hidden": 6}
    head = head or partial(CosineHead, bias=False, scale=None)
    made = BCL(TinyArch(C, D), head, LogitAdjustment(1.0), 0.0, **(known | options))
    made.set_class_counts(torch.arange(2, 2 + C))
    return made.double()


def embeddings(views=3):
    return normal(B, views, D), torch.arange(B) % C


def slow(rows, labels, prototypes, temperature):
    """The formula of the paper, row by row and class by class."""
    losses = []
    for i, (row, y) in enumerate(zip(rows, labels.tolist(), strict=True)):
        of_class = []
        for c, prototype in enumerate(prototypes):
            own = [x for j, x in enumerate(rows) if labels[j] == c and j != i] + [prototype]
            of_class.append(torch.stack([(row @ x / temperature).exp() for x in own]))
        total = sum(values.mean() for values in of_class)
        losses.append(-(of_class[y] / total).log().mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("tile", (11, 10**6))
@pytest.mark.parametrize("labels", ([0, 0, 0, 1, 2, 1, 0], [3] * 7, [0, 1, 2, 3, 0, 1, 2]))
def test_the_contrast_is_the_formula_row_by_row(labels, tile, monkeypatch):
    monkeypatch.setattr("vmf_embeddings.methods.column_contrast.CPU_TILE", tile)
    rows, prototypes = unit(7, P), unit(4, P, seed=1)
    labels = torch.tensor(labels)
    found = balanced_contrast(rows, labels, prototypes, 0.07)
    torch.testing.assert_close(found, slow(rows, labels, prototypes, 0.07))


def test_rows_at_their_prototypes_give_the_softmax_over_prototypes_however_many_there_are():
    """A class with many rows weighs as much as one with none."""
    prototypes, labels = unit(C, P), torch.tensor([0] * 9 + [1] * 2 + [2])
    rows = prototypes[labels]
    found = balanced_contrast(rows, labels, prototypes, 0.1)
    torch.testing.assert_close(found, cross_entropy(rows @ prototypes.T / 0.1, labels))


def test_a_class_without_rows_counts_by_its_prototype():
    rows, prototypes = unit(6, P), unit(C, P, seed=1).requires_grad_()
    balanced_contrast(rows, torch.tensor([0, 0, 1, 1, 2, 2]), prototypes, 0.1).backward()
    assert (prototypes.grad[3:].norm(dim=1) > 0).all()


def test_the_contrast_is_its_gradient():
    rows, prototypes = unit(5, P).requires_grad_(), unit(3, P, seed=1).requires_grad_()
    labels = torch.tensor([0, 0, 1, 2, 0])
    assert torch.autograd.gradcheck(lambda x, p: balanced_contrast(x, labels, p, 0.3),
                                    (rows, prototypes))  # fmt: skip


def test_the_loss_is_that_of_the_classifier_and_the_contrast_of_the_other_views():
    made, (x, labels) = method(alpha=0.7), embeddings()
    loss = made.loss(x, labels)
    rows = normalize(made.projection(torch.cat([x[:, 1], x[:, 2]])), dim=1)
    prototypes = normalize(made.weight_projection(made.classifier.weight), dim=1)
    contrast = slow(rows, labels.repeat(2), prototypes, 0.1)
    torch.testing.assert_close(
        loss, HeadAndLoss.loss(made, x[:, 0], labels) + 0.7 * contrast, rtol=1e-10, atol=0
    )
    assert method(alpha=0.0).loss(x, labels) == HeadAndLoss.loss(made, x[:, 0], labels)


def test_one_view_serves_both_branches():
    x, labels = embeddings(1)
    torch.testing.assert_close(method().loss(x, labels), method().loss(x[:, 0], labels))


def test_the_contrast_reaches_the_class_weights():
    made, (x, labels) = method(), embeddings()
    made.contrast(x, labels).backward()
    assert made.classifier.weight.grad.abs().max() > 0


def test_predictions_are_those_of_the_head_alone_and_evaluation_leaves_the_state():
    made, (x, labels) = method(), embeddings()
    torch.testing.assert_close(made.logits(x[:, 0]), made.classifier(x[:, 0]))
    made.eval()
    before = {k: v.clone() for k, v in made.state_dict().items()}
    assert made.loss(x, labels).isfinite()
    assert all(torch.equal(before[k], v) for k, v in made.state_dict().items())


def test_a_head_without_class_weights_is_refused():
    head = partial(NCMHead, features="cl2n", distance="l2")
    with pytest.raises(ValueError, match="head=ncm has none; use head=cosine"):
        method(head)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"views": 0}, "views"), ({"temperature": 0.0}, "temperature"), ({"alpha": -1.0}, "alpha"),
     ({"projection_dim": 1}, "projection_dim"), ({"projection_hidden": 0}, "projection_hidden")],
)  # fmt: skip
def test_unusable_values_are_refused_by_their_name(options, words):
    with pytest.raises(ValueError, match=f"method.params.{words}"):
        method(**options)
