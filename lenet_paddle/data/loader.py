"""Batches from memory, a whole batch at once, in an order that (seed, epoch) alone decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.preprocess import SIZE, normalise

AUGMENTATION = 0x617567  # sets its generators apart from those of other draws


class BatchLoader:
    """Yields `[images float32 (B, 1, S, S) in [-1, 1], labels int64 (B, 1)]`.

    `paddle.Model.fit`, `evaluate` and `predict` take it where they take a `DataLoader`. The last,
    partial batch is kept. `set_epoch` chooses the order when `shuffle` is on: a permutation drawn
    from (seed, epoch), so an epoch is repeated exactly, whatever came before it.

    With `num_ranks` > 1 `batch_size` is that of all ranks together, and of each batch a rank
    gets every num_ranks-th image; together they see each image once. So that the ranks keep
    step, one that has no image of the last batch gets that batch's first (`count_own` is 0
    then); with `even` all get as many, which gathering needs.

    `augment` makes variants of each batch, uint8 (B, H, W) -> the same, from a generator that
    (seed, epoch, step) decide. It sees the batch of all ranks, so that they train what one would.
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
        augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
    ) -> None:
        self.image_set = image_set
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.input_size = input_size
        self.rank, self.num_ranks, self.even = rank, num_ranks, even
        self.augment = augment
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
        for step, start in enumerate(range(0, len(order), self.batch_size)):
            batch = order[start : start + self.batch_size]
            share = self._share(np.arange(len(batch)))
            images = self._read(batch, share, step)
            yield [normalise(images, self.input_size), self.image_set.labels[batch[share], None]]

    def _read(self, batch: np.ndarray, share: np.ndarray, step: int) -> np.ndarray:
        if self.augment is None:
            return self.image_set.images[batch[share]]
        rng = np.random.default_rng((self.seed, self.epoch, step, AUGMENTATION))
        images = self.augment(self.image_set.images[batch], rng)
        return images if self.num_ranks == 1 else images[share]

    def _order(self) -> np.ndarray:
        if self.shuffle:
            return np.random.default_rng((self.seed, self.epoch)).permutation(self.num_images)
        return np.arange(self.num_images)

    def _share(self, batch: np.ndarray) -> np.ndarray:
        own = batch[self.rank :: self.num_ranks]
        wanted = -(-len(batch) // self.num_ranks) if self.even else 1
        return own if len(own) >= wanted else np.append(own, batch[0])
