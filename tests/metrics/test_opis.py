"""How far classes are from sharing one threshold."""

import numpy as np
import pytest

import vmf_embeddings as vmf
from tests.conftest import load_golden
from vmf_embeddings.metrics.opis import opis

GOLDEN = load_golden("verification")
# of own slow code: least and largest distance, OPIS, that of the worst tenth of the classes
KNOWN = {
    "v0": (0.9511369008539201, 1.1666140616373524, 0.03550272810306247, 0.13751061577548368),
    "v1": (1.0989287636757898, 1.2438798093811154, 0.011336045020815278, 0.08314353927721617),
}


@pytest.mark.parametrize("case", KNOWN)
def test_scores_are_the_known_ones(case):
    least, most, mean, worst = KNOWN[case]
    found = opis(GOLDEN[f"{case}/embeddings"], GOLDEN[f"{case}/labels"], least, most)
    assert (found.mean, found.worst_tenth) == pytest.approx((mean, worst), rel=1e-9)


def test_scores_equal_a_slow_count_of_pairs_without_those_of_one_image():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(40, 3)), rng.integers(0, 12, 40)
    labels[:2] = 20, 21  # without a pair
    images = np.where(rng.random(40) < 0.3, 0, np.arange(40))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [(i, j) for i in range(40) for j in range(i) if images[i] != images[j]]
    distance = np.array([np.linalg.norm(unit[i] - unit[j]) for i, j in pairs])
    kinds = np.array([(labels[i], labels[j]) for i, j in pairs])
    points, utility = np.linspace(0.6, 1.4, 101), []
    for c in np.unique(labels):
        same, one = (kinds == c).all(1), (kinds == c).sum(1) == 1
        if same.any():
            sensitivity = (distance[same][:, None] <= points).mean(0)
            specificity = (distance[one][:, None] > points).mean(0)
            total = np.maximum(sensitivity + specificity, 1e-300)
            utility.append(2 * sensitivity * specificity / total)
    deviation = (np.array(utility) - np.mean(utility, axis=0)) ** 2
    wanted = np.trapezoid(deviation, points, axis=1) / 0.8
    found = opis(5 * rows, labels, 0.6, 1.4, images)
    np.testing.assert_allclose(found.utility, utility, atol=1e-12)
    assert found.mean == pytest.approx(wanted.mean(), rel=1e-9)
    assert found.worst_tenth == pytest.approx(wanted.max(), rel=1e-9)


def test_classes_that_are_turned_copies_of_each_other_share_every_threshold():
    turn = np.pi / 2 * np.arange(4)
    angles = (turn[:, None] + np.array([0.0, 0.1, 0.3])).reshape(-1)
    rows = np.stack([np.cos(angles), np.sin(angles)], 1)
    found = opis(rows, np.repeat(np.arange(4), 3), 0.05, 1.0)
    assert found.mean == pytest.approx(0, abs=1e-20)


def test_what_has_no_range_or_no_pairs_is_refused():
    rows = np.eye(3)
    with pytest.raises(ValueError, match="a range of distances"):
        opis(rows, [0, 0, 1], 1.0, 1.0)
    with pytest.raises(ValueError, match="no class has a pair"):
        opis(rows, [0, 1, 2], 0.5, 1.0)


@pytest.mark.parametrize("case", KNOWN)
def test_the_section_takes_distances_at_its_fars(case):
    found = vmf.evaluate(
        GOLDEN[f"{case}/embeddings"], GOLDEN[f"{case}/labels"], metrics=["verification"]
    )["verification"]
    assert found["all/opis"] == pytest.approx(KNOWN[case][2], rel=1e-9)
    assert found["all/opis_worst_tenth"] == pytest.approx(KNOWN[case][3], rel=1e-9)


@pytest.mark.parametrize("arguments", [{}, {"geometry": "euclidean"}, {"is_query": range(80)}])
def test_where_there_is_none_it_is_unknown(arguments):
    """Rows of signs whose distances are few, rows of any length, queries and gallery."""
    case = "v0" if arguments else "v2"
    rows = GOLDEN[f"{case}/embeddings"]
    if "is_query" in arguments:
        arguments = {"is_query": np.arange(len(rows)) < 80}
    found = vmf.evaluate(rows, GOLDEN[f"{case}/labels"], metrics=["verification"], **arguments)
    assert np.isnan(found["verification"]["all/opis"])
    assert not np.isnan(found["verification"]["all/eer"])
