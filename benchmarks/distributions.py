"""Distributions of the sphere: accuracy against mpmath, and time against SciPy and scikit-learn.

python -m benchmarks.distributions [--rounds 7] [--out FOLDER]: writes distributions.json, and
distributions.md, whose tables docs/directional.md has. One thread; times are those of the process,
and cases take turns.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import torch
from scipy import stats
from sklearn.cluster import KMeans

from benchmarks import machine
from benchmarks import reference_distributions as plain
from vmf_embeddings.directional import (
    PowerSpherical,
    VonMisesFisher,
    VonMisesFisherMixture,
    log_normalizer,
    mean_cosine,
    mean_cosine_inverse,
)

DIMS = (2, 3, 16, 128, 512, 2048, 10_000)
KAPPAS = (1e-3, 1.0, 30.0, 1e3, 1e5, 1e6)
N, D, K = 60_000, 128, 100


def exact(dim: int, kappa: float) -> dict[str, mpmath.mpf]:
    """log C, A and the entropy with 40 digits."""
    with mpmath.workdps(40):
        order, k = mpmath.mpf(dim) / 2 - 1, mpmath.mpf(kappa)
        bessel = mpmath.besseli(order, k, maxterms=10**8)
        log_c = order * mpmath.log(k) - mpmath.mpf(dim) / 2 * mpmath.log(2 * mpmath.pi)
        log_c -= mpmath.log(bessel)
        cosine = mpmath.besseli(order + 1, k, maxterms=10**8) / bessel
        return {"log_normalizer": log_c, "mean_cosine": cosine, "entropy": -log_c - k * cosine}


def found(dim: int, kappa: float) -> dict[str, dict[str, float]]:
    """The same by this package, by the plain formulas, and by SciPy's distribution."""
    k, array = torch.tensor(kappa, dtype=torch.float64), np.array(kappa)
    mu = torch.eye(1, dim, dtype=torch.float64)[0]
    ours = {
        "log_normalizer": log_normalizer(k, dim).item(),
        "mean_cosine": mean_cosine(k, dim).item(),
        "entropy": VonMisesFisher(mu, k).entropy().item(),
    }
    names = ("log_normalizer", "mean_cosine", "entropy")
    ive = {name: float(getattr(plain, name)(array, dim)) for name in names}
    return {"ours": ours, "ive": ive, "scipy": _scipy(mu.numpy(), kappa)}


def _scipy(mu: np.ndarray, kappa: float) -> dict[str, float]:
    with np.errstate(all="ignore"):
        law = stats.vonmises_fisher(mu, kappa)
        return {"log_normalizer": float(law.logpdf(mu)) - kappa, "entropy": float(law.entropy())}


def accuracy() -> list[dict]:
    """Errors in nats, of the mean cosine relative; None = not a finite number."""
    rows = []
    for dim in DIMS:
        for kappa in KAPPAS:
            wanted, given = exact(dim, kappa), found(dim, kappa)
            row = {"dim": dim, "kappa": kappa}
            for who, values in given.items():
                for name, value in values.items():
                    scale = wanted[name] if name == "mean_cosine" else 1
                    is_number = np.isfinite(value)
                    error = abs((mpmath.mpf(value) - wanted[name]) / scale) if is_number else None
                    row[f"{who} {name}"] = None if error is None else float(error)
            r = float(wanted["mean_cosine"])
            if 0 < r < 1 - 1e-9:
                inverse = mean_cosine_inverse(torch.tensor(r, dtype=torch.float64), dim).item()
                row["ours inverse"] = abs(inverse / kappa - 1)
                row["banerjee inverse"] = abs(plain.banerjee_kappa(r, dim) / kappa - 1)
            rows.append(row)
    return rows


def alternating(cases: dict[str, Callable[[], float]], rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of each case and their median ratio to the first; the order turns every round."""
    seconds = {name: [] for name in cases}
    for case in cases.values():
        case()
    names = list(cases)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(cases[name]())
    first = np.array(seconds[names[0]])
    return {
        name: {
            "seconds": float(np.median(values)),
            "ratio": float(np.median(np.array(values) / first)),
            "quartiles": np.quantile(np.array(values) / first, (0.25, 0.75)).tolist(),
        }
        for name, values in seconds.items()
    }


def timed(call: Callable[[], object], repeats: int = 1) -> Callable[[], float]:
    def run() -> float:
        began = time.process_time()
        for _ in range(repeats):
            call()
        return (time.process_time() - began) / repeats

    return run


def draws(dim: int, kappa: float, n: int = 20_000) -> dict[str, Callable[[], float]]:
    """n draws of one law."""
    mu, rng = np.ones(dim) / dim**0.5, np.random.default_rng(0)
    loc, k = torch.tensor(mu, dtype=torch.float32), torch.tensor(kappa)
    vmf, power = (
        VonMisesFisher(loc, k),
        PowerSpherical.from_von_mises_fisher(VonMisesFisher(loc, k)),
    )
    law = stats.vonmises_fisher(mu, kappa, seed=0)
    return {
        "ours": timed(lambda: vmf.sample((n,)), 3),
        "scipy": timed(lambda: law.rvs(n)),
        "plain": timed(lambda: plain.wood_sample(mu, kappa, n, rng)),
        "power spherical": timed(lambda: power.sample((n,)), 3),
    }


def densities(dim: int, n: int = 20_000) -> dict[str, Callable[[], float]]:
    """Log normalisers and mean cosines of n concentrations."""
    kappa = torch.linspace(1.0, 500.0, n, dtype=torch.float64)
    array = kappa.numpy()
    return {
        "ours": timed(lambda: (log_normalizer(kappa, dim), mean_cosine(kappa, dim)), 3),
        "plain": timed(lambda: (plain.log_normalizer(array, dim), plain.mean_cosine(array, dim))),
    }


def steps(noise: float) -> dict[str, Callable[[], float]]:
    """Seconds of one step of k-means and of both kinds of EM, from the same centres."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(K, D))
    x = centres[rng.integers(K, size=N)] + noise * rng.normal(size=(N, D))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    first = x[rng.choice(N, K, replace=False)].copy()

    def mixture(kind: str) -> Callable[[int], object]:
        options = {"init": first, "responsibilities": kind, "tol": 0.0, "quiet": True}
        return lambda n: VonMisesFisherMixture(K, max_iter=n, **options).fit(x)

    def per_step(fit: Callable[[int], object]) -> Callable[[], float]:
        short, long = timed(lambda: fit(2)), timed(lambda: fit(12))
        return lambda: (long() - short()) / 10

    return {
        "KMeans": per_step(lambda n: KMeans(K, init=first, n_init=1, max_iter=n, tol=0).fit(x)),
        "hard": per_step(mixture("hard")),
        "soft": per_step(mixture("soft")),
    }


ACCURACY = {
    "log C: here": "ours log_normalizer",
    "Bessel formula": "ive log_normalizer",
    "SciPy": "scipy log_normalizer",
    "mean cosine: here": "ours mean_cosine",
    "Bessel formula ": "ive mean_cosine",
    "entropy: here": "ours entropy",
    "SciPy ": "scipy entropy",
    "kappa of a mean cosine: here": "ours inverse",
    "Banerjee": "banerjee inverse",
}


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.strip() for cell in line)} |" for line in lines)


def accuracy_table(results: dict) -> str:
    """Largest error over the concentrations, and how many results are no finite number."""

    def cell(rows: list[dict], key: str) -> str:
        values = [row[key] for row in rows if key in row]
        finite = [value for value in values if value is not None]
        lost = f", {len(values) - len(finite)} of {len(values)} not finite"
        return f"{max(finite):.1e}" + (lost if len(finite) < len(values) else "")

    lines = []
    for dim in DIMS:
        rows = [row for row in results["accuracy"] if row["dim"] == dim]
        lines.append([f"{dim:,}", *(cell(rows, key) for key in ACCURACY.values())])
    return table(["D", *ACCURACY], lines)


def speed_table(results: dict) -> str:
    """Milliseconds, and times as multiples of the first case of each row."""
    lines = []
    for section in ("draws", "log C and A", "steps"):
        for name, cases in results[section].items():
            (first, base), *others = cases.items()
            ratios = ", ".join(f"{who} {case['ratio']:.2f}" for who, case in others)
            lines.append([section, name, f"{first} {1e3 * base['seconds']:.2f} ms", ratios])
    return table(["what", "case", "time", "as a multiple of that"], lines)


def main() -> int:
    """Measures everything and writes distributions.json and distributions.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    folder = Path(__file__).parent / "results" / "distributions"
    parser.add_argument("--out", type=Path, default=folder)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results = {"machine": machine.describe("cpu"), "accuracy": accuracy()}
    results["draws"] = {
        f"d={d} kappa={k:g}": alternating(draws(d, k), asked.rounds)
        for d, k in ((3, 20.0), (128, 100.0), (512, 1000.0))
    }
    results["log C and A"] = {
        f"d={d}": alternating(densities(d), asked.rounds) for d in (3, 16, 128, 512)
    }
    results["steps"] = {
        name: alternating(steps(noise), asked.rounds)
        for name, noise in (("clear clusters", 1.0), ("overlapping clusters", 5.0))
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1) + "\n"
    (asked.out / "distributions.json").write_text(text, encoding="utf-8")
    tables = f"{accuracy_table(results)}\n\n{speed_table(results)}\n"
    (asked.out / "distributions.md").write_text(tables, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
