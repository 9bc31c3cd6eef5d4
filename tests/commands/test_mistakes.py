"""What a user types wrong is named, with what was meant, before work starts."""

import pytest

from tests.commands.run import MAIN, command, refused, succeeds
from tests.quick_cases import mostly_slow

TYPOS = {
    "mode.learning_rat=1": "did you mean 'mode.learning_rate'?",
    "metod=arcface": "did you mean 'method'?",
    "dataset=mnits": "did you mean 'mnist'?",
    "arch.params.embeding_dim=3": "did you mean 'arch.params.embedding_dim'?",
    "sampler.n_clases=3": "did you mean 'sampler.n_classes'?",
    "mode.epochs=ten": "expects a whole number",
    "mode.epochs=2.5": "expects a whole number",
    "mode.nesterov=3": "expects true or false",
    "resume=alway": "resume is one of auto, never",
    "mode.epochs=": "expects a whole number",
    "exper=demo": "did you mean 'experiment'?",
    "hydra.run.dirr=x": "did you mean 'hydra.run.dir'?",
    "dataset=3": "dataset has no option '3'. It has: ",
    "+mode.epoch=3": "nothing reads 'mode.epoch'; did you mean 'mode.epochs'?",
    "+epochs=3": "nothing reads 'epochs'; did you mean 'mode.epochs'?",
    "+optimizer.params.foo=3": "unexpected keyword argument 'foo'",
    "~mode.epochs": "nothing can be taken away",
    "name=": "expected a name",
    "name=a/../../b": "expected a name",
    "mode.learning_rate=-1": "mode.learning_rate=-1 is out of range",
    "random_seed=-1": "random_seed must be at least 0",
    "dataset.params=3": "expected keys and their values",
    "mode.momentum=2": "mode.momentum must be in [0, 1)",
    "run=.": "add mode=get_embeddings",
    "run=somewhere": "there is no such folder",
    "+method=arcface": "method has one option: type method=… once",
    "dataset.params.dataset_path=x": "there is no 'dataset.params.dataset_path'",
    "trainer.precision=bf8": "trainer.precision is one of no, bf16",
    "trainer.compile=yes": "trainer.compile expects true or false",
    "trainer.threads=0": "trainer.threads must be at least 1, or null",
    "trainer.data_on_device=often": "trainer.data_on_device is one of auto, true, false",
    "optimizer.params.fused=3": "expects true or false",
}


# one of each way in which a command is refused
QUICK_TYPOS = (
    *("mode.learning_rat=1", "metod=arcface", "dataset=mnits", "mode.epochs=ten", "resume=alway"),
    *("hydra.run.dirr=x", "+mode.epoch=3", "+optimizer.params.foo=3", "~mode.epochs"),
    *("name=a/../../b", "random_seed=-1", "run=.", "trainer.threads=0"),
)


@pytest.mark.parametrize("typo", mostly_slow(TYPOS, QUICK_TYPOS))
def test_typo_is_named_and_exits_with_2(typo, tmp_path):
    complaint = refused(MAIN, "dataset=digits", typo, cwd=tmp_path).replace("\n", " ")
    assert TYPOS[typo] in complaint
    key = typo.lstrip("+~").split("=")[0]
    # torch writes "learning rate" for learning_rate, and names no group
    assert key.split(".")[-1].replace("_", " ") in complaint.replace("_", " ")


def test_missing_data_names_the_place_and_the_remedy(tmp_path):
    complaint = refused(MAIN, "dataset=mnist", "dataset.params.download=false", cwd=tmp_path)
    assert "data/MNIST/raw" in complaint
    assert "dataset.params.dataset_path=" in complaint


def test_use_vmf_against_the_method_says_what_to_type(tmp_path):
    wrong = "arch.params.use_vmf=false"
    complaint = refused(MAIN, "method=vmf_softmax", "dataset=digits", wrong, cwd=tmp_path)
    assert "leave arch.params.use_vmf out of the command" in complaint


def test_too_few_classes_are_refused(tmp_path):
    complaint = refused(MAIN, "dataset=digits", "arch.params.n_classes=4", cwd=tmp_path)
    assert "10 training classes" in complaint


def test_extraction_from_a_missing_folder_is_refused_by_name(tmp_path):
    complaint = refused(MAIN, "mode=get_embeddings", "run=nowhere", cwd=tmp_path)
    assert "run=nowhere: no checkpoint" in complaint


def test_extraction_without_a_checkpoint_says_how_to_train(tmp_path):
    complaint = refused(MAIN, "mode=get_embeddings", "dataset=digits", cwd=tmp_path)
    assert "train first (the same command with mode=train)" in " ".join(complaint.split())


def test_help_names_every_group(tmp_path):
    shown = succeeds(MAIN, "--help", cwd=tmp_path)
    for group in "arch method dataset sampler mode optimizer logger trainer experiment".split():
        assert f"\n  {group} " in shown


HEAVY = {"torch", "numpy", "sklearn", "scipy", "faiss", "numba", "torchvision", "accelerate"}
QUICK = {  # statement, modules that it may not import, what it must print
    "help": ("main(['--help'])", HEAVY | {"hydra", "omegaconf"}, "dataset"),
    "import": ("import vmf_embeddings", HEAVY | {"hydra", "omegaconf", "yaml"}, ""),
    "rejected override": ("main(['mode.epoch=3'])", HEAVY, "did you mean 'mode.epochs'?"),
    "completion": ("main(['-sc', 'query=bash'])", HEAVY, "dataset=mnist"),
}


@pytest.mark.parametrize("name", QUICK)
def test_quick_answer_imports_nothing_slow(name, tmp_path):
    statement, slow, answer = QUICK[name]
    probe = (
        "import runpy, sys\n"
        "def main(arguments):\n"
        "    sys.argv = ['main', *arguments]\n"
        "    try:\n        runpy.run_module('vmf_embeddings.main', run_name='__main__')\n"
        "    except SystemExit:\n        pass\n"
        f"{statement}\n"
        f"slow = {slow} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else 0)\n"
    )
    (tmp_path / "probe.py").write_text(probe)
    line = "vmf_embeddings dataset=mn"
    done = command("probe", cwd=tmp_path, fresh=True, COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.returncode == 0, done.stderr
    assert answer in done.stdout + done.stderr


TARGETS = ("os.system", "torch.load", "vmf_embeddings.archs.base.torch.load")


@pytest.mark.parametrize("target", mostly_slow(TARGETS, (TARGETS[0], TARGETS[2])))
def test_target_outside_the_list_is_refused_by_name(target, tmp_path):
    complaint = refused(MAIN, "dataset=digits", f"arch.params._target_={target}", cwd=tmp_path)
    assert f"'{target}' may not be built" in " ".join(complaint.split())


def test_options_of_a_folder_of_ones_own_are_known(tmp_path):
    (tmp_path / "mine" / "dataset").mkdir(parents=True)
    text = "defaults: [folder, _self_]\nparams: {dataset_path: nowhere}\n"
    (tmp_path / "mine" / "dataset" / "own.yaml").write_text(text)
    own = ["--config-dir=mine", "dataset=own"]
    assert "nowhere is not a folder" in refused(MAIN, *own, cwd=tmp_path)
    complaint = refused(MAIN, *own, "dataset.params.image_siz=3", cwd=tmp_path)
    assert "did you mean 'dataset.params.image_size'?" in complaint


def test_sampler_that_cannot_be_filled_is_named_even_where_a_run_lies(tmp_path):
    short = ["dataset=digits", "mode.epochs=1", "sampler.n_episodes=1", "sampler.n_samples=2"]
    succeeds(MAIN, *short, cwd=tmp_path)
    complaint = refused(MAIN, *short, "sampler.n_classes=11", cwd=tmp_path)
    assert "n_classes" in complaint and "11" in complaint


def test_network_that_cannot_take_the_images_is_refused(tmp_path):
    complaint = refused(MAIN, "dataset=digits", "arch=resnet18", cwd=tmp_path)
    assert "arch.params.in_channels=1" in complaint
    assert "(1, 28, 28)" in complaint


def test_network_without_dimensions_is_refused(tmp_path):
    complaint = refused(MAIN, "dataset=digits", "arch.params.embedding_dim=0", cwd=tmp_path)
    assert "embedding_dim" in complaint and "at least 1" in complaint


COMPLAINTS = {
    "mode.learning_rate=-1": "mode.learning_rate=-1 is out of range",
    "mode.learning_rate=nan": "mode.learning_rate=nan: expected a finite number",
    "mode.weight_decay=-1": "mode.weight_decay=-1 is out of range",
    "optimizer.params.betas=[0.9,2]": "optimizer.params.betas=[0.9, 2] is out of range",
}


@pytest.mark.parametrize("typo", mostly_slow(COMPLAINTS, list(COMPLAINTS)[1::2]))
def test_an_optimizers_complaint_names_the_key(typo, tmp_path):
    optimizer = ["optimizer=adamw"] if "betas" in typo else []
    complaint = refused(MAIN, "dataset=digits", *optimizer, typo, cwd=tmp_path)
    assert COMPLAINTS[typo] in " ".join(complaint.split())
