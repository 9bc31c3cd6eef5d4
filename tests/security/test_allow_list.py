"""No name that a configuration can hold builds anything but what its group may build."""

import pytest
from omegaconf import OmegaConf

from vmf_embeddings.cli import assembly
from vmf_embeddings.cli.assembly import targets

TRICKS = {
    "a function of the system": ("dataset", "os.system"),
    "a built-in": ("arch", "builtins.eval"),
    "an unpickler": ("arch", "torch.load"),
    "code from the net": ("arch", "torch.hub.load"),
    "a process": ("optimizer", "subprocess.run"),
    "a name imported in our module": ("arch", "vmf_embeddings.archs.base.torch.load"),
    "our module itself": ("arch", "vmf_embeddings.archs.base"),
    "a module imported in our module": ("arch", "vmf_embeddings.archs.base.torch"),
    "a neighbour by name": ("arch", "vmf_embeddings.archsevil.Arch"),
    "a library through torch.optim": ("optimizer", "torch.optim.optimizer.torch.load"),
    "the system through torch.optim": ("optimizer", "torch.optim.optimizer.torch.os.system"),
    "functools through torch.optim": ("optimizer", "torch.optim.optimizer.functools.partial"),
    "a function of torch.optim": ("optimizer", "torch.optim.sgd.sgd"),
    "no optimizer of torch.optim": ("optimizer", "torch.optim.lr_scheduler.LambdaLR"),
    "globals": ("optimizer", "torch.optim.SGD.__init__.__globals__"),
    "subclasses": ("optimizer", "torch.optim.SGD.__subclasses__"),
    "a method": ("arch", "vmf_embeddings.archs.base.Arch.load_state_dict"),
    "a function in our package": ("dataset", "vmf_embeddings.datasets.csv_lines.read_lines"),
    "a prepare script": ("dataset", "vmf_embeddings.datasets.prepare.download.download"),
    "another group's class": ("arch", "vmf_embeddings.datasets.digits.Digits"),
    "upper case": ("arch", "VMF_EMBEDDINGS.archs.n_digit_mnist.NDigitMnist"),
    "white space before": ("arch", " os.system"),
    "white space within": ("arch", "vmf_embeddings.archs. base.torch.load"),
    "a line break": ("arch", "vmf_embeddings.archs.base\n.Arch"),
    "two dots": ("arch", "vmf_embeddings.archs..base.torch.load"),
    "a leading dot": ("arch", ".os.system"),
    "a trailing dot": ("arch", "vmf_embeddings.archs."),
    "a path": ("arch", "vmf_embeddings.archs./tmp/x"),
    "other letters": ("arch", "vmf_embeddings.archs.base.tоrch.load"),
    "an empty name": ("arch", ""),
    "nothing there": ("arch", "vmf_embeddings.archs.base.NoSuchThing"),
}


def node(target: object, **knobs: object):
    return OmegaConf.create({"name": "x", "params": {"_target_": target, **knobs}})


@pytest.mark.parametrize(("group", "target"), TRICKS.values(), ids=TRICKS)
def test_a_trick_is_refused_before_anything_is_called(group, target):
    with pytest.raises(assembly.Refused, match="_target_"):
        assembly.instantiate(group, node(target))


HONEST = {"_target_": "torch.optim.Adam", "lr": 0.1}
HIDDEN = {
    "in an argument": {"lr": {"_target_": "os.getpid"}},
    "in a list": {"betas": [0.9, {"_target_": "os.getpid"}]},
    "in a list of lists": {"betas": [[{"_target_": "os.getpid"}]]},
    "deep": {"a": {"b": {"c": {"_target_": "os.getpid"}}}},
    "below params": {"a": {"name": "b", "params": {"_target_": "os.getpid"}}},
    "as open call": {"lr": {"_target_": "os.getpid", "_partial_": True}},
    "as its own target": {"_target_": {"_target_": "os.getpid"}},
    "as a list": {"_target_": ["os.getpid"]},
    "as a number": {"_target_": 3},
}


@pytest.mark.parametrize("knobs", HIDDEN.values(), ids=HIDDEN)
def test_a_hidden_target_is_refused(knobs):
    with pytest.raises(assembly.Refused, match="_target_"):
        assembly.instantiate("optimizer", OmegaConf.create({"params": HONEST | knobs}), params=[])


WORDS = {
    "positional arguments": {"_args_": ["x"]},
    "nothing below": {"_recursive_": False},
    "conversion": {"_convert_": "none"},
    "of nobody": {"_mode_": "x"},
    "below": {"a": {"_args_": [1]}},
    "open call of no target": {"a": {"_partial_": True}},
}


@pytest.mark.parametrize("knobs", WORDS.values(), ids=WORDS)
def test_words_to_hydras_builder_are_not_read(knobs):
    with pytest.raises(assembly.Refused, match="is not read"):
        assembly.instantiate("optimizer", OmegaConf.create({"params": HONEST | knobs}), params=[])


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (HONEST | {"_partial_": "yes"}, "_partial_ stands"),
        (HONEST | {"lr": HONEST | {"_partial_": "yes"}}, "_partial_ expects true or false"),
    ],
)
def test_an_open_call_belongs_to_an_argument_and_is_true_or_false(params, words):
    with pytest.raises(assembly.Refused, match=words):
        assembly.instantiate("optimizer", OmegaConf.create({"params": params}))


@pytest.mark.parametrize("text", [r"\${oc.create:{_target_: os.getpid}}", r"a \${b} c"])
def test_nothing_is_left_to_resolve(text):
    with pytest.raises(assembly.Refused, match="without"):
        assembly.instantiate("optimizer", OmegaConf.create({"params": HONEST | {"lr": text}}))


def test_what_is_checked_is_what_is_built():
    cfg = OmegaConf.create(
        {
            "safe": "torch.optim.Adam",
            "optimizer": {"params": {"_target_": "${safe}", "safe": "os.getpid"}},
        }
    )
    with pytest.raises(assembly.Refused, match="unexpected keyword argument 'safe'"):
        assembly.instantiate("optimizer", cfg.optimizer, params=[])


ALLOWED_BY_USER = {
    "the very name": ("collections.Counter", "collections.Counter", True),
    "below a module": ("collections", "collections.Counter", True),
    "below a module with its dot": ("collections.", "collections.Counter", True),
    "another name that begins alike": ("collections.Count", "collections.Counter", False),
    "another module that begins alike": ("collec", "collections.Counter", False),
    "a name imported in the module": ("logging", "logging.os.system", False),
    "private ways": ("logging", "logging.Logger.__init__.__globals__", False),
    "nothing": ("", "collections.Counter", False),
}


@pytest.mark.parametrize(
    ("allowed", "target", "is_allowed"), ALLOWED_BY_USER.values(), ids=ALLOWED_BY_USER
)
def test_the_users_list_ends_at_dots(monkeypatch, allowed, target, is_allowed):
    monkeypatch.setattr(targets, "BY_USER", tuple(filter(None, [allowed])))
    if is_allowed:
        assert assembly.checked_target("arch", target) is not None
        return
    with pytest.raises(assembly.Refused, match="may not be built"):
        assembly.checked_target("arch", target)


def test_a_refusal_lists_what_is_allowed_and_names_the_target_once(monkeypatch):
    monkeypatch.setattr(targets, "BY_USER", ("mylab.", "theirs.Net"))
    with pytest.raises(assembly.Refused) as refusal:
        assembly.checked_target("arch", "other.Net")
    assert "allowed are vmf_embeddings.archs.* and mylab.* and theirs.Net. " in str(refusal.value)
    assert "(it is" not in str(refusal.value)


def test_the_users_list_is_read_once(monkeypatch):
    monkeypatch.setenv(assembly.EXTENDED_BY, "collections.Counter")
    with pytest.raises(assembly.Refused, match="may not be built"):
        assembly.checked_target("arch", "collections.Counter")


OTHER_KINDS = {
    "arch": "vmf_embeddings.archs.base.ClassSpec",
    "method": "vmf_embeddings.methods.class_parameters.ClassParameters",
    "dataset": "vmf_embeddings.datasets.image_transform.ImageTransform",
    "miner": "vmf_embeddings.miners.base.Triplets",
}


@pytest.mark.parametrize("group", OTHER_KINDS)
def test_an_option_is_a_class_of_its_groups_kind(group):
    node = OmegaConf.create({"params": {"_target_": OTHER_KINDS[group]}})
    with pytest.raises(assembly.Refused, match="builds a class derived from"):
        assembly.instantiate(group, node)


def test_an_option_is_no_partial():
    node = OmegaConf.create(
        {"params": {"_target_": "vmf_embeddings.datasets.digits.Digits", "_partial_": True}}
    )
    with pytest.raises(assembly.Refused, match="_partial_"):
        assembly.instantiate("dataset", node)
