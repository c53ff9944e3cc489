"""Requests that share a run: each gets its own answer, and only the bad ones fail."""

import asyncio
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from signatures import signature

from serving.server.batch import BatchingOptions, Tensors
from serving.server.batching import Runner
from serving.server.json_request import Rows
from serving.server.status import Code, StatusError

FLOATS = {"x": (tf.float32, [None])}
MIXED = {"x": (tf.float32, [None]), "n": (tf.int64, [None]), "t": (tf.string, [None])}
BATCHING = BatchingOptions(max_batch_size=64)


class Model:
    """Doubles numbers, and remembers what it was asked."""

    def __init__(self, seconds=0.0, fails_at=None, error=None):
        self.runs = []
        self.threads = set()
        self.seconds = seconds
        self.fails_at = fails_at
        self.error = error or StatusError(Code.INVALID_ARGUMENT, "bad value")

    def __call__(self, *arrays):
        self.runs.append([array.tolist() for array in arrays])
        self.threads.add(threading.current_thread())
        time.sleep(self.seconds)
        if self.fails_at is not None and any(self.fails_at in array.ravel().tolist() for array in arrays):
            raise self.error
        return [array + array for array in arrays]


def serve(of, *requests, options=BATCHING, timeout=5.0, threads=2, warm=True, **arguments):
    """The answers to requests that arrive together: outputs, or the exception."""

    async def run():
        runner = Runner(options, threads)
        if warm:  # a model that is known to be fast runs in the event loop
            for rows in (0, 1, 2, 4, 8, 16, 32, 64):
                of._seconds[rows.bit_length()] = 0.0
        answers = await asyncio.gather(
            *(runner.run(of, request, timeout_seconds=timeout, **arguments) for request in requests),
            return_exceptions=True,
        )
        runner.close()
        return [
            [each.tolist() for each in answer.outputs] if hasattr(answer, "outputs") else answer for answer in answers
        ]

    return asyncio.run(run())


def floats(*values):
    return Tensors([np.array(values, np.float32)])


@pytest.mark.parametrize("warm", [True, False], ids=["inline", "thread"])
def test_what_arrives_together_is_one_run(warm):
    model = Model()
    assert serve(signature(FLOATS, model), floats(1), floats(2, 3), floats(4), warm=warm) == [
        [[2.0]],
        [[4.0, 6.0]],
        [[8.0]],
    ]
    assert model.runs == [[[1.0, 2.0, 3.0, 4.0]]]
    assert (threading.main_thread() in model.threads) is warm


def test_without_batching_each_request_is_a_run():
    model = Model()
    assert serve(signature(FLOATS, model), floats(1), floats(2), options=None) == [[[2.0]], [[4.0]]]
    assert model.runs == [[[1.0]], [[2.0]]]


def test_rows_of_json_are_converted_together_but_fail_alone():
    model = Model()
    of = signature(FLOATS, model)
    requests = [Rows([{"x": 1}], of), Rows([{"x": 2}, {"x": "a"}], of), Rows([3.0, 4], of), Rows([{"y": 1}], of)]
    one, bad, three, unknown = serve(of, *requests)
    assert (one, three) == ([[2.0]], [[6.0, 8.0]])
    assert "Failed to process element: 1 key: x" in bad.message
    assert "does not have named input: y" in unknown.message


@pytest.mark.parametrize("warm", [True, False], ids=["inline", "thread"])
def test_one_bad_value_fails_its_own_request_only(warm):
    model = Model(fails_at=13.0)
    of = signature(FLOATS, model)
    one, bad, two = serve(of, floats(1), floats(13, 2), floats(3), warm=warm)
    assert (one, two) == ([[2.0]], [[6.0]])
    assert (bad.code, bad.message) == (Code.INVALID_ARGUMENT, "bad value")


@pytest.mark.parametrize("warm", [True, False], ids=["inline", "thread"])
def test_a_bug_is_an_internal_error_and_no_hang(warm, caplog):
    of = signature(FLOATS, Model(fails_at=13.0, error=RuntimeError("bug")))
    answers = serve(of, floats(1), floats(13), warm=warm)
    assert {each.code for each in answers} == {Code.INTERNAL}
    assert "A batch failed" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("warm", [True, False], ids=["inline", "thread"])
def test_shapes_that_differ_do_not_meet(warm):
    of = signature({"v": (tf.float32, [None, None])}, Model())
    wide, narrow, wide_too = np.ones((2, 3), np.float32), np.ones((1, 1), np.float32), np.zeros((1, 3), np.float32)
    answers = serve(of, Tensors([wide]), Tensors([narrow]), Tensors([wide_too]), warm=warm)
    assert answers == [[(wide * 2).tolist()], [[[2.0]]], [[[0.0, 0.0, 0.0]]]]


def test_inputs_of_different_lengths_run_alone():
    of = signature({"a": (tf.float32, [None]), "b": (tf.float32, [None])}, Model())
    odd = Tensors([np.ones(2, np.float32), np.ones(3, np.float32)])
    usual = Tensors([np.zeros(1, np.float32), np.zeros(1, np.float32)])
    assert serve(of, usual, odd, usual) == [[[0.0], [0.0]], [[2.0, 2.0], [2.0, 2.0, 2.0]], [[0.0], [0.0]]]


def test_outputs_that_are_no_row_for_a_row_are_never_shared_out():
    twice = signature(FLOATS, lambda x: [np.repeat(x, 2)])
    assert serve(twice, floats(1), floats(2)) == [[[1.0, 1.0]], [[2.0, 2.0]]]
    padded = BatchingOptions(max_batch_size=4, allowed_batch_sizes=(2, 4))
    (refused,) = serve(twice, floats(1), options=padded)
    assert refused.code is Code.FAILED_PRECONDITION
    assert "0th dimension does not equal the sum" in refused.message


class TestSizes:
    def test_a_request_may_fill_a_batch_but_not_exceed_it(self):
        options = BatchingOptions(max_batch_size=3)
        fits, exceeds = serve(signature(FLOATS, Model()), floats(1, 2, 3), floats(1, 2, 3, 4), options=options)
        assert fits == [[2.0, 4.0, 6.0]]
        assert exceeds.code is Code.INVALID_ARGUMENT
        assert exceeds.message == "Task size 4 is larger than maximum input batch size 3"

    @pytest.mark.parametrize("waits", [{}, {"batch_timeout_micros": 1000}, {"allowed_batch_sizes": (1, 3)}], ids=str)
    def test_a_larger_request_runs_by_itself_where_large_batches_may_be_split(self, waits):
        model = Model()
        options = BatchingOptions(max_batch_size=3, enable_large_batch_splitting=True, **waits)
        answers = serve(signature(FLOATS, model), floats(7), floats(1, 2, 3, 4), floats(8), options=options)
        assert answers == [[[14.0]], [[2.0, 4.0, 6.0, 8.0]], [[16.0]]]
        assert [1.0, 2.0, 3.0, 4.0] in [run[0] for run in model.runs]

    def test_what_does_not_fit_goes_into_the_next_batch(self):
        model = Model()
        serve(
            signature(FLOATS, model), floats(1, 2), floats(3, 4), floats(5), options=BatchingOptions(max_batch_size=3)
        )
        assert model.runs == [[[1.0, 2.0]], [[3.0, 4.0, 5.0]]]

    @pytest.mark.parametrize(("rows", "ran"), [(1, 2), (2, 2), (3, 8), (8, 8)])
    def test_a_batch_is_padded_to_an_allowed_size(self, rows, ran):
        model = Model()
        options = BatchingOptions(max_batch_size=8, allowed_batch_sizes=(2, 8))
        answers = serve(signature(FLOATS, model), *(floats(each) for each in range(rows)), options=options)
        assert answers == [[[2.0 * each]] for each in range(rows)]
        assert [len(run[0]) for run in model.runs] == [ran]

    def test_no_rows_at_all(self):
        of = signature(FLOATS, Model())
        assert serve(of, floats(), floats(1), floats()) == [[[]], [[2.0]], [[]]]
        options = BatchingOptions(max_batch_size=8, allowed_batch_sizes=(8,))
        assert serve(of, floats(), floats(1), options=options)[1] == [[2.0]]


class TestWaiting:
    def test_a_batch_waits_for_its_timeout(self):
        model = Model()
        of = signature(FLOATS, model)

        async def run():
            runner = Runner(BatchingOptions(max_batch_size=64, batch_timeout_micros=60_000), 1)
            first = asyncio.create_task(runner.run(of, floats(1)))
            await asyncio.sleep(0.01)
            second = asyncio.create_task(runner.run(of, floats(2)))
            await asyncio.gather(first, second)

        asyncio.run(run())
        assert model.runs == [[[1.0, 2.0]]]

    def test_a_full_batch_does_not_wait(self):
        options = BatchingOptions(max_batch_size=2, batch_timeout_micros=60_000_000)
        started = time.monotonic()
        assert serve(signature(FLOATS, Model()), floats(1), floats(2), options=options) == [[[2.0]], [[4.0]]]
        assert serve(signature(FLOATS, Model()), floats(1, 2), options=options) == [[[2.0, 4.0]]]
        assert time.monotonic() - started < 10

    def test_a_client_that_went_away_disturbs_nobody(self):
        model = Model()
        of = signature(FLOATS, model)

        async def run():
            runner = Runner(BATCHING, 1)
            tasks = [asyncio.create_task(runner.run(of, floats(each))) for each in range(3)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        zero, gone, two = asyncio.run(run())
        assert isinstance(gone, asyncio.CancelledError)
        assert [answer.outputs[0].tolist() for answer in (zero, two)] == [[0.0], [4.0]]

    @pytest.mark.parametrize("options", [None, BATCHING], ids=["single", "batch"])
    def test_a_run_that_takes_too_long_is_given_up(self, options):
        of = signature(FLOATS, Model(seconds=0.3))
        answers = serve(of, floats(1), floats(2), options=options, timeout=0.05, warm=False)
        assert {each.code for each in answers} == {Code.DEADLINE_EXCEEDED}

    def test_a_full_queue_is_unavailable(self):
        of = signature(FLOATS, Model(seconds=0.2))
        options = BatchingOptions(max_batch_size=1, max_enqueued_batches=2)

        async def run():
            runner = Runner(options, 1)
            busy = [asyncio.create_task(runner.run(of, floats(each))) for each in range(3)]  # one runs, two wait
            await asyncio.sleep(0.05)
            late = await asyncio.gather(runner.run(of, floats(9)), return_exceptions=True)
            return late + await asyncio.gather(*busy)

        late, *busy = asyncio.run(run())
        assert late.code is Code.UNAVAILABLE
        assert "queue to which this task was submitted is full" in late.message
        assert [each.outputs[0].tolist() for each in busy] == [[0.0], [2.0], [4.0]]

    def test_requests_join_the_batch_that_waits_for_a_thread(self):
        """In TensorFlow Serving a queue is full when its batches are, and those that run are no longer in it."""
        of = signature(FLOATS, Model(seconds=0.1))

        async def run():
            runner = Runner(BatchingOptions(max_batch_size=64, max_enqueued_batches=10), 2)

            async def client(number):
                for _ in range(4 * number):  # one in each turn or so of the event loop
                    await asyncio.sleep(0)
                return await runner.run(of, floats(number))

            return await asyncio.gather(*map(client, range(30)), return_exceptions=True)

        answers = asyncio.run(run())
        assert [each for each in answers if isinstance(each, StatusError)] == []

    def test_requests_one_by_one_are_held_for_each_other_if_that_helps(self):
        model = Model()
        of = signature(FLOATS, model)

        async def run():
            runner = Runner(BATCHING, 1)

            async def client(number):
                for turn in range(60):
                    answer = await runner.run(of, floats(number, turn), may_hold=True)
                    assert answer.outputs[0].tolist() == [number * 2, turn * 2]

            await asyncio.gather(*map(client, range(8)))

        asyncio.run(run())
        assert sum(len(run[0]) for run in model.runs) == 2 * 8 * 60
        assert len(model.runs) < 8 * 60


class TestVariableLengths:
    OPTIONS = BatchingOptions(max_batch_size=64, pad_variable_length_inputs=True)

    def test_shorter_inputs_are_filled_up_with_their_first_value(self):
        model = Model()
        short, long = np.array([[7], [8]], np.float32), np.array([[1, 2, 3]], np.float32)
        serve(
            signature({"v": (tf.float32, [None, None])}, model), Tensors([short]), Tensors([long]), options=self.OPTIONS
        )
        assert model.runs == [[[[7, 7, 7], [8, 7, 7], [1, 2, 3]]]]

    def test_texts_keep_their_zero_bytes(self):
        model = Model()
        short, long = np.array([[b"a\0"]], object), np.array([[b"b\0", b"c\0\0"]], object)
        serve(
            signature({"t": (tf.string, [None, None])}, model), Tensors([short]), Tensors([long]), options=self.OPTIONS
        )
        assert model.runs == [[[[b"a\0", b"a\0"], [b"b\0", b"c\0\0"]]]]

    def test_inputs_without_values(self):
        model = Model()
        empty, long = np.zeros((2, 0), np.float32), np.array([[1, 2]], np.float32)
        serve(
            signature({"v": (tf.float32, [None, None])}, model), Tensors([empty]), Tensors([long]), options=self.OPTIONS
        )
        assert model.runs == [[[[0, 0], [0, 0], [1, 2]]]]

    def test_ranks_that_differ_do_not_meet(self):
        model = Model()
        flat, deep = np.ones(1, np.float32), np.ones((1, 2), np.float32)
        assert serve(
            signature({"v": (tf.float32, None)}, model), Tensors([flat]), Tensors([deep]), options=self.OPTIONS
        ) == [
            [[2.0]],
            [[[2.0, 2.0]]],
        ]


_MIXED = st.lists(
    st.tuples(st.floats(-9, 9, width=32) | st.just(13.0), st.integers(-9, 9), st.text(max_size=3)), max_size=4
)
_OPTIONS = st.sampled_from(
    [
        BATCHING,
        BatchingOptions(max_batch_size=3),
        BatchingOptions(max_batch_size=8, allowed_batch_sizes=(1, 4, 8)),
        BatchingOptions(max_batch_size=64, batch_timeout_micros=500),
        BatchingOptions(max_batch_size=64, pad_variable_length_inputs=True),
        None,
    ]
)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(_MIXED, st.sampled_from(["rows", "tensors", "wrong"])), min_size=1, max_size=8),
    _OPTIONS,
    st.booleans(),
)
def test_everybody_gets_their_own_answer(plan, options, warm):
    """Whatever arrives together, of any size and kind, with bad requests among the good."""
    of = signature(MIXED, Model(fails_at=13.0))
    names = of.input_names
    requests = []
    for rows, kind in plan:
        if kind == "tensors" or not rows:
            given = {
                "x": np.array([row[0] for row in rows], np.float32),
                "n": np.array([row[1] for row in rows], np.int64),
            }
            given["t"] = np.array([row[2].encode() for row in rows] + [None], object)[:-1]
            requests.append(Tensors([given[name] for name in names]))
        else:
            number = "wrong" if kind == "wrong" else None
            requests.append(Rows([{"x": x, "n": number or n, "t": t} for x, n, t in rows], of))
    answers = serve(of, *requests, options=options, warm=warm)
    for (rows, kind), answer in zip(plan, answers, strict=True):
        most = options.max_batch_size if options else 64
        if len(rows) > most or (rows and kind == "wrong") or any(row[0] == 13.0 for row in rows):
            assert isinstance(answer, StatusError)
            assert answer.code is Code.INVALID_ARGUMENT
        else:
            found = dict(zip(names, answer, strict=True))
            assert found["x"] == [np.float32(row[0]) * 2 for row in rows]
            assert found["n"] == [row[1] * 2 for row in rows]
            assert found["t"] == [row[2].encode() * 2 for row in rows]


def test_requests_that_are_given_up_are_neither_run_nor_counted():
    model = Model()
    of = signature(FLOATS, model)

    async def run():
        runner = Runner(BATCHING, 1)
        of._seconds[1] = 0.0
        gone = asyncio.create_task(runner.run(of, floats(1)))
        await asyncio.sleep(0)
        gone.cancel()
        answers = await asyncio.gather(gone, runner.run(of, floats(2)), return_exceptions=True)
        return answers, runner._queue(of, BATCHING)._untold

    (gone, kept), untold = asyncio.run(run())
    assert isinstance(gone, asyncio.CancelledError)
    assert kept.outputs[0].tolist() == [4.0]
    assert model.runs == [[[2.0]]]
    assert untold == 0


def test_only_a_request_with_a_time_limit_is_given_up():
    of = signature(FLOATS, Model(seconds=0.2))
    (limited,) = serve(of, floats(1), timeout=0.05, warm=False)
    assert limited.code is Code.DEADLINE_EXCEEDED
    assert serve(of, floats(1), timeout=None, warm=False) == [[[2.0]]]
