"""Values that an optimizer cannot take are named by their key."""

import pytest
import torch
from omegaconf import OmegaConf

from vmf_embeddings.cli.assembly.optimizer_errors import checked_optimizer
from vmf_embeddings.untrusted.refused import Refused


def test_text_in_place_of_a_number_is_named_without_pythons_words():
    node = OmegaConf.create({"name": "sgd", "params": {"momentum": "", "lr": 0.1}})
    with pytest.raises(Refused) as refused:
        checked_optimizer(lambda groups: torch.optim.SGD(groups, **node.params), node)
    assert "momentum=''" in str(refused.value)
    assert str(refused.value).endswith("expected numbers, true, false or null")
