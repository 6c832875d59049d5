"""Requests that arrive together run as one batch, and each gets its own rows."""

import asyncio
import time

import numpy as np
import pytest

from lenet_paddle.serve.batching import Batcher


def ask(batcher, *batches):
    async def together():
        asked = [batcher.run(np.full((count, 2), float(value))) for count, value in batches]
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(together())


def test_each_gets_its_rows_of_one_run():
    runs = []

    def double(batch):
        runs.append(len(batch))
        return batch * 2

    results = ask(Batcher(double, 64), (1, 3), (4, 5), (2, 7))
    assert runs == [7]
    for result, (count, value) in zip(results, [(1, 6), (4, 10), (2, 14)], strict=True):
        np.testing.assert_array_equal(result, np.full((count, 2), value))


@pytest.mark.parametrize(
    ("counts", "expected"), [((3, 3, 3), [3, 3, 3]), ((2, 2, 1), [4, 1]), ((9, 1), [4, 1, 4, 1])]
)
def test_a_run_is_no_larger_than_allowed_and_a_large_request_lets_others_in(counts, expected):
    runs = []

    def record(batch):
        runs.append(len(batch))
        return batch

    ask(Batcher(record, 4), *((count, 0) for count in counts))
    assert runs == expected


def test_one_that_comes_later_is_not_waited_for():
    runs = []

    def record(batch):
        runs.append(len(batch))
        return batch

    async def one_after_the_other():
        batcher = Batcher(record, 64)
        await batcher.run(np.zeros((1, 2)))
        await batcher.run(np.zeros((2, 2)))

    asyncio.run(one_after_the_other())
    assert runs == [1, 2]


def test_a_large_request_gets_its_rows_in_order():
    batch = np.arange(22.0).reshape(11, 2)
    result = asyncio.run(Batcher(lambda rows: rows * 2, 4).run(batch))
    np.testing.assert_array_equal(result, batch * 2)


def test_what_waited_too_long_is_not_run():
    runs = []

    def record(batch):
        runs.append(len(batch))
        return batch

    async def together():
        batcher = Batcher(record, 4)
        late = batcher.run(np.zeros((3, 2)), time.monotonic() - 1)
        return await asyncio.gather(late, batcher.run(np.zeros((2, 2))), return_exceptions=True)

    late, other = asyncio.run(together())
    assert isinstance(late, TimeoutError) and other.shape == (2, 2) and runs == [2]


def test_an_error_reaches_all_who_asked_and_the_next_are_answered():
    def refuse_large(batch):
        if len(batch) > 2:
            raise MemoryError
        return batch

    batcher = Batcher(refuse_large, 64)
    assert [type(result) for result in ask(batcher, (2, 0), (2, 0))] == [MemoryError] * 2
    assert ask(batcher, (2, 0))[0].shape == (2, 2)


def test_one_that_was_given_up_does_not_disturb_the_others():
    async def give_up():
        batcher = Batcher(lambda batch: batch * 2, 64)
        first = asyncio.ensure_future(batcher.run(np.ones((1, 2))))
        second = asyncio.ensure_future(batcher.run(np.ones((1, 2))))
        asyncio.get_running_loop().call_soon(first.cancel)
        return await asyncio.gather(first, second, return_exceptions=True)

    first, second = asyncio.run(give_up())
    assert isinstance(first, asyncio.CancelledError)
    np.testing.assert_array_equal(second, np.full((1, 2), 2))
