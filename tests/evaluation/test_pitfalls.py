"""Ten places where programs of evaluation go wrong, each by what must not happen."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import vmf_embeddings as vmf
from tests.conftest import load_golden
from tests.evaluation.test_calibration import scores as calibration_scores
from tests.evaluation.test_ood import GOLDEN as OOD
from tests.evaluation.test_ood import golden_scores as ood_scores
from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.losses.ib import influence_balanced_loss
from vmf_embeddings.metrics.ranking import RankingAt
from vmf_embeddings.metrics.retrieval import retrieval
from vmf_embeddings.metrics.scaling import fit_temperature, mean_nll
from vmf_embeddings.metrics.standard_errors import error_over_classes, error_over_rows
from vmf_embeddings.metrics.t_tests import t_interval

CALIBRATION = load_golden("calibration")


def test_1_long_embeddings_are_ranked_by_their_length_and_not_by_a_sigmoid_of_it():
    """A float32 sigmoid of lengths above 17 is 1 for all of them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, 8))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = np.arange(200) % 20
    rows = centres[labels] + 0.45 * rng.normal(size=(200, 8))
    rows *= (80 + 500 * rng.random((200, 1))) / np.linalg.norm(rows, axis=1, keepdims=True)
    areas = [
        vmf.evaluate(factor * rows, labels, ["uncertainty"], geometry="cosine")["uncertainty"][
            "norm/retrieval/auroc"
        ]
        for factor in (1.0, 1e-3)
    ]
    assert areas[0] == pytest.approx(areas[1], abs=1e-6) and areas[0] != 0.5


def test_2_the_false_positive_rate_names_its_positive_side():
    found = ood_scores()
    inside, outside = (OOD[f"o0/{split}/mahalanobis"] for split in ("test", "near"))
    accepted = (outside >= np.sort(inside)[::-1][int(np.ceil(0.95 * len(inside))) - 1]).mean()
    flagged = (inside <= np.sort(outside)[int(np.ceil(0.95 * len(outside))) - 1]).mean()
    assert found["near/mahalanobis/fpr95_in_positive"] == pytest.approx(accepted)
    assert found["near/mahalanobis/fpr95_out_positive"] == pytest.approx(flagged)
    assert abs(accepted - flagged) > 0.01
    assert not any(key.endswith(("/fpr95", "/fpr")) for key in found)


def test_3_the_calibration_error_stands_beside_that_of_a_calibrated_model():
    rng = np.random.default_rng(1)
    logits = 1.5 * rng.normal(size=(500, 10))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(10, p=own) for own in p])  # calibrated by construction
    meta = {"open_set": False, "geometry": {"name": "cosine"}}
    file = EmbeddingFile(logits[:, :3], labels, logits=logits, meta=meta)
    found = vmf.evaluate(file)["classification"]
    assert found["ece_l1_equal_width"] > 0.02
    assert found["ece_l1_equal_width"] == pytest.approx(found["ece_if_calibrated"], abs=0.02)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_4_no_steps_of_gradient_descent_find_a_likelier_temperature(split):
    logits, labels = (
        torch.from_numpy(CALIBRATION[f"c0/{split}_{name}"]) for name in ("logits", "labels")
    )
    logits = logits.double()
    found = fit_temperature(logits, labels).value

    def nll(temperature: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits / temperature, labels)

    published = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([published], lr=0.01, max_iter=50)  # as the published program

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nll(published)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert abs(float(published.detach()) - found) > 0.05
    assert nll(torch.tensor(found)) < nll(published.detach())
    assert mean_nll(logits, labels, lambda z: z / found) == pytest.approx(
        float(nll(torch.tensor(found)))
    )


def test_5_groups_of_calibration_are_those_of_the_predicted_class():
    found = calibration_scores("c1")
    names = {key.split("/")[1]: set() for key in found if key.count("/") == 2}
    for key in found:
        if key.count("/") == 2:
            names[key.split("/")[1]].add(key.rpartition("/")[2])
    for group, own in names.items():
        is_calibration = bool({"gap", "ece_l1_equal_width"} & own)
        assert is_calibration == group.startswith("predicted_"), group
    few = "before/{}_few/{}"
    true_gap = found[few.format("true", "mean_confidence")] - found[few.format("true", "accuracy")]
    assert true_gap > found[few.format("predicted", "gap")]


def test_6_rows_of_a_class_are_no_independent_rows_and_runs_are_compared_in_pairs():
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(40), 20)
    hard = rng.normal(size=40)[labels] + 0.5 * rng.normal(size=800)
    one, other = (hard + 0.3 * rng.normal(size=800) > 0).astype(float), hard > 0.2
    assert error_over_classes(one, labels) > 2 * error_over_rows(one)
    difference = other - one
    unpaired = np.hypot(error_over_classes(one, labels), error_over_classes(other, labels))
    assert error_over_classes(difference, labels) < unpaired / 2
    assert error_over_classes(difference, labels) != error_over_rows(difference)


def test_7_the_interval_of_three_seeds_holds_the_mean_in_95_percent():
    runs = np.random.default_rng(3).normal(size=(1200, 3))
    means, errors = runs.mean(1), runs.std(1, ddof=1) / np.sqrt(3)
    found = [t_interval(own) for own in runs]
    held = np.mean([one.low <= 0 <= one.high for one in found])
    assert held == pytest.approx(0.95, abs=0.02)
    assert np.mean(np.abs(means) <= 1.96 * errors) == pytest.approx(0.81, abs=0.03)
    assert found[0].high - found[0].mean == pytest.approx(4.3027 * errors[0], rel=1e-4)


def test_8_a_mean_average_precision_at_k_says_by_what_it_is_divided():
    # 59 rows of the class, of which the first is the nearest and the others are far away
    rows = np.r_[0.0, 0.1, np.linspace(1, 2, 20), np.linspace(5, 6, 58)][:, None]
    labels = np.r_[0, 0, np.ones(20, int), np.zeros(58, int)]
    found = retrieval(rows, labels, metric="l2", ranking_ks=[10]).rows.ranking[10]
    assert float(found.map_over_relevant[0]) == pytest.approx(1 / 59)
    assert float(found.map_over_min[0]) == pytest.approx(1 / 10)
    # by the hits that were found it would be 1, more where fewer are found
    offered = {one.name for one in dataclasses.fields(RankingAt) if "map" in one.name}
    assert offered == {"map_over_relevant", "map_over_min"}


def test_9_the_influence_balanced_loss_weighs_classes_by_their_size():
    default = Path(vmf.__file__).with_name("conf") / "loss" / "ib.yaml"
    assert "class_weights: inverse" in default.read_text()
    logits = torch.zeros(2, 2, dtype=torch.float64)
    features, labels = torch.ones(2, 3, dtype=torch.float64), torch.tensor([0, 1])
    weights = torch.tensor([0.1, 1.9], dtype=torch.float64)  # 2 / n over the sum of 1 / n
    losses = [
        influence_balanced_loss(logits[i : i + 1], labels[i : i + 1], features[i : i + 1],
                                alpha=1.0, epsilon=0.0, class_weights=weights)
        for i in range(2)
    ]  # fmt: skip
    assert float(losses[1] / losses[0]) == pytest.approx(19)


def test_10_the_relative_distance_is_not_the_distance_itself():
    found = ood_scores()
    areas = [found[f"near/{name}/auroc"] for name in ("mahalanobis", "relative_mahalanobis")]
    assert abs(areas[0] - areas[1]) > 0.01
    train, labels = OOD["o0/train_embeddings"].astype(float), OOD["o0/train_labels"]
    within, every = np.zeros((train.shape[1],) * 2), np.cov(train.T, bias=True)
    means = []
    for c in np.unique(labels):
        own = train[labels == c]
        means.append(own.mean(0))
        within += (own - means[-1]).T @ (own - means[-1]) / len(train)

    def squared(rows, mean, covariance):
        return np.einsum("nd,de,ne->n", rows - mean, np.linalg.inv(covariance), rows - mean)

    scores = []
    for split in ("test", "near"):
        rows = OOD[f"o0/{split}_embeddings"].astype(float)
        near = np.min([squared(rows, mean, within) for mean in means], axis=0)
        scores.append(squared(rows, train.mean(0), every) - near)
    slow = (scores[0][:, None] > scores[1][None]).mean()
    assert areas[1] == pytest.approx(slow, abs=1e-9)
