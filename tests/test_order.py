"""The global order: a function of seed, epoch and position, whatever the machine."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from foveate.dataloaders.order import RUN, Order, balance, permutation
from foveate.kernels import draws

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


@pytest.mark.parametrize(("count", "window"), [(1, 8), (64, 1), (1000, 256), (1003, 300)])
def test_a_windowed_order_has_every_sample_once_and_stays_in_its_windows(count, window):
    samples, _ = Order(3, count, window=window).at(0, 2 * count)
    for epoch in samples.reshape(2, count):
        assert sorted(epoch) == list(range(count))
        for start in range(0, count, window):
            runs = set((epoch[start : start + window] // RUN).tolist())
            assert len(runs) <= window // RUN + 2


def test_a_windowed_order_mixes_within_a_window_and_over_epochs():
    order = Order(0, 6400, window=640)
    first, second = (order.at(epoch * 6400, 6400)[0] for epoch in (0, 1))
    neighbours = np.abs(np.diff(first)) == 1
    assert neighbours.mean() < 0.01
    assert len(set((first[:640] // RUN).tolist()) & set((second[:640] // RUN).tolist())) < 6


def test_a_weighted_epoch_gives_each_sample_floor_or_ceil_of_its_share():
    weight = np.random.default_rng(0).uniform(0.1, 3, 500)
    share = 500 * weight / weight.sum()
    order, total = Order(1, 500, weight=weight), np.zeros(500)
    for epoch in range(200):
        found = np.bincount(order.at(epoch * 500, 500)[0], minlength=500)
        assert (np.abs(found - share) < 1).all()
        total += found
    assert np.abs(total / 200 - share).max() < 0.15


def test_balanced_classes_come_equally_often():
    label = np.repeat([0, 1, 2], [10, 100, 490])
    samples, _ = Order(2, 600, weight=balance(label)).at(0, 600)
    assert np.abs(np.bincount(label[samples]) - 200).max() <= 1


def test_a_repeated_sample_draws_anew_each_time():
    label = np.repeat([0, 1], [2, 98])
    samples, keys = Order(2, 100, weight=balance(label)).at(300, 100)
    assert len(set(zip(samples.tolist(), keys.tolist(), strict=True))) == 100
    assert set((keys & 0xFFFFF).tolist()) == {3}


def test_weighted_and_windowed_positions_may_be_asked_for_in_any_order():
    for words in ({"window": 64}, {"weight": np.arange(1, 301)}):
        whole = Order(5, 300, **words).at(0, 900)
        for position, length in ((700, 100), (0, 1), (290, 20)):
            found = Order(5, 300, **words).at(position, length)
            for mine, all_of_it in zip(found, whole, strict=True):
                assert mine.tolist() == all_of_it[position : position + length].tolist()


def test_partners_are_others_evenly_drawn_and_belong_to_the_sample():
    order, samples = Order(4, 10), np.repeat(np.arange(10), 300)
    epochs = np.tile(np.arange(300), 10)
    found = order.partners(samples, epochs, 5)
    assert found.shape == (3000, 5) and (found != samples[:, None]).all()
    counts = np.bincount(found[samples == 3].ravel(), minlength=10)
    assert counts[3] == 0 and np.delete(counts, 3).min() > 120  # 167 expected
    assert order.partners(samples[7:8], epochs[7:8], 5).tolist() == found[7:8].tolist()


def test_weights_that_mean_nothing_are_refused():
    for weight in (np.ones(3), np.array([1.0, 0.0]), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="weights above 0"):
            Order(0, 2, weight=weight)


def test_an_epoch_is_made_once_though_what_is_ahead_lies_in_the_next():
    order, made = Order(0, 100), []
    make = order._make
    order._make = lambda epoch: made.append(epoch) or make(epoch)
    for step in range(30):
        for position in (10 * step + 30, 10 * step):
            order.at(position, 10)
    assert made == [0, 1, 2, 3]


def test_a_class_of_one_image_may_come_any_number_of_times():
    label = np.zeros(20_000, np.int64)
    label[7] = 1
    samples, keys = Order(0, 20_000, weight=balance(label)).at(0, 20_000)
    assert (samples == 7).sum() in (9_999, 10_000, 10_001)
    words = draws.words(0, samples, keys, draws.FLIP)  # refuses what is over 32 bits
    assert len(np.unique(words[samples == 7], axis=0)) == 4096
