"""Loss prediction: published values, a classifier that does not notice, its confidence in files."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import vmf_embeddings as vmf
from tests.conftest import load_golden
from tests.methods.laws import TinyArch, normal
from tests.training.few_digits import few_digits, trained
from vmf_embeddings.embeddings import load_embeddings
from vmf_embeddings.extract import ExtractionJob, extract
from vmf_embeddings.heads.linear import LinearHead
from vmf_embeddings.losses.balanced_softmax import BalancedSoftmax
from vmf_embeddings.losses.ce import CrossEntropy
from vmf_embeddings.methods.classifier import Classifier
from vmf_embeddings.methods.loss_prediction import LossPrediction
from vmf_embeddings.methods.loss_predictor import order_loss
from vmf_embeddings.training import checkpoint
from vmf_embeddings.training.execution import ExecutionSettings

GOLDEN = load_golden("dm_mcinfonce_url")
B, C, D = 12, 5, 3
LABELS = torch.arange(B) % C
OPTIONS = {"weight": 0.1, "form": "value", "margin": 0.1, "hidden": [6]}
CPU = ExecutionSettings("no", True, 1, False, False, False)


def make(loss=None, **options):
    torch.manual_seed(0)
    head = partial(LinearHead, bias=True)
    return LossPrediction(TinyArch(C, D), head, loss or CrossEntropy(), 0.0, **(OPTIONS | options))


@pytest.fixture(params=("url0", "url1"))
def golden(request):
    def value(key):
        return torch.from_numpy(GOLDEN[f"{request.param}/{key}"].astype(float))

    return value


def test_the_sum_of_both_losses_has_the_published_value_and_gradients(golden):
    logits, predicted = (golden(f"losspred/{key}").requires_grad_() for key in ("logits", "unc"))
    labels, method = (
        golden("losspred/targets").long(),
        make(weight=float(golden("losspred/lambda"))),
    )
    method.classifier.forward = lambda rows: logits  # every part but head and network
    method.predicted_loss = lambda rows: predicted
    loss = method.loss(logits, labels)
    loss.backward()
    torch.testing.assert_close(loss, golden("losspred/ref_loss"), rtol=1e-10, atol=0)
    for leaf, key in ((logits, "logits"), (predicted, "unc")):
        wanted = golden(f"losspred/ref_grad_{key}")
        torch.testing.assert_close(leaf.grad, wanted, rtol=1e-9, atol=1e-12)


def test_order_of_neighbouring_pairs_is_the_published_loss(golden):
    """The published loss takes rows 2i and 2i + 1 as pairs; here it takes all pairs."""
    logits, labels = golden("losspred/logits"), golden("losspred/targets").long()
    predicted = golden("losspred/unc").requires_grad_()
    losses, margin = cross_entropy(logits, labels, reduction="none"), float(golden("lossorder/gap"))
    pairs = zip(predicted.split(2), losses.split(2), strict=True)
    loss = torch.stack([order_loss(u, of, margin) for u, of in pairs]).mean()
    loss.backward()
    torch.testing.assert_close(loss, golden("lossorder/ref_loss"), rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(predicted.grad, golden("lossorder/ref_grad_unc"))


def test_order_loss_equals_a_slow_loop_and_forgives_what_is_in_order():
    u, losses = normal(7), normal(7, seed=1)
    terms = [
        max(0.0, 0.3 - (losses[i] - losses[j]).sign().item() * (u[i] - u[j]).item())
        for i in range(7)
        for j in range(i)
    ]
    assert order_loss(u, losses, 0.3).item() == pytest.approx(np.mean(terms))
    assert order_loss(losses.argsort().argsort().double(), losses, 0.9) == 0
    assert order_loss(u[:1], losses[:1], 0.3) == 0


@pytest.mark.parametrize("form", ("value", "order"))
@pytest.mark.parametrize("loss", (CrossEntropy, BalancedSoftmax))
def test_the_classifier_learns_as_without_it(form, loss):
    method = make(loss(), form=form).double()
    torch.manual_seed(0)
    alone = Classifier(TinyArch(C, D), partial(LinearHead, bias=True), loss(), 0.0).double()
    images, counts = normal(B, 1, 4, 4), torch.bincount(LABELS)
    for each in (method, alone):
        each.set_class_counts(counts)
        each({"examples": images, "ids": LABELS}).backward()
    found = dict(method.named_parameters())
    for name, parameter in alone.named_parameters():
        assert torch.equal(found[name].grad, parameter.grad)
    assert all(p.grad.abs().max() > 0 for p in method.predictor.parameters())


def test_predictions_come_to_be_the_losses():
    method, rows = make(hidden=[32]).double(), 3 * normal(B, D)
    with torch.no_grad():
        losses = cross_entropy(method.logits(rows), LABELS, reduction="none")
    optimizer = torch.optim.Adam(method.predictor.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        method.loss(rows, LABELS).backward()
        optimizer.step()
    torch.testing.assert_close(method.predicted_loss(rows), losses, rtol=0, atol=0.05)
    assert method.confidence(rows).argsort().tolist() == (-losses).argsort().tolist()


def test_confidence_is_finite_however_small_the_predicted_loss():
    method = make()
    method.predictor[-1].bias.data.fill_(-200.0)
    confidence = method.confidence(normal(4, D).float())
    assert confidence.isfinite().all() and (confidence > 0).all()


@pytest.mark.parametrize("store", ("npz", "folder"))
def test_files_runs_and_sections_have_the_confidence_of_the_run(tmp_path, store):
    trained(tmp_path, "method=loss_prediction", "mode.epochs=2")
    run = vmf.load(tmp_path)
    state = checkpoint.load(checkpoint.best_path(tmp_path))
    (path,) = extract(
        ExtractionJob(
            run.module,
            few_digits(),
            state,
            ("test",),
            tmp_path,
            "loss_prediction",
            1,
            64,
            0,
            CPU,
            store=store,
            shard_rows=1024,
        )  # fmt: skip
    )
    file = load_embeddings(path)
    np.testing.assert_allclose(file.confidence, run.confidence(file.embeddings), rtol=1e-5)
    assert file.meta["confidence_name"] == run.confidence_name == "inverse_predicted_loss"
    scores = vmf.evaluate(file, metrics=["uncertainty"])["uncertainty"]
    assert {f"{name}/classification/auroc" for name in (run.confidence_name, "norm")} <= set(scores)


def test_pairs_are_of_the_whole_batch_and_no_process_has_some_classes_only():
    assert make(form="order").needs_global_batch and not make(form="order").loss_is_row_mean
    assert make().loss_is_row_mean and not make().needs_global_batch
    with pytest.raises(ValueError, match="use method=classifier"):
        make().sharded_parameters()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": 0}, "method.params.weight"),
        ({"margin": -1}, "method.params.margin"),
        ({"form": "rank"}, "value, order"),
        ({"hidden": [0]}, "method.params.hidden"),
    ],
)
def test_unusable_values_are_refused_by_their_name(options, words):
    with pytest.raises(ValueError, match=words):
        make(**options)
