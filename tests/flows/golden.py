"""Reads a flow out of the golden files: settings, and tensors under the names of today."""

import torch

from vmf_embeddings.flows import ConditionalFlow


def flow_of(data, case: str, dtype: torch.dtype = torch.float64) -> ConditionalFlow:
    """The flow of a golden case, its tensors loaded strictly."""
    x, said = data[f"{case}/x"], {k: data[f"{case}/{k}"].item() for k in SETTINGS}
    flow = ConditionalFlow(x.shape[1], *said.values()).to(dtype)
    own = f"{case}/state/"
    names = [k.removeprefix(own) for k in data if k.startswith(own)]
    state = {ours(n): torch.tensor(data[own + n]) for n in names if not permutes(n)}
    flow.load_state_dict(state | {"permutations": torch.tensor(data[f"{case}/permutations"])})
    return flow


SETTINGS = ("num_cblocks", "fc_depth", "fc_width", "clamp", "cond_mode")


def permutes(name: str) -> bool:
    return ".perm" in name


def ours(name: str) -> str:
    """Today's name of a tensor.

    The published modules are a permutation and a coupling in turn; their first network sees the
    first half.
    """
    if name.startswith("normflow_cond_prep.embedder."):
        place = name.removeprefix("normflow_cond_prep.embedder.")
        return f"conditions.nets.{place if place.count('.') == 2 else '0.' + place}"
    index, net, layer = name.removeprefix("normflow.normflow.module_list.").split(".", 2)
    which = {"subnet1": "by_head", "subnet2": "by_tail"}[net]
    return f"couplings.{int(index) // 2}.{which}.{layer}"
