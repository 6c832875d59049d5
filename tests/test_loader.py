"""Batches: each image once, in an order that seed and epoch alone decide."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.data.preprocess import normalise

MakeSet = Callable[..., ImageSet]


def _order(loader: BatchLoader, epoch: int = 0) -> list[int]:
    """The images of one pass; in `numbered_set` an image's label is its number."""
    loader.set_epoch(epoch)
    return [int(label) for _, labels in loader for label in labels[:, 0]]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 4, [3]), (4, 1, [1] * 4), (0, 4, [])],
)
def test_a_pass_gives_each_image_once_and_keeps_the_partial_batch(
    numbered_set: MakeSet, count: int, batch_size: int, sizes: list[int], shuffle: bool
) -> None:
    loader = BatchLoader(numbered_set(count), batch_size, shuffle=shuffle)
    assert [len(labels) for _, labels in loader] == sizes
    assert len(loader) == len(sizes)
    assert loader.num_images == count
    assert sorted(_order(loader)) == list(range(count))


@pytest.mark.parametrize("input_size", [28, 32])
def test_batches_are_the_normalised_images_with_their_labels(
    numbered_set: MakeSet, input_size: int
) -> None:
    full = numbered_set(10)
    for images, labels in BatchLoader(full, 4, shuffle=True, input_size=input_size):
        assert (images.dtype, labels.dtype) == (np.float32, np.int64)
        assert images.shape == (len(labels), 1, input_size, input_size)
        assert labels.shape == (len(images), 1)
        np.testing.assert_array_equal(images, normalise(full.images[labels[:, 0]], input_size))


def test_without_shuffle_the_order_is_that_of_the_set(numbered_set: MakeSet) -> None:
    loader = BatchLoader(numbered_set(10), 3)
    assert _order(loader, 0) == _order(loader, 5) == list(range(10))


def test_the_order_depends_on_seed_and_epoch_alone(numbered_set: MakeSet) -> None:
    full = numbered_set(50)
    worn = BatchLoader(full, 7, shuffle=True, seed=3)
    orders = [_order(worn, epoch) for epoch in range(4)]
    fresh = BatchLoader(full, 16, shuffle=True, seed=3)
    np.random.seed(0)  # noqa: NPY002  a global state that must not matter
    assert _order(fresh, 2) == orders[2]
    assert _order(fresh, 0) == orders[0]
    other = _order(BatchLoader(full, 7, shuffle=True, seed=4), 0)
    assert len({tuple(order) for order in [*orders, other]}) == 5


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("count", "num_ranks"), [(10, 2), (11, 3), (2, 3)])
def test_the_ranks_together_see_each_image_once(
    numbered_set: MakeSet, count: int, num_ranks: int, shuffle: bool
) -> None:
    full = numbered_set(count)
    ranks = [
        BatchLoader(full, 2, shuffle=shuffle, seed=1, rank=rank, num_ranks=num_ranks)
        for rank in range(num_ranks)
    ]
    orders = [_order(rank, epoch=3) for rank in ranks]
    assert sorted(itertools.chain(*orders)) == list(range(count))
    assert [rank.num_images for rank in ranks] == [len(order) for order in orders]
    assert [len(rank) for rank in ranks] == [-(-len(order) // 2) for order in orders]
    whole = _order(BatchLoader(full, 2, shuffle=shuffle, seed=1), epoch=3)
    assert orders == [whole[rank::num_ranks] for rank in range(num_ranks)]
