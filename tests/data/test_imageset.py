"""Image sets: bad ones are refused, views share memory, and the stratified draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lenet_paddle.data.imageset import ImageSet, MappedImages, stratified_draw
from lenet_paddle.data.preprocess import normalise
from lenet_paddle.errors import InputError


def _images(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (_images(2, 28, 28).astype(np.float32), [0, 1], r"float32 \(2, 28, 28\); expected uint8"),
        (_images(2, 28, 28, 1), [0, 1], r"uint8 \(2, 28, 28, 1\); expected uint8 \(N, H, W\)"),
        (_images(3, 28, 28), [0, 1], "3 images but labels of shape"),
        (_images(2, 28, 28), [[0], [1]], r"labels of shape \(2, 1\)"),
        (_images(2, 28, 28), [0, 2], "labels run from 0 to 2; expected 0 to 1"),
        (_images(2, 28, 28), [-1, 1], "labels run from -1 to 1; expected 0 to 1"),
    ],
)
def test_a_bad_image_set_is_refused(images: np.ndarray, labels: list, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ImageSet(images, np.array(labels), ("a", "b"))


def test_take_gives_the_chosen_images_with_their_labels(
    numbered_set: Callable[..., ImageSet],
) -> None:
    full = numbered_set(10)
    chosen = full.take(np.array([7, 2]))
    assert chosen.labels.tolist() == [7, 2]
    assert chosen.images[:, 0, 0].tolist() == [7, 2]
    assert (len(chosen), chosen.num_classes, chosen.classes) == (2, 10, full.classes)


def test_a_slice_copies_nothing(numbered_set: Callable[..., ImageSet]) -> None:
    full = numbered_set(10)
    assert np.shares_memory(full.take(slice(2, 5)).images, full.images)


def test_the_paddle_dataset_gives_what_the_whole_set_normalised_gives(
    numbered_set: Callable[..., ImageSet],
) -> None:
    from paddle.io import DataLoader

    full = numbered_set(5)
    dataset = full.as_paddle_dataset(input_size=32)
    assert len(dataset) == 5
    images, labels = next(iter(DataLoader(dataset, batch_size=5)))
    np.testing.assert_array_equal(images.numpy(), normalise(full.images, 32))
    np.testing.assert_array_equal(labels.numpy(), full.labels[:, None])


@pytest.mark.parametrize(
    ("counts", "size", "quotas"),
    [
        ([60, 30, 10], 10, [6, 3, 1]),
        # shares 1.5, 0.9, 0.6: whole parts 1, 0, 0; the two left go to 0.9 and 0.6
        ([5, 3, 2], 3, [1, 1, 1]),
        ([50, 50], 1, [1, 0]),  # of equal remainders the first
        ([4, 4], 8, [4, 4]),
        ([4, 4], 0, [0, 0]),
        ([98, 1, 1], 50, [49, 1, 0]),
    ],
)
def test_each_class_gives_its_share_rounded_by_largest_remainder(
    counts: list[int], size: int, quotas: list[int]
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    _, drawn = stratified_draw(labels, size, seed=0)
    assert np.bincount(labels[drawn], minlength=len(counts)).tolist() == quotas


def test_a_draw_divides_all_indices_in_two_sorted_parts_of_the_right_size(
    rng: np.random.Generator,
) -> None:
    for seed in range(50):
        labels = rng.integers(0, 7, rng.integers(2, 200))
        size = int(rng.integers(0, len(labels) + 1))
        kept, drawn = stratified_draw(labels, size, seed)
        assert len(drawn) == size
        assert kept.tolist() == sorted(kept)
        assert drawn.tolist() == sorted(drawn)
        assert sorted([*kept, *drawn]) == list(range(len(labels)))


def test_a_draw_is_decided_by_its_seed(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 3, 300)
    first, again, other = (stratified_draw(labels, 100, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.fixture
def mapped_set(tmp_path: Path, numbered_set: Callable[..., ImageSet]) -> ImageSet:
    """Return ten numbered images in a memory-mapped file."""
    full = numbered_set(10)
    np.save(tmp_path / "images.npy", full.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    return ImageSet(mapped, full.labels, full.classes)


def test_of_a_mapped_file_only_indices_are_taken_again_and_again(mapped_set: ImageSet) -> None:
    taken = mapped_set.take(np.array([7, 3, 5, 9])).take(np.array([2, 0, 3])).take(slice(1, None))
    assert isinstance(taken.images, MappedImages)
    assert taken.images.images is mapped_set.images
    assert (taken.images.shape, len(taken), taken.labels.tolist()) == ((2, 28, 28), 2, [7, 9])
    for chosen in (slice(None), np.array([1, 0]), 1):
        np.testing.assert_array_equal(
            taken.images[chosen][..., 0, 0], np.array([7, 9])[chosen], strict=False
        )
    np.testing.assert_array_equal(normalise(taken.images), normalise(mapped_set.images[[7, 9]]))


def test_a_slice_of_a_mapped_file_is_mapped_too(mapped_set: ImageSet) -> None:
    assert isinstance(mapped_set.take(slice(2, 5)).images, np.memmap)
