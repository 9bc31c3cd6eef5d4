"""Laws of partial freezing: what stands before the named layer keeps weights and statistics."""

import pytest
import torch

import vmf_embeddings.torchvision_compat  # noqa: F401 - must come before torchvision
from tests.archs.test_seams import build

timm = pytest.importorskip("timm", reason="the extra timm is not installed")


def step(arch, images):
    """One update with a large learning rate; names of parameters and statistics that changed."""
    before = {name: value.clone() for name, value in arch.state_dict().items()}
    arch.train()
    loss = arch(images).square().sum()
    loss.backward()
    with torch.no_grad():
        for parameter in arch.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    return {n for n, value in arch.state_dict().items() if not torch.equal(value, before[n])}


def test_a_resnet_learns_from_the_named_stage_on():
    arch = build("resnet18", embedding_dim=4, trainable_from="layer4")
    changed = step(arch, torch.rand(4, 3, 32, 32))
    assert changed
    assert all(name.startswith(("trunk.layer4.", "projection.")) for name in changed)
    assert any("running_mean" in name for name in changed)


@pytest.mark.parametrize("layer", ("blocks.4", 4, "-2"))
def test_a_transformer_learns_from_a_block_on_by_name_or_index(layer):
    arch = build("timm", model="test_vit", embedding_dim=4, trainable_from=layer)
    n_blocks = len(arch.trunk.blocks)
    assert n_blocks == 6
    learning = {name for name, p in arch.named_parameters() if p.requires_grad}
    first = {name.split(".")[2] for name in learning if name.startswith("trunk.blocks.")}
    assert first == {"4", "5"}
    assert "trunk.cls_token" not in learning
    assert "trunk.norm.weight" in learning
    assert not arch.train().trunk.blocks[0].training
    assert arch.trunk.blocks[5].training


def test_a_layer_inside_a_block_splits_the_block():
    arch = build("resnet18", embedding_dim=4, trainable_from="layer4.1.conv2")
    learning = {name for name, p in arch.named_parameters() if p.requires_grad}
    assert {n for n in learning if n.startswith("trunk")} == {
        "trunk.layer4.1.conv2.weight",
        "trunk.layer4.1.bn2.weight",
        "trunk.layer4.1.bn2.bias",
    }


@pytest.mark.parametrize(
    ("model", "layer", "message"),
    [
        ("test_vit", "block.2", r"did you mean blocks.2 or .*It has patch_embed.*blocks.5"),
        ("test_vit", 9, "has 6 blocks, 0 to 5, or -1 to -6"),
        ("test_resnet", 2, "no `blocks` to count; name a layer: conv1, .*layer4"),
    ],
)
def test_unknown_layers_are_refused_with_those_that_there_are(model, layer, message):
    with pytest.raises(ValueError, match=message):
        build("timm", model=model, embedding_dim=4, trainable_from=layer)
