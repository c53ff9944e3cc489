"""Results come in order, a few ahead of what is asked for."""

import threading

import pytest

from data.ahead import map_ahead


def test_results_are_those_of_map():
    assert list(map_ahead(str, range(20))) == list(map(str, range(20)))
    assert list(map_ahead(str, [])) == []


def test_no_more_is_taken_than_a_few_items_ahead():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = map_ahead(str, items())
    assert next(results) == "0"
    assert len(taken) == 3
    assert next(results) == "1"
    assert len(taken) == 4


def test_two_are_made_at_once():
    both = threading.Barrier(2, timeout=30)
    assert list(map_ahead(lambda number: both.wait() >= 0, range(4))) == [True] * 4


def test_a_mistake_is_raised_in_its_turn():
    results = map_ahead(lambda number: 6 // number, [3, 2, 0, 1])
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_one_that_is_not_asked_to_the_end_leaves_no_thread():
    before = threading.active_count()
    results = map_ahead(str, range(10))
    next(results)
    results.close()
    assert threading.active_count() == before
