"""Laws of LoRA: it begins at the given weights, and they stay as they are."""

import sys
from importlib.util import find_spec

import pytest
import torch

import vmf_embeddings.torchvision_compat  # noqa: F401 - must come before torchvision
from tests.archs.test_partial_freezing import step
from tests.archs.test_seams import build

timm = pytest.importorskip("timm", reason="the extra timm is not installed")
pytestmark = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")
IMAGES = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))


def with_lora(model="test_vit", **options):
    lora = {"rank": 2, **options}
    return build("timm", model=model, embedding_dim=4, lora=lora)


def test_training_begins_at_the_weights_of_the_file(tmp_path):
    donor = timm.create_model("test_vit", num_classes=0).eval()
    torch.save(donor.state_dict(), tmp_path / "w.pth")
    arch = build(
        "timm",
        model="test_vit",
        embedding_dim=4,
        lora={"rank": 2},
        weights=str(tmp_path / "w.pth"),
    ).eval()
    arch.load_pretrained()
    with torch.no_grad():
        torch.testing.assert_close(arch.features(IMAGES), donor(IMAGES))


def test_only_the_updates_and_the_projection_change():
    arch = with_lora()
    step(arch, IMAGES)  # B is 0 before it, so that A gets no gradient yet
    changed = step(arch, IMAGES)
    assert all(".lora_" in name or name.startswith("projection.") for name in changed)
    for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        assert f"trunk.blocks.5.{layer}.lora_A.default.weight" in changed


def test_an_update_has_rank_times_both_widths_parameters():
    qkv = with_lora(target=["qkv"], rank=3)
    learned = sum(p.numel() for n, p in qkv.named_parameters() if ".lora_" in n)
    assert learned == 6 * 3 * (64 + 3 * 64)


def test_the_state_loads_into_a_net_of_the_same_options():
    one, other = with_lora(), with_lora()
    step(one, IMAGES)
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        assert torch.equal(one.eval()(IMAGES), other.eval()(IMAGES))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "test_resnet"}, "test_resnet has no linear layers named qkv.*trainable_from"),
        ({"target": ["kqv"]}, "no linear layers named kqv; it has fc1, fc2, proj, qkv"),
        ({"rank": 0}, "rank must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"r": 4}, "lora takes rank, alpha, dropout, target .*got 'r'"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        with_lora(**options)


def test_a_missing_peft_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match="pip install peft"):
        with_lora()
