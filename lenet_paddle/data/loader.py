"""Batches from memory, normalised as a whole, in an order that depends on (seed, epoch) only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lenet_paddle.data.form import SIZE
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.nondigits import Replace
from lenet_paddle.data.preprocess import normalise

AUGMENTATION = 0x617567  # separates its generators from those of other draws
OUTLIERS = 0x6F7574
WHOLE_BATCH = 3 * 64 * 64  # values of the largest picture that is evaluated in whole batches


def limit_batch(batch_size: int, images: np.ndarray, input_size: int) -> int:
    """Return how many of `images`, uint8 (N, H, W) or (N, H, W, 3), are evaluated at once.

    `batch_size`, but fewer large ones, so that a batch has no more values than one of 64x64 in
    colour: 256 pictures of 224x224 take resnet18 1.7 GB, and longer than 20 at a time.
    """
    values = (3 if images.ndim == 4 else 1) * input_size * input_size
    return max(1, min(batch_size, batch_size * WHOLE_BATCH // values))


class BatchLoader:
    """Yields `[images float32 (B, C, S, S) in [-1, 1], labels int64 (B, 1)]`.

    `paddle.Model.fit`, `evaluate` and `predict` take it in place of a `DataLoader`. The last,
    partial batch is kept. With `shuffle`, `set_epoch` chooses the order: a permutation drawn from
    (seed, epoch), so that an epoch can be repeated exactly.

    With `num_ranks` > 1, `batch_size` is the total over the ranks, and a rank gets every
    num_ranks-th image of a batch; together they see each image once. A rank without an image in
    the last batch gets that batch's first, to keep step (`count_own` is 0 then); with `even` all
    ranks get equally many, as gathering needs.

    `augment` maps a batch, uint8 (B, H, W) or (B, H, W, 3), and a generator from (seed, epoch,
    step) to a batch of the same shape. It gets the batch of all ranks, so that they train on the
    variants that one process would. Before it `outliers` maps the batch's images, labels (B,) and
    another such generator to images and labels; what it adds comes last, with negative labels.
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
        outliers: Replace | None = None,
    ) -> None:
        self.image_set = image_set
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.input_size = input_size
        self.rank, self.num_ranks, self.even = rank, num_ranks, even
        self.augment, self.outliers = augment, outliers
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next epoch; epochs count from 0."""
        self.epoch = epoch

    @property
    def num_images(self) -> int:
        """Return the images per epoch, over all ranks."""
        return len(self.image_set)

    def count_images(self, step: int) -> int:
        """Return the images in batch number `step` (from 0), over all ranks."""
        return min(self.batch_size, self.num_images - step * self.batch_size)

    def count_own(self, step: int) -> int:
        """Return this rank's images in batch number `step`."""
        return len(range(self.rank, self.count_images(step), self.num_ranks))

    def __len__(self) -> int:
        return -(-self.num_images // self.batch_size)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        order = self._order()
        for step, start in enumerate(range(0, len(order), self.batch_size)):
            batch = order[start : start + self.batch_size]
            share = self._share(np.arange(len(batch)))
            images, labels = self._read(batch, share, step)
            yield [normalise(images, self.input_size), labels[:, None]]

    def _read(
        self, batch: np.ndarray, share: np.ndarray, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.augment is None and self.outliers is None:
            return self.image_set.images[batch[share]], self.image_set.labels[batch[share]]
        images, labels = self.image_set.images[batch], self.image_set.labels[batch]
        draw = (self.seed, self.epoch, step)
        if self.outliers is not None:
            images, labels = self.outliers(images, labels, np.random.default_rng((*draw, OUTLIERS)))
        if self.augment is not None:
            images = self.augment(images, np.random.default_rng((*draw, AUGMENTATION)))
        return (images, labels) if self.num_ranks == 1 else (images[share], labels[share])

    def _order(self) -> np.ndarray:
        if self.shuffle:
            return np.random.default_rng((self.seed, self.epoch)).permutation(self.num_images)
        return np.arange(self.num_images)

    def _share(self, batch: np.ndarray) -> np.ndarray:
        own = batch[self.rank :: self.num_ranks]
        wanted = -(-len(batch) // self.num_ranks) if self.even else 1
        return own if len(own) >= wanted else np.append(own, batch[0])
