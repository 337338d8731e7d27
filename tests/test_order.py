"""The global order: a function of seed, epoch and position, whatever the machine."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from foveate.dataloaders.order import Order, permutation

RECORDED = [5, 0, 3, 7, 6, 1, 4, 2]  # seed 7, epoch 2, 8 samples: published runs rest on it


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_every_sample_comes_once_in_each_epoch(count):
    samples, epochs = Order(3, count).at(0, 3 * count)
    assert epochs.tolist() == np.repeat([0, 1, 2], count).tolist()
    for epoch in samples.reshape(3, count):
        assert sorted(epoch) == list(range(count))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [permutation(seed, epoch, 100).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_the_order_is_the_recorded_one():
    assert permutation(7, 2, 8).tolist() == RECORDED
    assert permutation(7, 2, 8).dtype == np.int64


def test_no_place_is_favoured():
    first = [permutation(0, epoch, 10)[0] for epoch in range(2000)]
    assert np.bincount(first, minlength=10).min() > 150  # 200 expected, standard deviation 13


def test_positions_may_be_asked_for_in_any_order_and_length():
    order, whole = Order(5, 11), Order(5, 11).at(0, 100)
    for position, length in ((95, 5), (0, 1), (10, 2), (3, 60), (11, 0)):
        found = Order(5, 11).at(position, length), order.at(position, length)
        for samples, epochs in found:
            assert samples.tolist() == whole[0][position : position + length].tolist()
            assert epochs.tolist() == whole[1][position : position + length].tolist()


def test_positions_beyond_two_to_the_32_work():
    samples, epochs = Order(5, 7).at(7 * (2**32 - 1), 7)
    assert sorted(samples) == list(range(7))
    assert set(epochs.tolist()) == {2**32 - 1}


def test_two_threads_that_ask_for_different_epochs_get_their_own():
    order, wrong = Order(0, 50), []

    def ask(epoch: int) -> None:
        expected = permutation(0, epoch, 50).tolist()
        wrong.extend(1 for _ in range(300) if order.at(epoch * 50, 50)[0].tolist() != expected)

    threads = [threading.Thread(target=ask, args=(epoch,)) for epoch in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_order_of_nothing_is_refused():
    with pytest.raises(ValueError, match="1 sample or more"):
        Order(0, 0)
