"""DiVE around students and teachers: what it mixes, and what it leaves alone."""

import copy
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.methods.laws import TinyArch, normal
from vmf_embeddings.heads.linear import LinearHead
from vmf_embeddings.losses.balanced_softmax import BalancedSoftmax
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.classifier import Classifier
from vmf_embeddings.methods.dive import DiVE
from vmf_embeddings.methods.unnormalized_sce import UnnormalizedSCE
from vmf_embeddings.methods.vmf_softmax import VMFSoftmax

B, C = 12, 5
COUNTS = torch.tensor([500, 100, 40, 10, 2])
VMF = {
    "n_samples": 4, "normalizer": "exact", "vmf_sampler": "exact",
    "estimator": "auto", "kappa_init": "exact",
}  # fmt: skip


def batch() -> dict[str, torch.Tensor]:
    return {"examples": normal(B, 1, 4, 4), "ids": torch.arange(B) % C}


def balanced(arch: TinyArch, posthoc_tau: float = 0.0) -> Classifier:
    return Classifier(arch, partial(LinearHead, bias=True), BalancedSoftmax(), posthoc_tau)


def teacher(n_classes: int = C) -> Method:
    torch.manual_seed(1)
    return UnnormalizedSCE(TinyArch(n_classes)).double()


def dive(student=balanced, *, seed: int = 2, taught: bool = True, use_vmf=False, **options) -> DiVE:
    torch.manual_seed(seed)
    usual = {"temperature": 3.0, "power": 0.5, "weight": 0.5, "student_temperature": None}
    method = DiVE(TinyArch(C, use_vmf=use_vmf), student, "RUN", **(usual | options)).double()
    method.prepare(lambda: [batch()["examples"]], COUNTS)
    if taught:
        method.set_teacher(teacher())
    return method


def slow_divergence(s: torch.Tensor, t: torch.Tensor, tau: float, power: float) -> torch.Tensor:
    shares = (t / tau).softmax(-1) ** power
    shares = shares / shares.sum(-1, keepdim=True)
    return (shares * (shares.log() - (s / tau).softmax(-1).log())).sum(-1).mean()


@pytest.mark.parametrize("weight", (0.0, 0.3, 1.0))
def test_loss_mixes_the_labels_under_the_prior_with_raw_logits_under_the_teacher(weight):
    method = dive(weight=weight).eval()
    embeddings = method.embed(batch()["examples"])
    s = method.student.classifier(embeddings)
    with torch.no_grad():
        own = method._teacher.method
        t = own.logits(own.embed(batch()["examples"]))
    supervised = cross_entropy(s + COUNTS.double().log(), batch()["ids"])
    expected = (1 - weight) * supervised + weight * 9 * slow_divergence(s, t, 3.0, 0.5)
    torch.testing.assert_close(method.training_step(batch()), expected)


def test_adjusted_predictions_do_not_reach_the_divergence():
    plain, adjusted = dive(weight=1.0), dive(partial(balanced, posthoc_tau=1.0), weight=1.0)
    assert torch.equal(plain(batch()), adjusted(batch()))
    embeddings = normal(B, 3)
    assert not torch.allclose(plain.logits(embeddings), adjusted.logits(embeddings))


def test_a_temperature_of_the_student_alone_keeps_the_factor_of_the_teachers():
    method = dive(weight=1.0, student_temperature=6.0).eval()
    embeddings = method.embed(batch()["examples"])
    with torch.no_grad():
        t = method._teacher.logits(batch()["examples"])
    halved = method.student.classifier(embeddings) / 2  # s / 6 = (s / 2) / 3
    expected = 9 * slow_divergence(halved, t, 3.0, 0.5)
    torch.testing.assert_close(method(batch()), expected)


def test_without_weight_training_is_the_students_own_bit_for_bit():
    untaught, student = dive(weight=0.0, taught=False), dive(weight=0.0).student
    for method in (untaught, student):
        optimizer = torch.optim.SGD(method.param_groups(1e-3), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            method(batch()).backward()
            optimizer.step()
    mine = untaught.student.state_dict()
    assert all(torch.equal(mine[key], value) for key, value in student.state_dict().items())


def test_training_leaves_every_bit_of_the_teacher_and_moves_the_student():
    method = dive()
    frozen = method._teacher.method
    before, mine = copy.deepcopy(frozen.state_dict()), copy.deepcopy(method.state_dict())
    optimizer = torch.optim.SGD(method.param_groups(1e-3), lr=0.1, weight_decay=0.1)
    for epoch in range(3):
        method.begin_epoch(epoch)
        method.train()
        optimizer.zero_grad()
        method(batch()).backward()
        optimizer.step()
        method.eval()
    after = frozen.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(module.training for module in frozen.modules())
    assert all(p.grad is None and not p.requires_grad for p in frozen.parameters())
    weights = [key for key in mine if key.endswith("weight")]
    assert all(not torch.equal(mine[key], method.state_dict()[key]) for key in weights)


def test_teacher_is_in_no_state_and_no_group():
    taught, untaught = dive(), dive(taught=False)
    assert taught.state_dict().keys() == untaught.state_dict().keys()
    theirs = {id(p) for p in taught._teacher.method.parameters()}
    assert not theirs & {id(p) for p in taught.parameters()}
    assert not theirs & {id(p) for g in taught.param_groups(1e-3) for p in g["params"]}
    assert taught.backbones == [taught.arch, taught._teacher.method.arch]


def test_a_checkpoint_predicts_without_the_teacher():
    taught, untaught = dive(), dive(taught=False, seed=9)
    taught(batch()).backward()  # batch statistics move
    untaught.load_state_dict(taught.state_dict())
    taught.eval(), untaught.eval()
    logits = [method.logits(method.embed(batch()["examples"])) for method in (taught, untaught)]
    assert torch.equal(*logits)


def test_teacher_sees_the_pictures_of_the_student():
    method, seen = dive(), []
    method._teacher.method.embed = lambda images: seen.append(images) or normal(len(images), 3)
    given = batch()
    method(given)
    assert len(seen) == 1 and seen[0] is given["examples"]


def test_teacher_follows_to_another_dtype():
    method = dive().float()
    assert {p.dtype for p in method._teacher.method.parameters()} == {torch.float32}
    given = batch()
    assert method({**given, "examples": given["examples"].float()}).dtype == torch.float32


def test_students_and_teachers_that_draw_their_logits_learn_and_teach():
    def vmf(arch: TinyArch) -> VMFSoftmax:
        return VMFSoftmax(arch, **VMF)

    method = dive(vmf, use_vmf=True)
    torch.manual_seed(4)
    drawing = vmf(TinyArch(C, use_vmf=True)).double()
    drawing.prepare(lambda: [batch()["examples"]], COUNTS)
    method.set_teacher(drawing)
    method(batch()).backward()
    for key, parameter in method.named_parameters():
        assert torch.isfinite(parameter.grad).all(), key
    assert method.predict(method.embed(batch()["examples"])).shape == (B, C)


def test_hooks_reach_the_student():
    class Told(UnnormalizedSCE):
        def configure(self, **known):
            self.known = known

        def begin_epoch(self, epoch):
            self.epoch = epoch

    method = dive(Told)
    method.configure(margin_warmup_epochs=2, n_epochs=7)
    method.begin_epoch(3)
    assert (method.student.known["n_epochs"], method.student.epoch) == (7, 3)


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(ValueError, match="RUN has 4 classes, this student 5"):
        dive(taught=False).set_teacher(teacher(4))


def test_a_student_with_a_step_of_its_own_is_refused():
    class Special(UnnormalizedSCE):
        def training_step(self, batch):
            raise AssertionError

    with pytest.raises(ValueError, match="has a training step of its own"):
        dive(Special)


def test_training_without_a_teacher_is_refused():
    with pytest.raises(ValueError, match="call set_teacher before"):
        dive(taught=False)(batch())


@pytest.mark.parametrize(
    "options",
    (
        {"temperature": 0.0}, {"temperature": float("nan")}, {"power": -1.0},
        {"weight": 1.5}, {"weight": -0.1}, {"student_temperature": 0.0},
    ),
)  # fmt: skip
def test_options_out_of_range_are_refused_by_name(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"method.params.{name} must be"):
        dive(**options)
