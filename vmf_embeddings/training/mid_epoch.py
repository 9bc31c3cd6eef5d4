"""Checkpoints inside an epoch: training goes on with the next step, and ends with the same bits."""

import logging
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import gather_object
from torch import Tensor

from vmf_embeddings.training import checkpoint, interruption
from vmf_embeddings.training.interruption import Interrupted
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.training.loop import Loop
from vmf_embeddings.training.run_state import content, states
from vmf_embeddings.training.seeding import (
    all_generator_states,
    epoch_seed,
    restore_all_generators,
    seed_everything,
)
from vmf_embeddings.training.stored_state import refuse_missing, restore_part

KEY = "inside_epoch"  # of the checkpoint
SAVE, STOP = 1, 2  # what a process wants after a step; 0 = to go on
STEPS_BETWEEN_VOTES = 16  # of several processes: each vote waits for the device

log = logging.getLogger(__name__)


@dataclass
class Place:
    """A place inside an epoch.

    Attributes:
        losses: of this process, [n_batches]; 0 for steps that are still to come.
        step: steps of the epoch that are done.
        n_items: images or vectors that all processes have seen in them.
        seconds: that they took.
        augmentation: state of the augmentation of data in memory, else None.
    """

    losses: Tensor
    step: int = 0
    n_items: int = 0
    seconds: float = 0.0
    augmentation: Tensor | None = None


class EpochSaver:
    """Saves a training inside an epoch: every `save_minutes`, and when a signal ends it.

    A sampler that learns, or that chooses by the embeddings at the beginning of an epoch, cannot go
    on inside one: then nothing is saved here, and the epoch begins again.

    Args:
        job: what is trained, with the state to resume from.
    """

    def __init__(self, job: TrainingJob) -> None:
        self.job = job
        self.possible = not (job.sampler.learns or job.sampler.needs_embeddings)
        self.stored: dict[str, Any] | None = (job.state or {}).get(KEY)
        self.saved = time.monotonic()

    def begin(self, loop: Loop, epoch: int, best: dict[str, Any]) -> Place:
        """The place at which an epoch begins: its start, or where it was interrupted.

        Args:
            loop: parts of the training, on their device, seeded for the epoch.
            epoch: from 0.
            best: the best epoch so far.

        Raises:
            Refused: the checkpoint inside the epoch is malformed.
        """
        self.loop, self.epoch, self.best, self.began = loop, epoch, best, time.monotonic()
        place = Place(torch.zeros(len(loop.batches), device=loop.accelerator.device))
        stored, self.stored = self.stored, None  # for the first epoch after resuming alone
        if stored is not None:
            source = str(self.job.run_dir / checkpoint.INTERRUPTED)
            keys = ("step", "losses", "n_items", "seconds", "generators")
            refuse_missing(stored, keys, source)
            restore_part(lambda: self._restore(place, stored), f"{source} does not fit")
            self.began -= place.seconds
            log.info("resumed inside epoch %d, after step %d", epoch, place.step)
        return place

    def after_step(self, place: Place) -> None:
        """Saves the training if it is time to; called after every step.

        Raises:
            Interrupted: a signal asked for the end; the state is saved.
        """
        vote = self._vote(place)
        if vote and self.possible:
            place.augmentation = self.loop.batches.augmentation_state()
            place.seconds = time.monotonic() - self.began
            self._save(place)
            self.saved = time.monotonic()
        if vote == STOP:
            where = f"after step {place.step} of {len(self.loop.batches)}"
            goes_on = "goes on there" if self.possible else "begins this epoch again"
            self._interrupt(f"inside epoch {self.epoch}, {where}: the same command {goes_on}")

    def after_epoch(self, *, is_last: bool) -> None:
        """Called once a checkpoint of the whole epoch is written.

        Raises:
            Interrupted: a signal asked for the end, and this was not the last epoch.
        """
        self.saved = time.monotonic()
        wanted = self._together(STOP * interruption.is_wanted()) == STOP
        if wanted and not is_last:
            self._interrupt(f"after epoch {self.epoch}: the same command goes on there")

    def _interrupt(self, where: str) -> None:
        self.loop.end_workers()
        log.warning("Interrupted by a signal %s", where)
        raise Interrupted

    def _vote(self, place: Place) -> int:
        """What to do after a step: the most that one of the processes wants."""
        minutes = self.job.settings.save_minutes
        is_due = minutes is not None and time.monotonic() - self.saved >= 60 * minutes
        own = STOP if interruption.is_wanted() else SAVE * (is_due and self.possible)
        is_vote = place.step % STEPS_BETWEEN_VOTES == 0 or place.step == len(place.losses)
        return self._together(own) if self._alone or is_vote else 0

    @property
    def _alone(self) -> bool:
        return self.loop.accelerator.num_processes == 1

    def _together(self, own: int) -> int:
        """The largest number of all processes."""
        if self._alone:
            return own
        vote = torch.tensor(own, device=self.loop.accelerator.device)
        dist.all_reduce(vote, dist.ReduceOp.MAX)
        return int(vote)

    def _save(self, place: Place) -> None:
        """Writes the checkpoint, unless a loss is NaN or infinite; all processes take part."""
        loop = self.loop
        generators = all_generator_states(loop.accelerator.device)
        own = {"generators": generators, "losses": place.losses.cpu()}
        every = gather_object([own])
        losses = torch.stack([one["losses"] for one in every])
        if not bool(losses.isfinite().all()):
            return
        parts, status = states(loop, self.job.run_dir), loop.status()
        if loop.accelerator.is_main_process:
            inside = {
                "step": place.step,
                "n_items": place.n_items,
                "seconds": place.seconds,
                "augmentation": place.augmentation,
                "losses": losses,
                "generators": [one["generators"] for one in every],
            }
            state = content(
                loop, self.job, parts, epoch=self.epoch - 1, best=self.best, status=status
            )
            checkpoint.save(self.job.run_dir / checkpoint.INTERRUPTED, state | {KEY: inside})
            checkpoint.remove_unused_parts(self.job.run_dir)

    def _restore(self, place: Place, stored: dict[str, Any]) -> None:
        """Sets a place, and the random generators, to what was stored."""
        accelerator, losses = self.loop.accelerator, stored["losses"]
        rank, is_same = accelerator.process_index, len(losses) == accelerator.num_processes
        place.losses.copy_(losses[rank] if is_same else losses.mean(0))
        place.step, place.n_items = int(stored["step"]), int(stored["n_items"])
        if not 0 <= place.step <= len(place.losses):
            raise ValueError(f"step {place.step} of {len(place.losses)}")
        place.seconds = float(stored["seconds"])
        place.augmentation = stored["augmentation"]
        if is_same:
            restore_all_generators(accelerator.device, stored["generators"][rank])
            return
        # other processes: new random numbers, in the same state where they compute the whole loss
        stream = 1 if self.loop.method.global_batch is not None else 1 + rank
        seed = self.job.settings.random_seed + 1 + place.step
        seed_everything(epoch_seed(seed, self.epoch, stream))
