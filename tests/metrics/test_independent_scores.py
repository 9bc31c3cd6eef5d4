"""Scores equal those of scikit-learn and SciPy on small random cases: ties, one class, one row."""

import numpy as np
import pytest
import torch

from vmf_embeddings.metrics import binary, classification
from vmf_embeddings.metrics.agreement import cluster_agreement
from vmf_embeddings.metrics.clustering import cluster_scores
from vmf_embeddings.metrics.corruption import average_ranks, spearman
from vmf_embeddings.metrics.paired_tests import signs
from vmf_embeddings.metrics.ranking import RankingAt
from vmf_embeddings.metrics.retrieval import retrieval
from vmf_embeddings.metrics.standard_errors import wilson_95
from vmf_embeddings.metrics.t_tests import paired_t, welch
from vmf_embeddings.metrics.verification import equal_error_rate, tar_at_far

sk = pytest.importorskip("sklearn.metrics")
stats, optimize = pytest.importorskip("scipy.stats"), pytest.importorskip("scipy.optimize")
CASES = range(60)
pytestmark = pytest.mark.filterwarnings("ignore")


def close(value, wanted, tolerance=1e-9):
    np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance)


def scored_rows(case):
    """Scores of 1 to 60 rows, few of them different or many, of any size; which are positive."""
    rng = np.random.default_rng(case)
    n, different = int(rng.choice([1, 2, 3, 8, 60])), int(rng.choice([1, 2, 10, 1000]))
    scores = rng.integers(0, different, n) / different * rng.choice([1, 1e-12, 1e6, -1e9])
    return rng, scores, rng.random(n) < rng.choice([0.1, 0.5, 0.9])


def test_areas_and_rates():
    for case in CASES:
        rng, scores, positive = scored_rows(case)
        weights = rng.integers(0, 3, len(scores))
        drawn = torch.from_numpy(weights)[None].double()
        if positive.any():
            wanted = sk.average_precision_score(positive, scores)
            close(binary.average_precision(scores, positive), wanted)
        if not positive.any() or positive.all():
            assert np.isnan(binary.auroc(scores, positive))
            continue
        close(binary.auroc(scores, positive), sk.roc_auc_score(positive, scores))
        if weights[positive].any() and weights[~positive].any():
            wanted = sk.roc_auc_score(positive, scores, sample_weight=weights)
            close(float(binary.weighted_auroc(scores, positive)(drawn)), wanted)
        false, true, _ = sk.roc_curve(positive, scores, drop_intermediate=False)
        close(binary.fpr_at_tpr(scores, positive), false[np.argmax(true >= 0.95)])
        curve = binary.roc(scores, positive)
        for far in (0.01, 0.1, 0.5, 1.0):
            allowed = int(far * (~positive).sum() + 1e-9)
            passing = [t for t in scores if (scores[~positive] >= t).sum() <= allowed]
            wanted = max(((scores[positive] >= t).mean() for t in passing), default=0)
            found = tar_at_far(curve, far).tar
            close(found, wanted) if allowed else np.testing.assert_(np.isnan(found))
        # along the straight lines between the points of the ROC
        place = optimize.brentq(
            lambda u, rates=(false, true): at(rates[0], u) - 1 + at(rates[1], u), 0, len(false) - 1
        )
        close(equal_error_rate(curve), at(false, place), 1e-7)


def at(rates, place):
    """The value at a place between the numbers of the points."""
    return np.interp(place, np.arange(len(rates)), rates)


def test_accuracies_and_f1():
    for case in CASES:
        rng = np.random.default_rng(case)
        n, c = int(rng.choice([1, 2, 20])), int(rng.choice([1, 2, 5]))
        p, labels = np.round(rng.dirichlet(np.ones(c), n), 1), rng.integers(0, c, n)
        guess = p.argmax(1)
        known = np.unique(np.r_[labels, guess])
        wanted = sk.f1_score(labels, guess, labels=known, average="macro", zero_division=0)
        close(classification.macro_f1(p, labels), wanted)
        wanted = sk.recall_score(labels, guess, labels=np.unique(labels), average="macro")
        close(classification.macro_accuracy(p, labels), wanted)
        close(classification.accuracy(p, labels), sk.accuracy_score(labels, guess))


def test_agreement_of_clusters():
    names = {
        "ami": sk.adjusted_mutual_info_score, "ari": sk.adjusted_rand_score,
        "homogeneity": sk.homogeneity_score, "completeness": sk.completeness_score,
        "v_measure": sk.v_measure_score,
    }  # fmt: skip
    for case in CASES:
        rng = np.random.default_rng(case)
        n = int(rng.choice([1, 2, 5, 40]))
        labels = rng.integers(0, rng.choice([1, 2, 9]), n)
        clusters = rng.integers(0, rng.choice([1, 2, 50]), n)
        found = cluster_agreement(clusters, labels)
        for name, score in names.items():
            close(getattr(found, name), score(labels, clusters), 1e-7)
        wanted = sk.normalized_mutual_info_score(labels, clusters)
        close(cluster_scores(clusters, labels).nmi, wanted, 1e-7)


def test_ranks_tests_and_intervals():
    for case in CASES:
        rng, ranked, _ = scored_rows(case)
        n = len(ranked)
        close(average_ranks(ranked), stats.rankdata(ranked))
        if n > 1:
            other = rng.normal(size=n)
            close(spearman(ranked, other), stats.spearmanr(ranked, other).statistic)
        changes = rng.integers(-1, 2, n)
        better, worse = int((changes > 0).sum()), int((changes < 0).sum())
        if better + worse:
            close(signs(changes).p, stats.binomtest(better, better + worse).pvalue)
        hits = int(rng.integers(0, n + 1))
        wanted = stats.binomtest(hits, n).proportion_ci(method="wilson")
        close(wilson_95(hits, n), wanted)
        a, b = (rng.normal(size=int(rng.integers(2, 6))) for _ in range(2))
        found, wanted = welch(a, b), stats.ttest_ind(b, a, equal_var=False)
        close((found.p, found.low, found.high), (wanted.pvalue, *wanted.confidence_interval()))
        close(paired_t(a, a + b[0] + a**2).p, stats.ttest_rel(a + b[0] + a**2, a).pvalue)


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_precision_and_gain_of_rankings(metric):
    for case in range(8):
        rng = np.random.default_rng(case)
        n, c = int(rng.choice([3, 12, 40])), int(rng.choice([1, 2, 5]))
        rows, labels = rng.normal(size=(n, 3)), rng.integers(0, c, n)
        found = retrieval(rows, labels, metric=metric, ranking_ks=(1, 5)).rows
        scores = rows @ rows.T if metric == "ip" else -((rows[:, None] - rows) ** 2).sum(2)
        for i in range(n):
            others = np.delete(np.arange(n), i)
            hits, own = labels[others] == labels[i], scores[i, others]
            if not hits.any():
                assert np.isnan(float(found.average_precision[i]))
                continue
            wanted = sk.average_precision_score(hits, own)
            close(float(found.average_precision[i]), wanted)
            for k in (1, 5):
                nearest: RankingAt = found.ranking[k]
                close(
                    float(nearest.ndcg[i]), sk.ndcg_score(hits[None].astype(float), own[None], k=k)
                )


@pytest.mark.parametrize("score", [binary.auroc, binary.average_precision, binary.fpr_at_tpr])
def test_nan_is_refused_and_no_rows_are(score):
    with pytest.raises(ValueError, match="1 are NaN, the first in row 1"):
        score([0.5, np.nan, 0.1], [1, 0, 1])
    with pytest.raises(ValueError, match="N >= 1"):
        score([], [])
