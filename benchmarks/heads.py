"""Loss and gradients of the other heads: normalized softmax (H1), hyperbolic (H2), ArcFace."""

import torch

from benchmarks import ours, peers, reference_2021
from benchmarks.measure import Case
from benchmarks.results import Entry, Setting, peaks, quotient, versus, why_not

TINY = (8, 11, 16)
CURVATURE = 1e-5


def leaves(B: int, C: int, D: int, device: str) -> tuple[torch.Tensor, ...]:
    """z [B, D], weights [C, D], a second set of weights, labels [B], beta."""
    torch.manual_seed(0)
    z, w, p = (torch.randn(n, D, device=device).requires_grad_() for n in (B, C, C))
    labels = torch.randint(C, (B,), device=device)
    return z, w, p, labels, torch.tensor(16.0, device=device, requires_grad=True)


def normalized(who: str, B: int, C: int, D: int, device: str = "cpu") -> Case:
    """Normalized softmax; as yardsticks the same without normalising, and torch's fused one."""
    z, w, _, y, beta = leaves(B, C, D, device)
    functional = torch.nn.functional
    losses = {
        "2021": lambda: reference_2021.normalized_loss(z, w, y, beta),
        "ours": lambda: ours.normalized_loss(z, w, y, beta),
        "plain softmax": lambda: functional.cross_entropy(beta * (z @ w.T), y),
        "linear_cross_entropy": lambda: peers.linear_cross_entropy(beta * z, w, y),
    }
    if who == "compiled 2021":
        compiled = peers.compiled(reference_2021.normalized_loss)
        losses[who] = lambda: compiled(z, w, y, beta)
    elif who == "linear_cross_entropy":
        losses[who]()  # where this torch has none it says so before the timing
    return lambda: torch.autograd.grad(losses[who](), [z, w, beta])


def arcface(who: str, B: int, C: int, D: int, device: str = "cpu") -> Case:
    """ArcFace with margin 0.5."""
    z, w, _, y, beta = leaves(B, C, D, device)
    function = reference_2021.arcface_loss if who == "2021" else ours.arcface_loss
    return lambda: torch.autograd.grad(function(z, w, y, beta), [z, w, beta])


def hyperbolic(who: str, B: int, C: int, D: int, device: str = "cpu") -> Case:
    """Hyperbolic multinomial regression on embeddings, curvature 1e-5 as configured."""
    z, a, p, y, _ = leaves(B, C, D, device)
    function = reference_2021.hyperbolic_loss if who == "2021" else ours.hyperbolic_loss
    return lambda: torch.autograd.grad(function(z, a, p, y, CURVATURE), [z, a, p])


def entry_of(
    setting: Setting, make, key: str | None, label: str, names: tuple[str, ...], shape
) -> Entry:
    """One head at one shape."""
    B, C, D = setting.size(shape, TINY)
    entry = Entry(f"{make.__name__} {label}", f"loss and gradients, B,C,D = {(B, C, D)}")
    if setting.smoke:
        # the compiler and what torch loads for the fused loss take longer than all the rest
        names = tuple(n for n in names if n not in ("compiled 2021", "linear_cross_entropy"))
    makers = {who: lambda who=who: make(who, B, C, D, setting.device) for who in names}
    result = versus(entry, setting, makers)
    if key is not None:
        entry.check(setting, key, result.ratio("2021", "ours"), why_not(entry, "2021", "ours"))
    return entry


def main(setting: Setting) -> list[Entry]:
    """Everything of this family."""
    softmax = ("2021", "compiled 2021", "ours", "plain softmax", "linear_cross_entropy")
    both = ("2021", "ours")
    entries = [
        entry_of(setting, normalized, "H1 SOP", "SOP", softmax, (64, 9620, 512)),
        entry_of(setting, normalized, "H1 iNat", "iNat", softmax, (256, 8142, 512)),
        entry_of(setting, arcface, None, "SOP", both, (64, 9620, 512)),
        entry_of(setting, hyperbolic, "H2 CIFAR100", "CIFAR100", both, (256, 100, 128)),
        entry_of(setting, hyperbolic, "H2 C=1000", "C=1000", both, (64, 1000, 512)),
    ]
    share = None
    if not setting.smoke and setting.device == "cpu":
        cases = {who: {"who": who, "B": 64, "C": 1000, "D": 512} for who in both}
        found = peaks(
            entries[-1], setting, "heads", "hyperbolic", cases, {"B": 8, "C": 11, "D": 16}
        )
        share = quotient(found["ours"], found["2021"])
    entries[-1].check(setting, "H2 memory", share, "memory is measured on the processor, real size")
    return entries
