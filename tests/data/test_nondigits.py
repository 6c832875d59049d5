"""Pictures that are no digits: what they are made of, and their place in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refusal_help import refusal

from lenet_paddle.data.datasets import DIGITS
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.data.nondigits import KINDS, TURNS, Digits, choose_outliers, make_nondigits
from lenet_paddle.data.transforms import Augmentation


@pytest.fixture(scope="module")
def image_set() -> ImageSet:
    return load_dataset("mnist", "test").take(slice(0, 120))


@pytest.fixture(scope="module")
def digits(image_set: ImageSet) -> Digits:
    return Digits(np.asarray(image_set.images), image_set.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_makes_bytes_that_follow_from_the_generator(kind: str, digits: Digits) -> None:
    before = digits.images.copy()
    first, again, other = (KINDS[kind](digits, 9, np.random.default_rng(n)) for n in (0, 0, 1))
    assert first.dtype == np.uint8 and first.shape == (9, 28, 28)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(digits.images, before)


@pytest.mark.parametrize("kind", KINDS)
def test_no_picture_is_one_of_the_digits(kind: str, digits: Digits) -> None:
    made = KINDS[kind](digits, 60, np.random.default_rng(2))
    same = (made[:, None] == digits.images).all(axis=(2, 3))
    assert not same.any()


@pytest.mark.parametrize("kind", KINDS)
def test_one_digit_is_enough(kind: str, digits: Digits) -> None:
    for number in range(10):  # also where the kind needs digits that are not there
        one = Digits(*(part[number : number + 1] for part in digits))
        assert KINDS[kind](one, 3, np.random.default_rng(0)).shape == (3, 28, 28)


def test_turned_digits_are_none_that_stay_digits() -> None:
    assert len(set(TURNS)) == len(TURNS)
    for digit, exchanged, turns in TURNS:
        assert digit not in (0, 1, 8) and (exchanged or turns)
        assert (digit, turns) not in ((6, 2), (9, 2))  # each other, upside down
        assert not (digit in (2, 5) and (exchanged or turns == 2))  # a 2, a 5, or nearly one


def test_kinds_are_drawn_evenly(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    def numbered(number: int) -> Any:
        return lambda _, count, rng: np.full((count, 28, 28), number, np.uint8)

    for number, kind in enumerate(KINDS):
        monkeypatch.setitem(KINDS, kind, numbered(number))
    made = make_nondigits(*digits, 1400, np.random.default_rng(0))
    counts = np.bincount(made[:, 0, 0], minlength=len(KINDS))
    np.testing.assert_allclose(counts, 1400 / len(KINDS), rtol=0.4)


def test_a_share_of_the_batch_is_replaced_at_its_end_with_the_label_minus_1(
    image_set: ImageSet, digits: Digits
) -> None:
    replace = choose_outliers(0.3, image_set)
    assert replace is not None
    images, labels = replace(*digits, np.random.default_rng(0))
    assert images.shape == digits.images.shape and labels.dtype == digits.labels.dtype
    np.testing.assert_array_equal(images[:84], digits.images[:84])
    np.testing.assert_array_equal(labels, [*digits.labels[:84], *[-1] * 36])
    assert (images[84:] != digits.images[84:]).any(axis=(1, 2)).all()
    one = replace(digits.images[:1], digits.labels[:1], np.random.default_rng(0))
    np.testing.assert_array_equal(one[1], digits.labels[:1])  # a batch keeps a digit


def test_a_share_of_0_replaces_nothing_and_other_pictures_are_refused(
    image_set: ImageSet,
) -> None:
    assert choose_outliers(0, image_set) is None
    clothes = load_dataset("fashion_mnist", "test").take(slice(0, 5))
    assert choose_outliers(0, clothes) is None
    message = refusal(lambda: choose_outliers(0.2, clothes))
    assert "outliers is 0.2" in message and "T-shirt" in message
    assert "grey digits, 0 to 9: leave --outliers out" in message
    colour = ImageSet(np.zeros((2, 28, 28, 3), np.uint8), np.array([0, 1]), DIGITS)
    assert "colour ones" in refusal(lambda: choose_outliers(0.2, colour))


def batches(image_set: ImageSet, share: float, epoch: int = 1, **settings: Any) -> list[Any]:
    loader = BatchLoader(
        image_set, 50, shuffle=True, seed=3, outliers=choose_outliers(share, image_set), **settings
    )
    loader.set_epoch(epoch)
    return list(loader)


def test_an_epochs_batches_follow_from_seed_and_epoch_and_the_digits_stay_as_they_were(
    image_set: ImageSet,
) -> None:
    light = Augmentation(augment="light")
    plain = batches(image_set, 0, augment=light)
    first, again, other = (batches(image_set, 0.2, n, augment=light) for n in (1, 1, 2))
    for (images, labels), (same, same_labels) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, same_labels)
    assert (first[0][0][40:] != other[0][0][40:]).any()
    assert [(labels == -1).sum() for _, labels in first] == [10, 10, 4]
    for (images, labels), (before, before_labels) in zip(first, plain, strict=True):
        kept = int((labels >= 0).sum())
        np.testing.assert_array_equal(labels[:kept], before_labels[:kept])
        np.testing.assert_array_equal(images[:kept], before[:kept])


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_ranks_together_get_the_batch_that_one_process_gets(
    image_set: ImageSet, num_ranks: int
) -> None:
    whole = batches(image_set, 0.2)
    for rank in range(num_ranks):
        own = batches(image_set, 0.2, rank=rank, num_ranks=num_ranks)
        for (images, labels), (all_images, all_labels) in zip(own, whole, strict=True):
            np.testing.assert_array_equal(labels, all_labels[rank::num_ranks])
            np.testing.assert_array_equal(images, all_images[rank::num_ranks])
