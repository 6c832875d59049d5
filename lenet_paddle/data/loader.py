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
    from (seed, epoch), so an epoch is repeated exactly, whatever came before it. With
    `num_ranks` > 1 each rank gets every num_ranks-th image of that order; together they see each
    image once.
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
    ) -> None:
        self.image_set = image_set
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.input_size = input_size
        self.rank, self.num_ranks = rank, num_ranks
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; epochs count from 0."""
        self.epoch = epoch

    @property
    def num_images(self) -> int:
        """Images that this rank sees in one pass."""
        return len(range(self.rank, len(self.image_set), self.num_ranks))

    def __len__(self) -> int:
        return -(-self.num_images // self.batch_size)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        order = self._order()
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            images = normalise(self.image_set.images[chosen], self.input_size)
            yield [images, self.image_set.labels[chosen, None]]

    def _order(self) -> np.ndarray:
        num_images = len(self.image_set)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(num_images)
        else:
            order = np.arange(num_images)
        return order[self.rank :: self.num_ranks]
