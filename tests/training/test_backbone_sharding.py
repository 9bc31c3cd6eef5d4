"""Backbones that are divided among processes over gloo: weights, checkpoints, memory."""

import json
import shutil
from importlib.util import find_spec

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from tests.training.few_digits import trained
from tests.training.test_runs_in_processes import assert_alike, float64
from vmf_embeddings.training import backbone_sharding, checkpoint
from vmf_embeddings.untrusted.refused import Refused

RESNET = ["arch=resnet32", "arch.params.depth=8", "arch.params.width=4"]
RESNET += ["arch.params.embedding_dim=16", "arch.params.in_channels=1"]
VIT = ["arch=timm", "arch.params.model=vit_tiny_patch16_224", "arch.params.in_channels=1"]
VIT += ["arch.params.embedding_dim=7"]
VIT += ["arch.params.options={img_size: 28, patch_size: 14, depth: 2, embed_dim: 12, num_heads: 2}"]
ADAM = ["optimizer=adamw", "mode.learning_rate=0.001", "+optimizer.params.eps=1e-3"]
IN_PARTS = ["trainer.micro_batches=3", "trainer.activation_checkpointing=true"]
EVEN = ["sampler.batch_size=30"]
TRAINED = {
    "resnet": [*RESNET, "method=normalized_sce", "arch.params.learn_temp=true", *EVEN]
    + ["trainer.activation_checkpointing=true"],
    "vit": [*VIT, "method=dml", "criterion=proxy_anchor", *ADAM, *IN_PARTS],
    "vit head": [*VIT, "method=classifier", "head=cosine", *IN_PARTS, "mode.evaluate_on=[test]"],
    "no head": [*VIT, "method=dml", "criterion=multisimilarity", *ADAM],
    "lora": [*VIT, "method=normalized_sce", "arch.params.lora={rank: 2}"],
}
# classes are divided as well
BOTH = "trainer.shard_classes=true"
TRAINED["both"] = [*RESNET, "method=normalized_sce", "arch.params.learn_temp=true", *EVEN]
TRAINED["both vit"] = [*VIT, "method=dml", "criterion=proxy_anchor", *ADAM, *IN_PARTS]
MISSING = {"lora"} if find_spec("peft") is None else set()
MISSING |= set(TRAINED) - {"resnet", "both"} if find_spec("timm") is None else set()
QUICK = [name for name in ("resnet", "vit", "both") if name not in MISSING]
SHARDED = "trainer.shard_backbone=true"


def learnt(name, folder, *overrides, epochs=1):
    """The last checkpoint's weights and optimizer state, and the metrics of every epoch."""
    with float64():
        trained(folder, *TRAINED[name], f"mode.epochs={epochs}", *overrides)
    state = checkpoint.load(folder / "last.pt")
    found = dict(state["method_state_dict"])
    found |= {f"arch alone {k}": x for k, x in state["arch_state_dict"].items()}
    for number, values in state["optimizer_state_dict"]["state"].items():
        found |= {f"{number}.{key}": x for key, x in values.items() if isinstance(x, torch.Tensor)}
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    for number, line in enumerate(lines):
        row = json.loads(line)
        keys = ("train_loss", "valid_metric", *sorted(k for k in row if "/" in k))
        found[f"epoch {number}"] = torch.tensor([row.get(k, 0.0) for k in keys]).double()
    return found


def parts_of(name, folder):
    """Numbers that this process's model, gradients and optimizer hold, and those of the whole."""
    found = {}
    original = backbone_sharding.ShardedBackbone.connect

    def connect(self, optimizer):
        original(self, optimizer)
        found["own"] = sum(p.to_local().numel() for p in self.local)
        found["whole"] = sum(p.numel() for p in self.local)
        found["outside"] = {
            k: p.numel() for k, p in self.method.named_parameters() if not isinstance(p, DTensor)
        }

        def after(optimizer, *_):
            held = [x for values in optimizer.state.values() for x in values.values()]
            found["state"] = sum(x.numel() for x in held if x is not None)

        optimizer.register_step_post_hook(after)

    backbone_sharding.ShardedBackbone.connect = connect
    try:
        learnt(name, folder, SHARDED)
    finally:
        backbone_sharding.ShardedBackbone.connect = original
    return found


def of_process(rank, world, folder, names=QUICK):
    folder = folder / "backbone"

    def of_run(name):
        also = [BOTH] if name.startswith("both") else []
        return learnt(name, folder / f"{name}_{world}", SHARDED, *also)

    return {name: of_run(name) for name in names}


def of_process_with_all(rank, world, folder):
    found = of_process(rank, world, folder, [name for name in TRAINED if name not in MISSING])
    own = folder / f"backbone_resumed_{world}"
    learnt("resnet", own)
    dist.barrier()
    found["resumed"] = learnt("resnet", own, SHARDED, epochs=2)
    both = folder / f"both_resumed_{world}"
    learnt("both", both, SHARDED, BOTH)
    dist.barrier()
    found["both resumed"] = learnt("both", both, SHARDED, BOTH, epochs=2)
    found["parts"] = parts_of("resnet", folder / f"backbone_parts_{world}")
    found["folder"] = str(own)
    return found


def check_runs(processes, tmp_path):
    for name in [name for name in TRAINED if name in processes[0]]:
        alone = learnt(name, tmp_path / name)
        for each in processes:
            assert_alike(each[name], alone)


def test_a_run_in_two_processes_has_the_weights_of_one(of_two_processes, tmp_path):
    check_runs(of_two_processes["test_backbone_sharding"], tmp_path)


@pytest.mark.slow
def test_more_runs_in_more_processes(of_several, tmp_path):
    """Also resumed with divided weights, and then in one process with whole ones."""
    processes = of_several["test_backbone_sharding"]
    check_runs(processes, tmp_path)
    alone = learnt("resnet", tmp_path / "alone", epochs=2)
    for each in processes:
        assert_alike(each["resumed"], alone)
        assert_alike(each["both resumed"], alone)
        own, whole, outside = (each["parts"][key] for key in ("own", "whole", "outside"))
        assert own <= whole / len(processes) * 1.2
        assert own < each["parts"]["state"] <= own + sum(outside.values())
        assert not any("arch" in name for name in outside)
    shutil.copytree(processes[0]["folder"], tmp_path / "further")
    further = learnt("resnet", tmp_path / "further", epochs=3)
    assert_alike(further, learnt("resnet", tmp_path / "three", epochs=3))


REFUSED = {
    "use mode.warmup_epochs=0": ["mode.warmup_epochs=1"],
    "a frozen backbone has no gradient": ["arch.params.frozen=true"],
    "no residual or transformer blocks": ["arch=n_digit_mnist"],
    "this criterion takes features": ["method=dml", "criterion=s2sd"],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_go_together_is_refused_before_training(message, tmp_path):
    asked = [*RESNET, "method=normalized_sce", SHARDED, "mode.epochs=1", *REFUSED[message]]
    if "arch=n_digit_mnist" in asked:
        asked = asked[len(RESNET) :]
    with pytest.raises(Refused, match=f"trainer.shard_backbone=true: .*{message}"):
        trained(tmp_path, *asked)
    assert not list(tmp_path.glob("*.pt"))


def test_an_optimizer_with_a_norm_is_refused():
    with pytest.raises(Refused, match="Adagrad needs all parameters"):
        backbone_sharding.ShardedBackbone(torch.nn.Identity(), 0, 2, {}).connect(
            torch.optim.Adagrad([torch.nn.Parameter(torch.ones(1))])
        )


def test_one_process_has_the_whole_backbone(tmp_path):
    alone = learnt("resnet", tmp_path / "plain")
    assert_alike(learnt("resnet", tmp_path / "asked", SHARDED), alone)
