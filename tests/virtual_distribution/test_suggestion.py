"""Groups of classes, and which temperature the paper's rule chooses from them."""

import pytest
import torch

from vmf_embeddings.metrics import Thresholds
from vmf_embeddings.virtual_distribution.distribution import (
    Groups,
    Series,
    Softening,
    measure,
    softenings,
)
from vmf_embeddings.virtual_distribution.report import table
from vmf_embeddings.virtual_distribution.suggestion import suggest

GROUPS = Groups(torch.tensor([400, 200, 50, 10, 4]), Thresholds())


def counts(many: float, few: float) -> torch.Tensor:
    return torch.tensor([many, many, 100, few, few]).double()


def test_softenings_are_every_pair_once_the_flattest_last():
    found = softenings([6, 1, 3, 3], [1, 0.5])
    assert len(found) == 6
    assert [each.effective for each in found] == [1, 2, 3, 6, 6, 12]
    assert str(Softening(3.0, 0.5)) == "tau=3, p=0.5" and str(Softening(20)) == "tau=20"


@pytest.mark.parametrize("wrong", ([0], [-1.0], ["a"], [True], [float("inf")], [float("nan")], []))
def test_softenings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="mode.temperatures"):
        softenings(wrong, [1])
    with pytest.raises(ValueError, match="mode.(temperatures and mode.)?powers"):
        softenings([1], wrong)


def test_the_rule_takes_the_first_at_which_the_rarest_overtake_and_halves_it():
    measured = {
        Softening(1): counts(250, 20), Softening(3): counts(150, 90),
        Softening(6): counts(100, 110), Softening(20): counts(99, 105),
    }  # fmt: skip
    found = suggest(GROUPS, measured)
    assert found.temperature == 6
    assert "method.params.temperature=3 method.params.power=0.5" in found.words
    assert "method.params.temperature=6 method.params.power=1" in found.words


def test_a_power_counts_by_the_temperature_that_it_stands_for():
    measured = {Softening(3, 0.5): counts(100, 110), Softening(4): counts(150, 90)}
    assert suggest(GROUPS, measured).temperature == 6


def test_the_rule_says_where_it_finds_nothing():
    never = suggest(GROUPS, {Softening(1): counts(250, 20), Softening(9): counts(150, 90)})
    assert never.temperature is None and "Up to tau=9" in never.words
    first = suggest(GROUPS, {Softening(2): counts(100, 120)})
    assert first.temperature == 2 and "Already at tau=2" in first.words
    balanced = Groups(torch.full((5,), 500), Thresholds())
    alike = suggest(balanced, {Softening(2): counts(100, 120)})
    assert alike.temperature is None and "mode.many_above" in alike.words


def test_groups_without_classes_are_left_out():
    groups = Groups(torch.tensor([50, 10]), Thresholds())
    assert groups.sizes() == {"medium": 1, "few": 1}
    assert groups.means(torch.tensor([7.0, 5.0])) == {"medium": 7.0, "few": 5.0}


def test_table_has_a_row_for_the_images_and_for_every_series():
    lines = table(GROUPS, [Series("tau=1", counts(250, 25))])
    assert lines[2].split() == ["training", "images", "300.0", "50.0", "7.0", "100"]
    assert lines[3].split() == ["tau=1", "250.0", "100.0", "25.0", "10"]


def test_methods_without_logits_are_refused(monkeypatch):
    class Mute:
        name = "mute"

        def unadjusted_logits(self, embeddings):
            return None

    where = "vmf_embeddings.virtual_distribution.distribution.embed_with_progress"
    monkeypatch.setattr(where, lambda *parts: torch.ones(4, 2))
    with pytest.raises(ValueError, match="method=mute has no logits"):
        measure(Mute(), None, None, [Softening(1)], 2)


def test_measured_counts_do_not_hang_on_the_batch_size(monkeypatch):
    class Linear:
        def unadjusted_logits(self, embeddings):
            return embeddings @ torch.tensor([[1.0, -1.0, 0.5], [0.0, 2.0, 1.0]])

    where = "vmf_embeddings.virtual_distribution.distribution.embed_with_progress"
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(11, 2, generator=generator)
    monkeypatch.setattr(where, lambda *parts: rows)
    wanted = [Softening(1), Softening(3, 0.5)]
    small, whole = (measure(Linear(), None, None, wanted, n) for n in (2, 100))
    for each in wanted:
        torch.testing.assert_close(small[each], whole[each], rtol=1e-12, atol=0)
        assert small[each].sum().item() == pytest.approx(11, rel=1e-12)
