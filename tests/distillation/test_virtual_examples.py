"""Virtual examples: the identities of temperature and power, and the counts they sum to."""

import pytest
import torch

from vmf_embeddings.distillation import log_virtual_examples, power_normalize, virtual_counts

N, C = 40, 7


def logits(*shape: int, scale: float = 3.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*(shape or (N, C)), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("power", (0.3, 0.5, 1.0, 2.0))
@pytest.mark.parametrize("temperature", (1.0, 3.0, 6.0, 20.0))
def test_a_power_divides_the_temperature(temperature, power):
    by_definition = power_normalize((logits() / temperature).softmax(-1), power)
    by_temperature = (logits() / (temperature / power)).softmax(-1)
    assert (by_definition - by_temperature).abs().max() < 1e-12
    ours = log_virtual_examples(logits(), temperature, power).exp()
    assert (ours - by_temperature).abs().max() < 1e-12


def test_power_normalisation_is_the_power_over_the_sum_of_powers():
    probabilities = torch.tensor([[0.5, 0.3, 0.2, 0.0]], dtype=torch.float64)
    powers = probabilities**0.4
    torch.testing.assert_close(power_normalize(probabilities, 0.4), powers / powers.sum())
    assert torch.equal(power_normalize(probabilities, 0.4) == 0, probabilities == 0)
    torch.testing.assert_close(power_normalize(probabilities, 1.0), probabilities)


def test_probabilities_of_draws_are_averaged_before_the_power():
    draws = logits(N, 5, C)
    mean = (draws / 2).softmax(-1).mean(1)
    expected = power_normalize(mean, 0.5).log()
    torch.testing.assert_close(log_virtual_examples(draws, 2.0, 0.5), expected)
    one = log_virtual_examples(draws[:, :1], 2.0, 0.5)
    torch.testing.assert_close(one, log_virtual_examples(draws[:, 0], 2.0, 0.5))


def test_no_probability_underflows_to_a_logarithm_of_zero():
    far = torch.tensor([[0.0, 2000.0, -3000.0]])
    for shape in (far, far[:, None].expand(1, 4, 3)):
        log = log_virtual_examples(shape, temperature=1.0, power=0.5)
        torch.testing.assert_close(log, torch.tensor([[-1000.0, 0.0, -2500.0]]))


@pytest.mark.parametrize("power", (0.3, 1.0))
@pytest.mark.parametrize("temperature", (1.0, 3.0, 20.0))
def test_counts_sum_to_the_number_of_images(temperature, power):
    counts = virtual_counts(logits().float(), temperature, power)
    assert counts.dtype == torch.float64
    assert (counts > 0).all()
    assert counts.sum().item() == pytest.approx(N, rel=1e-13)


def test_counts_of_parts_add_up():
    whole = virtual_counts(logits(), 3.0, 0.5)
    parts = sum(virtual_counts(rows, 3.0, 0.5) for rows in logits().split(9))
    torch.testing.assert_close(parts, whole)


def test_counts_grow_uniform_with_temperature_and_are_predictions_as_it_vanishes():
    uniform = torch.full((C,), N / C, dtype=torch.float64)
    distances = [
        (virtual_counts(logits(), tau) - uniform).abs().max().item() for tau in (1, 10, 100, 1e6)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-4
    predicted = torch.bincount(logits().argmax(-1), minlength=C).double()
    torch.testing.assert_close(virtual_counts(logits(), 1e-6), predicted)


def test_flattening_moves_counts_from_the_most_to_the_least_frequent_class():
    """For a network biased to class 0 its count decreases, and that of the last class increases."""
    biased = logits() + torch.linspace(6, -6, C, dtype=torch.float64)
    first = [virtual_counts(biased, tau)[0].item() for tau in (1, 3, 6, 20)]
    last = [virtual_counts(biased, tau)[-1].item() for tau in (1, 3, 6, 20)]
    assert first == sorted(first, reverse=True)
    assert last == sorted(last)
