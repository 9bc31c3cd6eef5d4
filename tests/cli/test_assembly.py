"""Only listed targets are built, whatever a configuration says."""

import pytest
from omegaconf import OmegaConf

from vmf_embeddings.cli import assembly
from vmf_embeddings.cli.assembly import targets

ATTACKS = {
    "arch": [
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.hub.load",
        "vmf_embeddings.archs.base.torch.load",  # our module, someone else's function
        "vmf_embeddings.archs.base.torch",  # a module
        "vmf_embeddings.archsevil.Arch",
    ],
    "dataset": ["vmf_embeddings.datasets.prepare.download.download", "pathlib.Path.unlink"],
    "optimizer": ["torch.optim.optimizer.torch.load", "subprocess.run"],
}


@pytest.mark.parametrize(("group", "target"), [(g, t) for g, ts in ATTACKS.items() for t in ts])
def test_attack_is_refused_before_anything_is_called(group, target):
    with pytest.raises(assembly.Refused, match="_target_"):
        assembly.instantiate(group, OmegaConf.create({"params": {"_target_": target}}))


def test_attack_nested_in_a_harmless_node_is_refused():
    node = {
        "params": {
            "_target_": "vmf_embeddings.archs.n_digit_mnist.NDigitMnist",
            "embedding_dim": {"_target_": "os.getpid"},
        }
    }
    with pytest.raises(assembly.Refused, match=r"os\.getpid"):
        assembly.instantiate("arch", OmegaConf.create(node))


def test_environment_extends_the_list(monkeypatch):
    monkeypatch.setattr(targets, "BY_USER", ("collections.Counter",))
    built = assembly.instantiate(
        "arch", OmegaConf.create({"params": {"_target_": "collections.Counter"}})
    )
    assert built == {}


def test_configuration_of_2021_is_told_what_changed():
    with pytest.raises(assembly.Refused, match="Configurations of 2021"):
        assembly.instantiate("arch", OmegaConf.create({"target": "x.Y", "params": {"a": 1}}))


def test_sweep_folders_of_different_overrides_differ_even_when_shortened():
    long = [f"arch.params.weights=/{'a' * 300}/{i},mode.epochs=3" for i in range(20)]
    folders = {assembly.sweep_folder(overrides) for overrides in long}
    assert len(folders) == 20
    assert all("/" not in folder and len(folder) < 200 for folder in folders)
