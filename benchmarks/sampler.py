"""Draws of the vMF law: speed (S1, S2) and quality (S3)."""

import numpy as np
import torch

from benchmarks import ours, peers, reference_2021
from benchmarks.measure import Case
from benchmarks.results import Entry, NotAvailable, Setting, versus, why_not

KAPPAS = (0.1, 1.0, 9.0, 10.0, 11.0, 12.0, 60.0, 700.0, 1e4, 1e6)
DIMS = (2, 3, 10, 128, 512)
SIGNIFICANCE = 1e-3  # of all tests together


def draws(who: str, n: int, dim: int, kappa: float, device: str = "cpu") -> Case:
    """n laws of dimension dim, one draw each, no gradient; "normals" is the floor: torch.randn."""
    torch.manual_seed(0)
    mu = torch.nn.functional.normalize(torch.randn(n, dim, device=device), dim=-1)
    concentration = torch.full((n,), kappa, device=device)
    if who == "normals":
        return lambda: torch.randn(n, dim, device=device)
    if who == "2021":

        @torch.no_grad()
        def run() -> torch.Tensor:
            return reference_2021.sample(mu, concentration[:, None], 1)

        return run
    return lambda: ours.sample(mu, concentration, 1)


def one_mu(who: str, n: int, dim: int, kappa: float, device: str = "cpu") -> Case:
    """n draws of one law."""
    mu = np.ones(dim) / dim**0.5
    if who == "scipy":
        rvs = peers.scipy_sampler(mu, kappa)
        return lambda: rvs(n)
    direction = torch.tensor(mu, dtype=torch.float32, device=device)
    return lambda: ours.sample(direction, torch.tensor(kappa, device=device), n)


def speed(setting: Setting) -> list[Entry]:
    """S1 at two dimensions, small batches beside it, and S2."""
    entries = []
    sizes = ((60_000, 512, 700.0, "S1 d=512"), (60_000, 128, 60.0, "S1 d=128"),
             (2560, 512, 700.0, None), (2560, 128, 60.0, None), (2560, 3, 0.9, None))  # fmt: skip
    for n, dim, kappa, key in sizes:
        n, dim = setting.size((n, dim), (20, min(dim, 16)))
        entry = Entry(f"draws {n} x {dim}", f"{n} laws, dimension {dim}, kappa {kappa:g}")
        names = ("2021", "ours", "normals")
        makers = {
            w: lambda w=w, n=n, dim=dim, kappa=kappa: draws(w, n, dim, kappa, setting.device)
            for w in names
        }
        result = versus(entry, setting, makers)
        if key is not None:
            entry.check(setting, key, result.ratio("2021", "ours"), why_not(entry, *names))
        entries.append(entry)
    n, dim = setting.size((2560, 512), (20, 16))
    entry = Entry("draws of one law", f"{n} draws, dimension {dim}, kappa 700")
    makers = {w: lambda w=w: one_mu(w, n, dim, 700.0, setting.device) for w in ("scipy", "ours")}
    result = versus(entry, setting, makers)
    entry.check(setting, "S2", result.ratio("scipy", "ours"), why_not(entry, "scipy", "ours"))
    return [*entries, entry]


def passes(draw, dim: int, kappa: float, n: int, n_tests: int) -> bool:
    """KS along mu and along a random direction against scipy, and the mean against A_d."""
    stats = peers.needed("scipy.stats")
    rng = np.random.default_rng(dim)
    mu, other = (v / np.linalg.norm(v) for v in rng.standard_normal((2, dim)))
    theirs = peers.scipy_sampler(mu, kappa, seed=1)(n)
    mine = draw(torch.tensor(mu), kappa, n).double().numpy()
    pairs = [(mine @ axis, theirs @ axis) for axis in (mu, other)]
    levels = [stats.ks_2samp(*pair).pvalue for pair in pairs]
    exact = float(ours.mean_cosine(torch.tensor(kappa, dtype=torch.float64), dim))
    along = pairs[0][0]
    sigma = abs(along.mean() - exact) / max(along.std() / n**0.5, 1e-12)
    return min(levels) > SIGNIFICANCE / (2 * n_tests) and sigma < 4


def quality(setting: Setting) -> Entry:
    """S3: the gate over all kappa and d, for ours and for the repaired sampler of 2021."""
    kappas, dims = setting.size((KAPPAS, DIMS), ((0.1, 60.0), (3, 10)))
    n, cells = setting.size(5000, 200), [(d, k) for d in dims for k in kappas]
    entry = Entry("quality of draws", f"{len(cells)} laws, {n} draws each, float64 mu")

    def repaired(mu, kappa, n):
        concentration = torch.full((1,), kappa, dtype=mu.dtype)
        return reference_2021.sample(mu, concentration, n)

    samplers = {
        "ours": lambda mu, kappa, n: ours.sample(mu, torch.tensor(kappa, dtype=mu.dtype), n),
        "ours, 2021 for parity": lambda mu, kappa, n: ours.sample(
            mu, torch.tensor(kappa, dtype=mu.dtype), n, "reference"
        ),
        "2021 repaired": repaired,
    }
    try:
        for name, draw in samplers.items():
            torch.manual_seed(0)
            good = [passes(draw, d, k, n, len(cells)) for d, k in cells]
            failed = [
                f"d={d} kappa={k:g}" for (d, k), ok in zip(cells, good, strict=True) if not ok
            ]
            entry.figures[name] = {"passed": sum(good), "of": len(cells), "failed": failed}
        value = entry.figures["ours"]["passed"] / len(cells)
        entry.check(setting, "S3 passed", value)
    except NotAvailable as reason:
        entry.check(setting, "S3 passed", None, str(reason))
    return entry


def main(setting: Setting) -> list[Entry]:
    """Everything of this family."""
    return [*speed(setting), quality(setting)]
