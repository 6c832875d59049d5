"""Batches from memory, a whole batch at once, in an order that (seed, epoch) alone decides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.preprocess import SIZE, normalise


class BatchLoader:
    """Yields `[images float32 (B, 1, S, S) in [-1, 1], labels int64 (B, 1)]`.

    `paddle.Model.fit`, `evaluate` and `predict` take it where they take a `DataLoader`. The last,
    partial batch is kept. `set_epoch` chooses the order when `shuffle` is on: a permutation drawn
    from (seed, epoch), so an epoch is repeated exactly, whatever came before it.

    With `num_ranks` > 1 `batch_size` is that of all ranks together, and of each batch a rank
    gets every num_ranks-th image; together they see each image once. So that the ranks keep
    step, one that has no image of the last batch gets that batch's first (`count_own` is 0
    then); with `even` all get as many, which gathering needs.
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        input_size: int = SIZE,
        rank: int = 0,
        num_ranks: int = 1,
        even: bool = False,
    ) -> None:
        self.image_set = image_set
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.input_size = input_size
        self.rank, self.num_ranks, self.even = rank, num_ranks, even
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; epochs count from 0."""
        self.epoch = epoch

    @property
    def num_images(self) -> int:
        """Images in one pass, of all ranks together."""
        return len(self.image_set)

    def count_images(self, step: int) -> int:
        """Images in batch number `step` (from 0), of all ranks together."""
        return min(self.batch_size, self.num_images - step * self.batch_size)

    def count_own(self, step: int) -> int:
        """Images of batch number `step` that are this rank's."""
        return len(range(self.rank, self.count_images(step), self.num_ranks))

    def __len__(self) -> int:
        return -(-self.num_images // self.batch_size)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        order = self._order()
        for start in range(0, len(order), self.batch_size):
            chosen = self._share(order[start : start + self.batch_size])
            images = normalise(self.image_set.images[chosen], self.input_size)
            yield [images, self.image_set.labels[chosen, None]]

    def _order(self) -> np.ndarray:
        if self.shuffle:
            return np.random.default_rng((self.seed, self.epoch)).permutation(self.num_images)
        return np.arange(self.num_images)

    def _share(self, batch: np.ndarray) -> np.ndarray:
        own = batch[self.rank :: self.num_ranks]
        wanted = -(-len(batch) // self.num_ranks) if self.even else 1
        return own if len(own) >= wanted else np.append(own, batch[0])
