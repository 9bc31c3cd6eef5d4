"""What another `mode.epochs` does to a run that resumes: refused, or said in the log."""

import logging

from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.refused import Refused

log = logging.getLogger(__name__)


def check_resumed_length(job: TrainingJob) -> None:
    """Refuses another number of epochs if a part of the job depends on it, else logs its effect.

    Args:
        job: with a `state` to resume from; without one nothing is checked.

    Raises:
        Refused: names the parts, both numbers and what to type.
    """
    if job.state is None:
        return
    stored = parse_json_object(job.state["config"], f"the configuration in {job.run_dir}")
    then, now = (stored.get("mode") or {}).get("epochs"), job.settings.epochs
    if not isinstance(then, int) or then == now:
        return
    dependent = _dependent_parts(job)
    if dependent:
        raise Refused(
            f"{job.run_dir} was begun with mode.epochs={then}, and {' and '.join(dependent)} "
            f"would have been others with mode.epochs={now}: resume with mode.epochs={then}, or "
            "start over in the same folder with resume=never"
        )
    log.info("mode.epochs was %d and is now %d: %s", then, now, job.schedule.at_another_length(now))


def _dependent_parts(job: TrainingJob) -> list[str]:
    """What depends on the number of epochs, in words."""
    parts = {
        "the learning rates": job.schedule.needs_length,
        "the class probabilities of the sampler": job.sampler.needs_length,
        f"the loss of method={job.method.name}": job.method.needs_n_epochs,
    }
    return [name for name, depends in parts.items() if depends]
