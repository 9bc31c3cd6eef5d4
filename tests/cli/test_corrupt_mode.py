"""The corruptions that a command of mode=corrupt asks for."""

import pytest
from hydra import compose, initialize_config_dir

from tests.test_configs import CONF
from vmf_embeddings.cli import assembly, overrides
from vmf_embeddings.cli.assembly import jobs


@pytest.mark.parametrize(
    ("typed", "names"),
    (
        ([], ["crop", "blur", "occlusion", "noise"]),
        (["mode.corruption=noise"], ["noise"]),
        (["mode.corruption=[occlusion, crop]", "mode.strengths.crop=[0.3]"], ["occlusion", "crop"]),
    ),
)
def test_corruptions_are_those_that_were_typed(typed, names):
    assembly.register_resolvers()
    words = overrides.quoted(["mode=corrupt", *typed])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        mode = compose("config", words).mode
    levels = jobs._corrupted(mode).keywords["corruptions"].levels
    assert list(levels) == names
    assert levels.get("crop") in (None, (0.3,), (0.1, 0.25, 0.4, 0.55, 0.7))
    with pytest.raises(ValueError, match="mode.corruption is one of crop, .* got 'fog'"):
        mode.corruption = "fog"
        jobs._corrupted(mode)
