"""Learning rates are those of the recipes' tables, epoch by epoch and step by step."""

import math

import pytest
import torch
from hydra import compose, initialize_config_dir

from tests.test_configs import CONF
from vmf_embeddings.cli import assembly
from vmf_embeddings.training.schedules import Constant, Cosine, MultiStep, Plateau


def optimizer(rate=0.1):
    own = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    return torch.optim.SGD([{"params": own[:1]}, {"params": own[1:], "lr": rate / 10}], lr=rate)


def rates(schedule, n_epochs, n_steps=3, rate=0.1):
    """[n_epochs, n_steps, 2]: the rates of both groups before every step."""
    optim = optimizer(rate)
    schedule.attach(optim, n_epochs, n_steps)
    table = torch.empty(n_epochs, n_steps, 2, dtype=torch.float64)
    for epoch in range(n_epochs):
        for step in range(n_steps):
            schedule.begin_step(epoch, step)
            table[epoch, step] = torch.tensor(
                [g["lr"] for g in optim.param_groups], dtype=torch.float64
            )
        schedule.end_epoch(0.5)
    return table


def option(name, *overrides):
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"schedule={name}", *overrides])
    return assembly.instantiate("schedule", cfg.schedule)


def column(schedule, n_epochs, epochs):
    return rates(schedule, n_epochs)[epochs, 0, 0].tolist()


AT = [0, 1, 2, 3, 4, 5, 119, 120, 160]


@pytest.mark.parametrize(
    "start, expected",
    [
        (1 / 3, [0.1 / 3, 0.14 / 3, 0.06, 0.22 / 3, 0.26 / 3, 0.1, 0.1, 1e-3, 1e-5]),  # BBN
        (0.0, [0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 1e-3, 1e-5]),  # DiVE's code
        (None, [0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1, 1e-3, 1e-5]),
    ],
)
def test_bbn_recipe_warms_up_and_falls_by_a_hundred(start, expected):
    schedule = MultiStep("epoch", 5, start, [120, 160], 0.01)
    assert column(schedule, 200, AT) == pytest.approx(expected, rel=1e-6)


def test_multistep_as_configured_never_takes_an_epoch_at_rate_zero():
    got = column(option("multistep"), 200, AT)
    assert got == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1, 1e-3, 1e-5], rel=1e-6)


def test_ldam_recipe_falls_later():
    got = column(option("multistep", "schedule.params.milestones=[160,180]"), 200, [159, 160, 180])
    assert got == pytest.approx([0.1, 1e-3, 1e-5], rel=1e-6)


def test_balms_recipe_by_steps():
    # 13,000 steps, 19 to an epoch; the warm-up of 800 begins at half the rate
    schedule = Cosine("step", 800, 0.5, 13_000, 1.0)
    table = rates(schedule, 685, 19)[:, :, 0].flatten()
    assert table[[0, 400, 800]].tolist() == pytest.approx([0.05, 0.075, 0.1], rel=1e-6)
    assert (table[:801].diff() > 0).all() and (table[801:13_000].diff() < 0).all()
    assert float(table[800 + 6_100]) == pytest.approx(0.05, rel=1e-6)
    assert table[13_000:].tolist() == pytest.approx([0.0] * 15, abs=1e-12)


def test_balms_recipe_by_epochs_begins_at_half_the_rate():
    # 4.6h of the long tail's notes: a schedule stepped after the epoch would begin at .0488
    schedule = Cosine("epoch", 43, 0.5, None, 1.0)
    assert column(schedule, 685, [0, 43]) == pytest.approx([0.05, 0.1], rel=1e-6)


def test_glmc_recipe_neither_begins_at_the_full_rate_nor_overshoots():
    table = rates(option("cosine_warmup", "schedule.params.warmup=10"), 135)[:, 0, 0]
    assert table[:10].tolist() == pytest.approx([0.01 * (e + 1) for e in range(10)], rel=1e-6)
    assert float(table.max()) == pytest.approx(0.1, rel=1e-6)
    assert (table[10:].diff() < 0).all() and float(table[-1]) > 0


def test_cosine_is_a_cosine():
    table = rates(option("cosine"), 200, rate=0.01)[:, 0, 0]
    expected = [0.005 * (1 + math.cos(math.pi * e / 200)) for e in range(200)]
    assert table.tolist() == pytest.approx(expected, rel=1e-6)


def test_tvmf_recipe_begins_at_twice_the_rate_and_never_ends_at_zero():
    table = rates(option("tvmf_cosine"), 90)[:, 0, 0]
    expected = [0.1 * (1 + math.cos(math.pi * e / 90)) for e in range(90)]
    assert table.tolist() == pytest.approx(expected, rel=1e-6)
    assert float(table[0]) == pytest.approx(0.2) and float(table[-1]) > 0


@pytest.mark.parametrize("name", ["cosine", "cosine_warmup", "tvmf_cosine", "multistep"])
def test_every_group_keeps_its_share(name):
    table = rates(option(name), 12)
    torch.testing.assert_close(table[..., 1], table[..., 0] / 10)


def test_unit_says_whether_rates_change_within_an_epoch():
    by_epoch = rates(Cosine("epoch", 2, None, None, 1.0), 10, 4)
    assert (by_epoch == by_epoch[:, :1]).all()
    by_step = rates(Cosine("step", 0, None, None, 1.0), 10, 4)[:, :, 0].flatten()
    assert len(by_step.unique()) == 40


def test_rates_are_a_function_of_the_time_alone():
    whole = rates(Cosine("step", 2, None, None, 1.0), 6)
    optim = optimizer()
    late = Cosine("step", 2, None, None, 1.0)
    late.attach(optim, 6, 3)
    for group in optim.param_groups:
        group["lr"] = 123.0  # what a checkpoint brought
    late.begin_step(4, 1)
    assert [g["lr"] for g in optim.param_groups] == pytest.approx(whole[4, 1].tolist())


def test_constant_leaves_rates_alone_after_its_warmup():
    assert column(option("constant"), 3, [0, 1, 2]) == pytest.approx([0.1] * 3)
    assert column(Constant("epoch", 2, None), 3, [0, 1, 2]) == pytest.approx([0.05, 0.1, 0.1])


def test_plateau_is_torchs_own_bit_for_bit():
    metrics = [0.1, 0.2, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3]
    ours, theirs = optimizer(), optimizer()
    schedule = Plateau(0.5, 2)
    schedule.attach(ours, 10, 3)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, mode="max", factor=0.5, patience=2)
    for epoch, metric in enumerate(metrics):
        schedule.begin_step(epoch, 0)
        schedule.end_epoch(metric)
        torchs.step(metric)
        assert [g["lr"] for g in ours.param_groups] == [g["lr"] for g in theirs.param_groups]
    assert schedule.state_dict() == torchs.state_dict()
    assert ours.param_groups[0]["lr"] < 0.1


def test_plateau_goes_on_counting_after_a_checkpoint():
    first = Plateau(0.5, 2)
    first.attach(optimizer(), 10, 3)
    for metric in (0.3, 0.2, 0.2):
        first.end_epoch(metric)
    optim = optimizer()
    second = Plateau(0.5, 2)
    second.attach(optim, 10, 3)
    second.load_state_dict(first.state_dict())
    second.end_epoch(0.2)
    assert optim.param_groups[0]["lr"] == 0.05


@pytest.mark.parametrize(
    "name, override",
    [
        ("plateau", "mode.plateau_factor=2"),
        ("plateau", "mode.plateau_factor=null"),
        ("plateau", "mode.plateau_patience=-1"),
        ("cosine", "schedule.params.unit=hour"),
        ("cosine", "schedule.params.peak=0"),
        ("cosine_warmup", "schedule.params.length=5"),
        ("cosine_warmup", "schedule.params.warmup=-1"),
        ("cosine_warmup", "schedule.params.warmup_start=-0.1"),
        ("multistep", "schedule.params.milestones=[4,9]"),
        ("multistep", "schedule.params.milestones=[160,120]"),
        ("multistep", "schedule.params.gamma=0"),
    ],
)
def test_unusable_value_is_refused_by_its_name(name, override):
    key = override.split("=")[0].rpartition(".")[2]
    with pytest.raises(Exception, match=key):
        option(name, override)


def test_milestones_of_metric_learning_are_those_of_torch_for_every_group():
    """A rate for each group, as on SOP: a fifth from epochs 140 and 230 of 300 on."""
    ours, theirs = (
        torch.optim.Adam(
            [
                {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate}
                for rate in (1e-5, 4e-2, 1e-5)
            ]
        )
        for _ in range(2)
    )
    schedule = MultiStep("epoch", 0, None, [140, 230], 0.2)
    schedule.attach(ours, 300, 3)
    reference = torch.optim.lr_scheduler.MultiStepLR(theirs, [140, 230], gamma=0.2)
    for epoch in range(300):
        for step in range(3):
            schedule.begin_step(epoch, step)
        rates = [[group["lr"] for group in o.param_groups] for o in (ours, theirs)]
        assert rates[0] == pytest.approx(rates[1], rel=1e-12)
        theirs.step()
        reference.step()


@pytest.mark.parametrize("start", [None, 0.0, 0.25])
@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_a_milestone_at_the_end_of_the_warmup_does_not_scale_the_warmup(start, unit):
    n_steps = 1 if unit == "step" else 3
    at_end = rates(MultiStep(unit, 4, start, [4, 6], 0.1), 8, n_steps)
    without = rates(MultiStep(unit, 4, start, [6], 0.1), 8, n_steps)
    assert torch.equal(at_end[:4], without[:4])
    torch.testing.assert_close(at_end[4:], 0.1 * without[4:])


def test_a_milestone_within_the_warmup_is_refused():
    with pytest.raises(ValueError, match="none may lie within the warm-up of 4 epochs"):
        MultiStep("epoch", 4, None, [3, 6], 0.1)
