"""Builds a `ConditionalFlow` from a golden file: its settings and the tensors of published code."""

import torch

from vmf_embeddings.flows import ConditionalFlow


def flow_of(data, case: str, dtype: torch.dtype = torch.float64) -> ConditionalFlow:
    """The flow of a golden case, its tensors loaded strictly."""
    x, settings = data[f"{case}/x"], {k: data[f"{case}/{k}"].item() for k in SETTINGS}
    flow = ConditionalFlow(x.shape[1], *settings.values()).to(dtype)
    prefix = f"{case}/state/"
    names = [k.removeprefix(prefix) for k in data if k.startswith(prefix)]
    state = {ours(n): torch.tensor(data[prefix + n]) for n in names if not permutes(n)}
    flow.load_state_dict(state | {"permutations": torch.tensor(data[f"{case}/permutations"])})
    return flow


SETTINGS = ("num_cblocks", "fc_depth", "fc_width", "clamp", "cond_mode")


def permutes(name: str) -> bool:
    return ".perm" in name


def ours(name: str) -> str:
    """The name in `ConditionalFlow.state_dict()` of a tensor of the published code.

    There permutations and couplings alternate in one list, and `subnet1` takes the first half.
    """
    if name.startswith("normflow_cond_prep.embedder."):
        place = name.removeprefix("normflow_cond_prep.embedder.")
        return f"conditions.nets.{place if place.count('.') == 2 else '0.' + place}"
    index, net, layer = name.removeprefix("normflow.normflow.module_list.").split(".", 2)
    which = {"subnet1": "by_head", "subnet2": "by_tail"}[net]
    return f"couplings.{int(index) // 2}.{which}.{layer}"
