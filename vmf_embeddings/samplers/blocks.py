"""Every image once per epoch, in an order that reads a few blocks (tars) of the data at a time.

As shards and shuffle buffers of WebDataset (https://github.com/webdataset/webdataset), but as a
function of (seed, epoch), so that resuming and dividing batches among processes stay exact.
"""

import logging
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.samplers.base import BatchSampler, check_positive, n_batches, split_into_batches

log = logging.getLogger(__name__)

WITHIN = ("shuffled", "stored")
SORTED = 0.5  # fraction of neighbours of one class, beyond that of shuffled images


class BlocksSampler(BatchSampler):
    """Shuffles the blocks, forms groups of at most `window` of them, and mixes each group evenly.

    All images of a group come before any of the next, so at most `window` blocks have been begun
    and not finished at any place of the order, and each is read during one part of the epoch. Every
    order of a group that its rule allows is equally likely. Groups differ by one block at most.

    Args:
        labels: integer classes [N]; used only to warn of tars that are sorted by class.
        batch_size: images per batch, >= 1; a single remaining image is added to the last batch.
        window: blocks per group, >= 1.
        within: `shuffled`, or `stored`: images of one block keep their order, and only those of
            different blocks are mixed.
        seed: >= 0.
    """

    needs_blocks: ClassVar[bool] = True

    def __init__(
        self, labels: Tensor, *, batch_size: int, window: int, within: str, seed: int
    ) -> None:
        super().__init__(labels, seed=seed)
        check_positive(batch_size=batch_size, window=window)
        if within not in WITHIN:
            raise ValueError(f"sampler.within is one of {', '.join(WITHIN)}; got {within!r}")
        self.batch_size, self.window, self.within = batch_size, window, within
        self.rows: list[np.ndarray] | None = None

    def set_blocks(self, blocks: np.ndarray | None) -> None:
        """Takes the block of every image; called once, before the first epoch.

        Args:
            blocks: int [N], any numbers; None = the data have no blocks.

        Raises:
            ValueError: there are none, or not N.
        """
        if blocks is None or len(blocks) != len(self.labels):
            raise ValueError(
                "sampler=blocks reads a few tars at a time, and these data lie in none: use "
                "dataset=tar, or sampler=random, class_uniform, class_random or m_per_class, which "
                "take all data"
            )
        order = np.argsort(blocks, kind="stable")
        ends = np.flatnonzero(np.diff(blocks[order])) + 1
        self.rows = np.split(order, ends)
        if self.within == "stored":
            self._warn_of_sorted_blocks()

    def _warn_of_sorted_blocks(self) -> None:
        """Warns where neighbours in a block mostly have one class, and classes are many."""
        rows = self.rows or []
        n_pairs = sum(len(block) - 1 for block in rows)
        n_same = sum(int((np.diff(self.labels[block]) == 0).sum()) for block in rows)
        counts = np.unique(self.labels, return_counts=True)[1] / len(self.labels)
        if n_pairs and n_same / n_pairs > float((counts**2).sum()) + SORTED:
            log.warning(
                "sampler.within=stored: %.0f %% of neighbours in the tars have one class, so that "
                "batches hold few classes. Write the tars from a shuffled list (shuf LIST), or use "
                "sampler.within=shuffled",
                100 * n_same / n_pairs,
            )

    def __len__(self) -> int:
        return n_batches(len(self.labels), self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        if self.rows is None:
            raise ValueError("sampler=blocks needs blocks: call set_blocks(…) before the first")
        rng = self.generator()
        chosen = rng.permutation(len(self.rows))
        groups = np.array_split(chosen, -(-len(chosen) // self.window))
        order = np.concatenate([self._mixed(rng, group) for group in groups])
        yield from split_into_batches(torch.from_numpy(order), self.batch_size)

    def _mixed(self, rng: np.random.Generator, group: np.ndarray) -> np.ndarray:
        """The images of some blocks, evenly mixed."""
        blocks = [self.rows[block] for block in group.tolist()]  # type: ignore[index]
        images = np.concatenate(blocks)
        if self.within == "shuffled":
            return rng.permutation(images)
        # whose turn it is, at random; the images of each block then in their order
        turns = rng.permutation(np.repeat(np.arange(len(blocks)), [len(block) for block in blocks]))
        mixed = np.empty_like(images)
        mixed[np.argsort(turns, kind="stable")] = images
        return mixed
