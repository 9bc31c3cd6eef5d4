"""Criteria whose positives are views of an image: labels do not matter; refusals."""

import pytest
import torch

import vmf_embeddings as vmf
from tests.cli.test_second_stage import composed
from tests.criteria.made import made
from tests.methods.laws import TinyArch, normal
from tests.training.few_digits import few_digits
from vmf_embeddings.cli import app, assembly
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.criteria.distributions import DistributionCriterion
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.dml import DML

B, V, C, D = 6, 3, 2, 4
NAMES = ("mcinfonce", "hib")
VIEWS = ["criterion.params.positives=views", "dataset.params.views=2"]
RUN = [
    *("dataset=digits_lt", "dataset.params.augment=shift", "method=dml", "sampler=random"),
    *(
        "sampler.batch_size=64",
        "mode.epochs=1",
        "arch=n_digit_mnist",
        "arch.params.embedding_dim=8",
    ),
    *("trainer.cpu=true", "trainer.threads=1", "num_workers=0", "mode.learning_rate=0.01"),
]


def method_of(name, **options):
    criterion = made(name, C, D, positives="views", views=V, **options)
    return DML(TinyArch(C, D), criterion, None).double()


def loss_of(method, *inputs):
    torch.manual_seed(3)
    return method.loss(*inputs)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_that_of_rows_whose_class_is_their_image(name):
    method, rows = method_of(name), normal(B, V, D)
    labels = torch.arange(B) % C
    by_class = DML(TinyArch(B, D), made(name, B, D), None).double()
    by_class.criterion.load_state_dict(method.criterion.state_dict())
    images = torch.arange(B).repeat_interleave(V)
    expected = loss_of(by_class, rows.flatten(0, 1), images)
    assert loss_of(method, rows, labels) == expected
    assert loss_of(method, rows, labels.flip(0)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_a_training_step_is_a_slow_loop_over_pairs_of_images(name):
    """The draws of V views of B images are compared one by one."""
    method, pictures = method_of(name, n_samples=2), normal(B, V, 1, 4, 4)
    torch.manual_seed(3)
    found = method({"examples": pictures, "ids": torch.zeros(B, dtype=torch.long)})
    torch.manual_seed(3)
    rows = method.embed(pictures.flatten(0, 1))
    cosines = method.criterion.cosines_of_draws(rows)  # image by image, view after view
    total = []
    for a in range(B * V):
        same = [p for p in range(B * V) if p // V == a // V and p != a]
        other = [n for n in range(B * V) if n // V != a // V]
        if name == "hib":
            m = (method.criterion.log_scale.exp() * cosines[:, a] - 10).sigmoid().mean(0)
            total.append(-m[same].log().mean() - (1 - m[other]).log().mean())
            continue
        e = (cosines[:, a] / method.criterion.log_temperature.exp()).exp()
        fractions = [(e[:, p] / (e[:, p] + e[:, other].mean(1))).mean() for p in same]
        total.append(-torch.stack(fractions).log().mean())
    torch.testing.assert_close(found, torch.stack(total).mean(), rtol=1e-8, atol=0)


def test_feature_scaling_is_of_the_image_in_every_view():
    method, rows = method_of("hib").train(), normal(B, V, D)
    labels = torch.arange(B) % C
    method.feature_scaling = lambda z, y: z * (1 + y)[:, None]
    scaled = Method.scale_features(method, rows, labels)
    assert torch.equal(scaled, rows * (1 + labels)[:, None, None])


@pytest.mark.parametrize("name", NAMES)
def test_a_run_trains_and_an_objective_in_an_own_loop_takes_views(name, tmp_path):
    metric = app.train(composed([*RUN, f"criterion={name}", *VIEWS]), tmp_path)
    run = vmf.load(tmp_path, device="cpu")
    assert 0 <= metric <= 1 and run.config["criterion"]["params"]["positives"] == "views"
    assert (run.confidence(run.embed(torch.rand(3, 1, 28, 28))) > 0).all()
    loss_fn = vmf.objective(name, embedding_dim=D, n_classes=C, positives="views", views=V)
    rows = normal(B, V, D).float().requires_grad_()
    loss_fn(rows, torch.zeros(B, dtype=torch.long)).backward()
    assert rows.grad.abs().max() > 0
    with pytest.raises(ValueError, match=r"expected those of 3 views of each image, \[B, 3, D\]"):
        loss_fn(normal(B, D).float(), torch.zeros(B, dtype=torch.long))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["criterion.params.views=1"], r"criterion.params.views must be >= 2, got 1"),
        (["criterion.params.positives=rows"], "positives is one of classes, views; got 'rows'"),
        (["criterion.params.views=3"], "add dataset.params.views=3"),
        (["dataset.params.augment=none"], "gives equal ones.* Take dataset.params.augment=shift"),
        (["method.params.memory_size=9"], "show one image within a batch only"),
        (["miner=distance"], "does not work on the triplets of miner=distance"),
        (["criterion.params.positives=classes"], "add dataset.params.views=1"),
    ],
)
def test_what_has_no_views_is_refused_before_training(words, message, tmp_path):
    with pytest.raises(Refused, match=message), assembly.refusals():
        app.train(composed([*RUN, "criterion=hib", *VIEWS, *words]), tmp_path)


def test_data_sets_without_views_and_methods_on_prefixes_are_refused(tmp_path):
    words = [word for word in RUN if "dataset" not in word]
    words += ["dataset=digits_open", "criterion=hib", "criterion.params.positives=views"]
    with pytest.raises(
        Refused, match="no dataset.params.views.*criterion.params.positives=classes"
    ):
        app.train(composed(words), tmp_path)
    words[-2:] = ["dataset=digits", "criterion=hib", *VIEWS]
    with pytest.raises(Refused, match="not augmented. Take a data set that has an augmentation"):
        app.train(composed(words), tmp_path)
    inside = ["method=matryoshka", "method@method.params.objective=dml"]
    words = [word for word in RUN if word != "method=dml"]
    with pytest.raises(Refused, match="on prefixes: it compares views"), assembly.refusals():
        app.train(composed([*words, *inside, "criterion=hib", *VIEWS]), tmp_path)


def test_equal_copies_are_refused_and_the_random_numbers_are_those_without_the_look():
    method = method_of("hib")
    method.batch_layout = type(method.batch_layout)(2, differ=True, one_view="x=1")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with pytest.raises(Refused, match="gives equal ones"):
        assembly.refuse_other_batches(method, None, few_digits(2))
    assert torch.equal(torch.rand(3), expected)
    assert DistributionCriterion.views == 1
