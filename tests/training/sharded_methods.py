"""Methods whose classes can be divided among processes, made alike in every process."""

import functools

import torch
import torch.distributed as dist

from tests.criteria.made import node
from tests.methods.laws import TinyArch, normal
from vmf_embeddings.cli import assembly
from vmf_embeddings.heads import CosineHead, CosNormHead, LinearHead, TVMFHead
from vmf_embeddings.losses.ce import CrossEntropy
from vmf_embeddings.methods.arcface import ArcFace
from vmf_embeddings.methods.classifier import Classifier
from vmf_embeddings.methods.dml import DML
from vmf_embeddings.methods.elk import ELK
from vmf_embeddings.methods.normalized_sce import NormalizedSCE
from vmf_embeddings.methods.unnormalized_sce import UnnormalizedSCE
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax


def classifier(arch, head, *options):
    return Classifier(arch, functools.partial(head, **dict(options)), CrossEntropy(), 0.0)


def dml(arch, criterion, **options):
    return DML(arch, assembly.instantiate("criterion", node(criterion, **options)), None)


COSINE = (("bias", True), ("scale", None))
MAKE = {
    "vmf_softmax": lambda arch: VMFSoftmax(arch, 6, "exact", "exact", "exact"),
    "vmf_softmax iid": lambda arch: VMFSoftmax(arch, 3, "exact", "exact", "exact", "iid"),
    "elk": lambda arch: ELK(arch, "elk", "exact", None),
    "elk kl": lambda arch: ELK(arch, "kl", "exact", None),
    "elk apart": lambda arch: ELK(arch, "elk", "exact", None, 0.01),
    "normalized_sce": NormalizedSCE,
    "arcface": lambda arch: ArcFace(arch, 0.5, 0, False),
    "unnormalized_sce": UnnormalizedSCE,
    "linear": lambda arch: classifier(arch, LinearHead, ("bias", True)),
    "cosine": lambda arch: classifier(arch, CosineHead, *COSINE),
    "cosnorm": lambda arch: classifier(arch, CosNormHead, ("scale", None)),
    "tvmf": lambda arch: classifier(arch, TVMFHead, ("kappa", 4.0), *COSINE),
    "proxy_anchor": lambda arch: dml(arch, "proxy_anchor"),
    "proxy_anchor by classes": lambda arch: dml(arch, "proxy_anchor", average="classes"),
    "proxy_anchor_nca": lambda arch: dml(arch, "proxy_anchor_nca"),
    "proxy_nca": lambda arch: dml(arch, "proxy_nca"),
    "proxy_nca all": lambda arch: dml(arch, "proxy_nca", denominator="all"),
    "soft_triple": lambda arch: dml(arch, "soft_triple"),
    "softmax": lambda arch: dml(arch, "softmax", temperature=0.5),
    "criterion arcface": lambda arch: dml(arch, "arcface"),
    "criterion arcface reference": lambda arch: dml(arch, "arcface", variant="reference"),
}


def method_of(name, n_classes, dim):
    torch.manual_seed(0)
    vmf = name.startswith(("vmf", "elk"))
    learns = vmf or name in ("normalized_sce", "arcface")
    arch = TinyArch(
        n_classes, dim, use_vmf=vmf, learn_temp=learns, init_temp=-1.0 if learns else 0.0
    )
    method = MAKE[name](arch).double()
    with torch.no_grad():
        vectors = 3 * normal(n_classes, dim, seed=1)
        if method.class_parameters is None:
            method.class_weights.copy_(vectors)
        else:
            method.class_parameters.set_vectors(vectors)
    return method


def embeddings_and_labels(rows, n_classes, dim):
    embeddings = 4 * normal(rows, dim, seed=2)
    return embeddings.requires_grad_(), (3 * torch.arange(rows) + 1) % n_classes


class Counted:
    """Bytes of the tensors that a process receives, by collective operation."""

    def __init__(self):
        self.bytes = {}

    def __enter__(self):
        self.originals = {name: getattr(dist, name) for name in ("all_gather", "all_reduce")}
        for name, original in self.originals.items():
            setattr(dist, name, functools.partial(self._call, name, original))
        return self

    def _call(self, name, original, received, *rest, **options):
        tensors = received if isinstance(received, list) else [received]
        self.bytes.setdefault(name, []).append(sum(t.nbytes for t in tensors))
        return original(received, *rest, **options)

    def __exit__(self, *_):
        for name, original in self.originals.items():
            setattr(dist, name, original)


def rows_of_all(rows, world):
    parts = [None] * world
    dist.all_gather_object(parts, rows)
    return torch.cat(parts)
