"""Sections of an evaluation beside exact retrieval and beside peers (V1-V5)."""

from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

import vmf_embeddings.torchvision_compat  # noqa: F401 - before the peers import torchvision
from benchmarks import peers
from benchmarks.evaluation import unit_set
from benchmarks.measure import Case
from benchmarks.results import Entry, NotAvailable, Setting, peaks, versus, why_not
from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.exact_scores import exact_retrieval
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.sections import section
from vmf_embeddings.geometry import Cosine
from vmf_embeddings.metrics import ClassGaussians, auroc, bootstrap, risk_coverage, weighted_mean
from vmf_embeddings.metrics.ranking import Rankings

PATH = Path("benchmark")


@cache
def retrieval_file(n: int, n_classes: int, dim: int) -> EmbeddingFile:
    """An open set of unit rows."""
    rows, labels = unit_set(n, n_classes, dim)
    return EmbeddingFile(embeddings=rows.numpy(), ids=labels.numpy())


@cache
def logits_file(n: int, n_classes: int, dim: int, seed: int) -> EmbeddingFile:
    """A closed set: embeddings [n, dim] around class means, and logits [n, n_classes]."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(n_classes, dim)).astype(np.float32)
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, n_classes, n)
    rows = means[ids] + 1.5 * rng.normal(size=(n, dim)).astype(np.float32)
    logits = (rows @ means.T / dim**0.5).astype(np.float32)
    meta = {"dataset": f"set {seed}", "split_hash": f"{seed}"}
    return EmbeddingFile(embeddings=rows, ids=ids, logits=logits, meta=meta)


def scored(who: str, file: EmbeddingFile, **options: object) -> Case:
    """Exact retrieval of a file, or one section of it by itself."""
    evaluated = EvaluatedFile(PATH, PATH, file, Cosine())
    chosen = EvaluationOptions(paths=(), **options)

    def score() -> None:
        context = Context(evaluated, chosen)
        if who == "retrieval":
            exact_retrieval(context.rows, evaluated, chosen, None)
        else:
            section(who).score(context)

    return score


def retrieval_case(who: str, n: int, n_classes: int, dim: int) -> Case:
    return scored(who, retrieval_file(n, n_classes, dim))


def logits_case(who: str, n: int, n_classes: int, dim: int) -> Case:
    """Calibration, fitted on a tenth of as many rows, or detectors of logits, against a tenth."""
    few = max(40 * n_classes, n // 10)
    other = {
        "calibration": {"fit_on": logits_file(few, n_classes, dim, 1)},
        "ood": {"ood": (("other", logits_file(few, n_classes, dim, 2)),)},
    }[who]
    return scored(who, logits_file(n, n_classes, dim, 4), **other)


def drawn(who: str, n: int, n_draws: int) -> Case:
    """Bootstrap of a mean over n queries."""
    values = np.random.default_rng(0).random(n)
    if who == "ours":
        scores = {"mean": weighted_mean(values)}
        return lambda: bootstrap(scores, n, n_draws, seed=0)
    if who == "scipy":
        stats = peers.needed("scipy.stats", "scipy")
        return lambda: stats.bootstrap(
            (values,), np.mean, n_resamples=n_draws, batch=50, method="percentile", rng=0
        )
    raise NotAvailable(who)


def areas(who: str, n: int) -> Case:
    """AUROC of n rows."""
    rng = np.random.default_rng(0)
    scores, positive = rng.normal(size=n), rng.random(n) < 0.3
    if who == "ours":
        return lambda: auroc(scores, positive)
    metrics = peers.needed("sklearn.metrics", "scikit-learn")
    return lambda: metrics.roc_auc_score(positive, scores)


def risk(who: str, n: int, n_classes: int) -> Case:
    """AURC of predicted probabilities [n, n_classes]."""
    rng = np.random.default_rng(0)
    probabilities = torch.from_numpy(rng.dirichlet(np.ones(n_classes), n))
    labels = torch.from_numpy(rng.integers(0, n_classes, n))
    if who == "torch-uncertainty":
        metrics = peers.needed("torch_uncertainty.metrics.classification", "torch-uncertainty")

        def score() -> torch.Tensor:
            metric = metrics.AURC()
            metric.update(probabilities, labels)
            return metric.compute()

        return score

    def ours() -> float:
        confidence, guess = probabilities.max(1)
        return risk_coverage(confidence, guess != labels).aurc

    return ours


def mahalanobis(who: str, n: int, n_classes: int, dim: int) -> Case:
    """Fit on n rows, and distances of as many others."""
    train, rows = (logits_file(n, n_classes, dim, seed) for seed in (1, 2))
    labels = torch.from_numpy(train.ids)
    x, y = (torch.from_numpy(file.embeddings) for file in (train, rows))
    if who == "ours":
        return lambda: ClassGaussians.fit(x, labels).distances(y)
    detectors = peers.needed("pytorch_ood.detector", "pytorch-ood")
    return lambda: detectors.Mahalanobis(None).fit_features(x, labels).predict_features(y)


def ranked(who: str, n: int, n_relevant: int, depth: int) -> Case:
    """nDCG@10, precision@10 and mAP@10 of n queries from their lists of neighbours."""
    rng = np.random.default_rng(0)
    ranks = np.sort(rng.random((n, depth)).argsort(1)[:, :n_relevant], 1) + 1
    if who == "ours":
        queries, given = torch.arange(n), torch.from_numpy(ranks)

        def score() -> dict[str, float]:
            found = Rankings([10], n)
            found.add(queries, given)
            at = found.at[10]
            scores = {"ndcg": at.ndcg, "precision": at.precision, "map": at.map_over_relevant}
            return {f"{name}@10": float(values.mean()) for name, values in scores.items()}

        return score
    ranx = peers.needed("ranx")
    positives = {f"q{i}": {f"d{r}": 1 for r in row} for i, row in enumerate(ranks.tolist())}
    lists = {query: {f"d{r}": depth - r for r in range(1, depth + 1)} for query in positives}
    judged, found = ranx.Qrels(positives), ranx.Run(lists)
    return lambda: ranx.evaluate(judged, found, ["ndcg@10", "precision@10", "map@10"])


def main(setting: Setting) -> list[Entry]:
    """Uncertainty and verification at SOP's size, intervals, a million rows of logits, peers."""
    size = setting.size((60_502, 11_316, 512), (80, 16, 16))
    n, n_classes, dim = size
    entry = Entry(f"sections {n}", f"one process, n={n}, {n_classes} classes, d={dim}")
    words = ("retrieval", "uncertainty", "verification")
    makers = {f"ours {w}": partial(retrieval_case, w, *size) for w in words}
    found = versus(entry, setting, makers)
    for key, word in (("V1", "uncertainty"), ("V2", "verification")):
        names = f"ours {word}", "ours retrieval"
        entry.check(setting, key, found.ratio(*names), why_not(entry, *names))
    entries = [entry]

    n, draws = setting.size((60_000, 1_000), (50, 20))
    entry = Entry(f"bootstrap {n}", f"{draws} draws of {n} queries, the mean and its interval")
    found = versus(entry, setting, {w: partial(drawn, w, n, draws) for w in ("ours", "scipy")})
    entry.check(setting, "V3", found.median("ours"))
    entries.append(entry)

    size = setting.size((1_000_000, 100, 64), (400, 5, 8))
    n, n_classes, dim = size
    entry = Entry(f"logits {n}", f"{n} rows, {n_classes} classes, d={dim}")
    words = ("calibration", "ood")
    found = versus(entry, setting, {f"ours {w}": partial(logits_case, w, *size) for w in words})
    for word in words:
        entry.check(setting, f"V4 {word}", found.median(f"ours {word}"))
    arguments = dict(zip(("n", "n_classes", "dim"), size, strict=True))
    memory = peaks(entry, setting, "sections", "logits_case",
                   {f"ours {w}": {"who": w, **arguments} for w in words})  # fmt: skip
    for word in words:
        peak = memory[f"ours {word}"]
        entry.check(setting, f"V4 {word} memory", peak.total_mb, peak.failure or "")
    entries.append(entry)

    return [*entries, *beside_peers(setting)]


def beside_peers(setting: Setting) -> list[Entry]:
    """The same scores by other programs."""
    n = setting.size(1_000_000, 100)
    few = setting.size((100_000, 10), (100, 4))
    rows = setting.size((20_000, 100, 256), (200, 4, 8))
    lists = setting.size((10_000, 5, 100), (20, 2, 12))
    cases = {
        "AUROC": (f"{n} rows, a third of them positive", areas, (n,), "scikit-learn"),
        "AURC": ("{} rows, {} classes".format(*few), risk, few, "torch-uncertainty"),
        "Mahalanobis": (
            "{} rows, {} classes, d={}".format(*rows),
            mahalanobis,
            rows,
            "pytorch-ood",
        ),
    }
    what = "nDCG, precision, mAP @10: {} queries, {} positives in lists of {}".format(*lists)
    cases["ranks"] = (f"{what}; ours from their ranks", ranked, lists, "ranx")
    entries = []
    for name, (workload, case, size, peer) in cases.items():
        entry = Entry(name, workload)
        found = versus(entry, setting, {who: partial(case, who, *size) for who in ("ours", peer)})
        entry.check(setting, f"V5 {name}", found.ratio(peer, "ours"), why_not(entry, peer))
        entries.append(entry)
    return entries
