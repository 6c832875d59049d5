"""Batches: each image once, in an order that depends on seed and epoch only."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader, limit_batch
from lenet_paddle.data.preprocess import normalise

MakeSet = Callable[..., ImageSet]


def _order(loader: BatchLoader, epoch: int = 0) -> list[int]:
    """Return the labels of one epoch; in `numbered_set` an image's label is its number."""
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


def test_a_new_loader_stands_at_seed_0_and_epoch_0(numbered_set: MakeSet) -> None:
    batches = list(BatchLoader(numbered_set(50), 50, shuffle=True))
    assert batches[0][1][:, 0].tolist() == np.random.default_rng((0, 0)).permutation(50).tolist()


def _ranks(full: ImageSet, num_ranks: int, **settings: Any) -> list[BatchLoader]:
    return [
        BatchLoader(full, 4, seed=1, rank=rank, num_ranks=num_ranks, **settings)
        for rank in range(num_ranks)
    ]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("count", "num_ranks"), [(10, 2), (9, 2), (11, 3), (2, 3), (12, 4)])
def test_each_batch_is_shared_by_the_ranks_so_that_together_they_see_each_image_once(
    numbered_set: MakeSet, count: int, num_ranks: int, shuffle: bool
) -> None:
    full = numbered_set(count)
    whole = [labels[:, 0].tolist() for _, labels in BatchLoader(full, 4, seed=1, shuffle=shuffle)]
    ranks = _ranks(full, num_ranks, shuffle=shuffle)
    assert [len(rank) for rank in ranks] == [len(whole)] * num_ranks
    for step, shares in enumerate(zip(*ranks, strict=True)):
        own = [
            labels[: rank.count_own(step), 0].tolist()
            for rank, (_, labels) in zip(ranks, shares, strict=True)
        ]
        assert sorted(itertools.chain(*own)) == sorted(whole[step])
        assert sum(rank.count_own(step) for rank in ranks) == ranks[0].count_images(step)


def test_a_rank_without_an_image_of_the_last_batch_repeats_its_first(numbered_set: MakeSet) -> None:
    first, second = _ranks(numbered_set(9), 2)
    assert [labels[:, 0].tolist() for _, labels in first] == [[0, 2], [4, 6], [8]]
    assert [labels[:, 0].tolist() for _, labels in second] == [[1, 3], [5, 7], [8]]
    assert [second.count_own(step) for step in range(3)] == [2, 2, 0]


@pytest.mark.parametrize(
    ("settings", "expected"), [({}, [[4, 6], [5]]), ({"even": True}, [[4, 6], [5, 4]])], ids=str
)
def test_even_shares_and_no_others_are_as_long_as_the_longest(
    numbered_set: MakeSet, settings: dict[str, Any], expected: list[list[int]]
) -> None:
    ranks = _ranks(numbered_set(7), 2, **settings)
    assert [list(rank)[-1][1][:, 0].tolist() for rank in ranks] == expected


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [((28, 28), 28, 256), ((28, 28), 32, 256), ((64, 64, 3), 64, 256), ((224, 224), 224, 62),
     ((224, 224, 3), 224, 20)],
)  # fmt: skip
def test_large_pictures_are_evaluated_in_smaller_batches(
    shape: tuple[int, ...], size: int, expected: int
) -> None:
    images = np.zeros((1, *shape), np.uint8)
    assert limit_batch(256, images, size) == expected
    assert limit_batch(1, images, size) == 1
