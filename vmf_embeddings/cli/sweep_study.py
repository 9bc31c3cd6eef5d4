"""A search by Optuna (`hydra/sweeper=search`) goes on where a former command on it ended.

Hydra's sweeper for Optuna runs `n_trials` more trials with every command, and leaves those whose
process was killed as running for ever.
"""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vmf_embeddings.untrusted.file_lock import Held, locked
from vmf_embeddings.untrusted.refused import Refused

LOCK = ".study.lock"
_PACKAGE = "hydra_plugins.hydra_optuna_sweeper"


class Search:
    """Runs a search, or the trials that are left of it.

    A trial that was killed is told to Optuna as failed, and its values are tried again first: its
    training goes on in its folder. Trials count towards `n_trials` in all commands together.

    Args:
        sweeper: Hydra's sweeper for Optuna, set up.
        folder: of the sweep.
    """

    def __init__(self, sweeper: Any, folder: Path) -> None:
        self.inner, self.folder = sweeper.sweeper, folder

    def sweep(self, arguments: list[str]) -> None:
        """Runs the search.

        Args:
            arguments: overrides, as typed.

        Raises:
            Refused: another command works on the study, other values were searched there before, or
                no trial of it succeeded.
        """
        from optuna.exceptions import StorageInternalError

        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.folder / LOCK, wait=False), quiet():
                study = self._study()
                self._take_up(study)
                self._run(study, arguments)
        except Held as error:
            raise Refused(
                f"{self.folder}: another command searches here; wait for it, or add name=NAME"
            ) from error
        except StorageInternalError as error:
            raise Refused(f"{self.inner.storage} cannot be read as a study: {error}") from error

    def _study(self) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)  # Hydra logs study and storage
        options = {"study_name": self.inner.study_name, "storage": self.inner.storage}
        directions = self.inner._get_directions()
        return optuna.create_study(**options, directions=directions, load_if_exists=True)

    def _run(self, study: Any, arguments: list[str]) -> None:
        try:
            self.inner.sweep(arguments)
        except ValueError as error:
            if "dynamic value space" in str(error):
                raise Refused(
                    f"{self.folder} holds a search over other choices: add name=NAME for another "
                    "study, or type the former ones"
                ) from error
            if not _in_state(study, "COMPLETE"):
                raise Refused("no trial succeeded") from error
            raise

    def _take_up(self, study: Any) -> None:
        """Queues the values of killed trials, and lowers the number of trials by those done."""
        from optuna.trial import TrialState

        for trial in _in_state(study, "RUNNING"):
            study.tell(trial.number, state=TrialState.FAIL)
            if trial.params:
                study.enqueue_trial(trial.params)
        n_done = _number_done(study)
        if not study.trials:
            return
        if n_done:
            said = f"{n_done} of {self.inner.n_trials} trials are finished already"
            print(said, file=sys.stderr)
        self.inner.n_trials = max(0, self.inner.n_trials - n_done)
        self.inner.job_idx = len(study.trials)
        if hasattr(self.inner.sampler, "reseed_rng"):  # or it draws what it drew before
            self.inner.sampler.reseed_rng()


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, Optuna does not warn of the names of version 2 that Hydra's sweeper uses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*has been deprecated in v", FutureWarning)
        yield


def continued(sweeper: Any, folder: Path) -> Any:
    """A sweeper of Optuna as one that goes on; other sweepers as they are."""
    return Search(sweeper, folder) if type(sweeper).__module__.startswith(_PACKAGE) else sweeper


def _in_state(study: Any, name: str) -> Sequence[Any]:
    """The trials of a study in one of Optuna's states."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState[name],))


def _number_done(study: Any) -> int:
    """Trials that succeeded or failed; not those whose values are, or were, tried again."""
    complete = _in_state(study, "COMPLETE")
    queued = [trial.system_attrs.get("fixed_params") for trial in _in_state(study, "WAITING")]
    again = [trial.params for trial in complete] + queued
    return len(complete) + sum(t.params not in again for t in _in_state(study, "FAIL"))
