"""Factors of the learning rate in runs from before `auto` was their default."""

from typing import Any

# factors of the learning rate that were defaults before "auto", which equals them up to 1e-5
FACTORS_BEFORE_AUTO = {  # (option, key) -> its default then
    **{("proxy_anchor", "criterion.params.lr_factor"): 2000.0},
    **{("proxy_anchor_nca", "criterion.params.lr_factor"): 2000.0},
    **{("proxy_nca", "criterion.params.lr_factor"): 50.0},
    **{("nir", "method.params.proxy_lr_factor"): 4000.0},
    **{("nir", "method.params.flow_lr_factor"): 50.0},
}


def with_auto(then: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The stored values of a run, where "auto" replaces a former default of the same rate.

    Args:
        then: dotted key -> value of the run's configuration.
        now: the same of the command that resumes it.
    """
    if not now.get("mode.learning_rate", 1) <= 1e-5:
        return then
    same = {
        key: "auto"
        for (option, key), factor in FACTORS_BEFORE_AUTO.items()
        if then.get(f"{key.split('.')[0]}.name") == option
        and (then.get(key), now.get(key)) == (factor, "auto")
    }
    return then | same
