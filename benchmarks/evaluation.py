"""Retrieval scores of embeddings: time, memory, equality with 2021's (E1-E5)."""

import os

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import ours, peers, reference_2021
from benchmarks.measure import Case
from benchmarks.results import Entry, NotAvailable, Setting, peaks, quotient, versus, why_not
from benchmarks.workloads import balanced_labels, retrieval_set
from vmf_embeddings import native

MAKERS = ("2021", "PML faiss", "PML CustomKNN", "torchmetrics", "ours")
SAME = "memory is measured on the processor, real size"


def unit_set(n: int, n_classes: int, dim: int) -> tuple[Tensor, Tensor]:
    """One vMF draw per row [n, dim], and labels."""
    z, labels = retrieval_set(n, n_classes, dim)
    torch.manual_seed(1)
    kappa, mu = ours.split(z)
    return functional.normalize(ours.sample(mu, kappa, 1)[0], dim=-1), labels


def evaluate(
    who: str,
    n: int,
    n_classes: int,
    dim: int,
    device: str = "cpu",
    n_queries: int | None = None,
    large_classes: bool = False,
) -> Case:
    """R@1 and MAP@R; `n_queries` of them for those that would take too long."""
    x, labels = unit_set(n, n_classes, dim)
    if large_classes:
        labels = torch.from_numpy(balanced_labels(n, n_classes))
    if who == "2021":
        peers.needed("faiss").omp_set_num_threads(1)
        rows, ids = x.numpy(), labels.numpy()
        return lambda: reference_2021.retrieval(rows, ids, n_queries)
    x, labels = x.to(device), labels.to(device)
    if who.startswith("PML"):
        peers.needed("faiss").omp_set_num_threads(1)
        score = peers.metric_learning(who.removeprefix("PML "))
        return lambda: score(x, labels)
    if who == "torchmetrics":
        score = peers.torchmetrics_retrieval()
        return lambda: score(x, labels, n_queries or n)
    compiled = not who.endswith("torch")
    if compiled and not native.enabled():
        raise NotAvailable('numba is not installed or switched off: see the row "ours torch"')

    def score() -> tuple[float, float]:
        before = os.environ.get(native.SWITCH, "1")
        os.environ[native.SWITCH] = before if compiled else "0"
        try:
            return ours.retrieval(x, labels)
        finally:
            os.environ[native.SWITCH] = before

    return score


def ten_thousand(setting: Setting) -> Entry:
    """E1: all peers at n = 10,000; torchmetrics by 200 queries, scaled."""
    n, n_classes, dim = setting.size((10_000, 1_871, 512), (60, 12, 16))
    few = setting.size(200, 10)
    entry = Entry("retrieval 10k", f"n={n}, {n_classes} classes of 2 to 12, d={dim}")
    entry.notes.append(f"torchmetrics: {few} queries, time scaled by {n / few:g}")
    makers = {
        who: lambda who=who: evaluate(who, n, n_classes, dim, setting.device,
                                      few if who == "torchmetrics" else None)
        for who in (*MAKERS, "ours torch")
    }  # fmt: skip
    result = versus(entry, setting, makers, scale={"torchmetrics": n / few})
    for peer in MAKERS[:-1]:
        reason = why_not(entry, peer, "ours")
        entry.check(setting, f"E1 {peer}", result.ratio(peer, "ours"), reason)
    if not setting.smoke and setting.device == "cpu":
        case = {who: {"who": who, "n": n, "n_classes": n_classes, "dim": dim}
            for who in (*MAKERS[:3], "ours", "ours torch")}  # fmt: skip
        peaks(entry, setting, "evaluation", "evaluate", case, {"n": 60, "n_classes": 12})
    return entry


def products(setting: Setting) -> Entry:
    """E2 and E3: the size of Stanford Online Products."""
    n, n_classes, dim = setting.size((60_502, 11_316, 512), (60, 12, 16))
    few = setting.size(6_144, 20)
    entry = Entry("retrieval SOP size", f"n={n}, {n_classes} classes of 2 to 12, d={dim}")
    entry.notes.append(f"2021: {few} queries, time scaled by {n / few:g}")
    brief = Setting(min(setting.rounds, 3), 0, setting.smoke, setting.device, setting.limit_s)
    makers = {
        "2021": lambda: evaluate("2021", n, n_classes, dim, n_queries=few),
        "ours": lambda: evaluate("ours", n, n_classes, dim, setting.device),
    }
    result = versus(entry, brief, makers, scale={"2021": n / few})
    entry.check(setting, "E2 time", result.ratio("2021", "ours"), why_not(entry, "2021", "ours"))
    memory = None
    if not setting.smoke and setting.device == "cpu":
        case = {"ours": {"who": "ours", "n": n, "n_classes": n_classes, "dim": dim}}
        found = peaks(entry, setting, "evaluation", "evaluate", case, {"n": 60, "n_classes": 12})
        memory = found["ours"].extra_mb
    entry.check(setting, "E2 memory", memory, SAME)
    z, labels = (t.to(setting.device) for t in retrieval_set(n, n_classes, dim))
    protocol = {
        "ours protocol, 1 of 10 draws": lambda: lambda: ours.marginal_retrieval(z, labels, 1)
    }
    brief = Setting(1, 0, setting.smoke, setting.device)
    once = versus(entry, brief, protocol).median("ours protocol, 1 of 10 draws")
    entry.notes.append("the protocol of ten draws is ten times one measured draw")
    entry.check(setting, "E3", 10 * once / 60)
    return entry


def equality(setting: Setting) -> Entry:
    """E4: the same numbers as 2021's, and what more metrics cost."""
    n, n_classes, dim = setting.size((10_000, 1_871, 512), (60, 12, 16))
    x, labels = unit_set(n, n_classes, dim)
    entry = Entry("retrieval equality", f"n={n}, {n_classes} classes, d={dim}")
    many = (1, 2, 4, 8, 10, 16, 32, 100)
    makers = {
        "ours R@1, MAP@R": lambda: lambda: ours.retrieval(x, labels),
        "ours, R@k at eight k": lambda: lambda: ours.retrieval(x, labels, ks=many),
    }
    result = versus(entry, setting, makers)
    differences: list[float | None] = [None, None]
    reason = ""
    try:
        peers.needed("faiss").omp_set_num_threads(1)
        theirs = reference_2021.retrieval(x.numpy(), labels.numpy())
        mine = ours.retrieval(x, labels)
        differences = [abs(a - b) for a, b in zip(theirs, mine, strict=True)]
    except NotAvailable as error:
        reason = str(error)
    entry.check(setting, "E4 R@1 difference", differences[0], reason)
    entry.check(setting, "E4 MAP@R difference", differences[1], reason)
    entry.check(setting, "E4 more metrics", result.ratio(*list(makers)[::-1]))
    fields = ours.retrieval_fields()
    wanted = {"mean average precision": ("map", "mean_average_precision"),
              "mean reciprocal rank": ("mrr", "mean_reciprocal_rank")}  # fmt: skip
    missing = [text for text, names in wanted.items() if not fields & set(names)]
    if missing:
        entry.notes.append(f"not among the scores yet: {', '.join(missing)}")
    return entry


def large_classes(setting: Setting) -> Entry:
    """E5: ten classes of a thousand rows."""
    n, n_classes, dim = setting.size((10_000, 10, 512), (60, 3, 16))
    entry = Entry("retrieval large classes", f"n={n}, {n_classes} classes, d={dim}")
    names = ("PML faiss", "PML CustomKNN", "ours", "ours torch")
    cases = {who: {"who": who, "n": n, "n_classes": n_classes, "dim": dim, "large_classes": True}
             for who in names}  # fmt: skip
    makers = {
        who: lambda case=case: evaluate(**case, device=setting.device)
        for who, case in cases.items()
    }
    result = versus(entry, setting, makers)
    for peer in names[:2]:
        reason = why_not(entry, peer, "ours")
        entry.check(setting, f"E5 {peer}", result.ratio(peer, "ours"), reason)
    share = None
    if not setting.smoke and setting.device == "cpu":
        found = peaks(entry, setting, "evaluation", "evaluate", cases, {"n": 60, "n_classes": 3})
        share = quotient(found["ours"], found["PML faiss"])
    entry.check(setting, "E5 memory", share, SAME)
    return entry


def main(setting: Setting) -> list[Entry]:
    """Everything of this family."""
    return [ten_thousand(setting), products(setting), equality(setting), large_classes(setting)]
