"""Class logits of vMF embeddings (H3): two scalars per logit against draws of every class."""

from functools import partial

from benchmarks import ours, reference_2021
from benchmarks.measure import Case
from benchmarks.results import Entry, Setting, peaks, quotient, versus, why_not
from benchmarks.workloads import Shape, vmf_state

SHAPES = {
    "CIFAR100": Shape(128, 10, 100, 128, 0.4, 0.0),
    "C=1000": Shape(32, 10, 1000, 512, 0.7, -2.773),
}
TINY = Shape(4, 4, 7, 16, 0.4, 0.0)
BOTH = ("2021", "ours")


def predict(who: str, shape: Shape | dict, device: str = "cpu") -> Case:
    """Logits [B, S, C], image draws included, no gradient."""
    shape = shape if isinstance(shape, Shape) else Shape(**shape)
    state = vmf_state(shape, device=device)
    z, weights = state.z.detach(), state.weights.detach()
    if who == "2021":
        beta = (-state.tau).exp().detach()
        return lambda: reference_2021.vmf_prediction(z, weights, beta, shape.S)
    method = ours.vmf_method(weights, state.tau, shape.S)
    return lambda: method.logits(z)


def main(setting: Setting) -> list[Entry]:
    """Two shapes, time and memory."""
    entries, shares = [], []
    for name, real in SHAPES.items():
        shape = setting.size(real, TINY)
        entry = Entry(f"prediction {name}", f"logits, B,S,C,D = {shape}")
        makers = {who: partial(predict, who, shape, setting.device) for who in BOTH}
        result = versus(entry, setting, makers)
        reason = why_not(entry, *BOTH)
        entry.check(setting, f"H3 {name}", result.ratio("2021", "ours"), reason)
        if not setting.smoke and setting.device == "cpu":
            cases = {who: {"who": who, "shape": vars(shape)} for who in BOTH}
            found = peaks(entry, setting, "prediction", "predict", cases, {"shape": vars(TINY)})
            shares.append(quotient(found["ours"], found["2021"]))
        entries.append(entry)
    worst = None if not shares or None in shares else max(shares)
    reason = "memory is measured on the processor, real size"
    entries[-1].check(setting, "H3 memory", worst, reason)
    return entries
