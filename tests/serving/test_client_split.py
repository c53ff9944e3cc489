"""A client gives a candidate its share of the requests, and does without one when there is none."""

from __future__ import annotations

import threading

import pytest
from model_server import model_config, start_server
from served_models import save_half_plus_two
from tensorflow_serving.apis import prediction_log_pb2

from serving.client import Client, ClientError
from serving.client.split import Split
from serving.config import RequestLogConfig
from serving.records import read_records

STABLE, CANDIDATE = 1.0, 2.0
"""What they answer to 0."""
KEYS = [f"passenger {number}" for number in range(300)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """`tried` has a candidate, with a number below the stable version's, and `alone` has none."""
    folder = tmp_path_factory.mktemp("split")
    for model in ("tried", "alone"):
        save_half_plus_two(folder / model, 10, offset=STABLE)
    save_half_plus_two(folder / "tried", 9, offset=CANDIDATE)
    config = folder / "models.config"
    config.write_text(model_config({name: folder / name for name in ("tried", "alone")}, {"tried": {"canary": 9}}))
    flags = [f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models"]
    with start_server(flags, log_path=folder / "log") as running:
        yield running


@pytest.fixture(params=["grpc", "http"])
def address(request, server):
    return f"grpc://{server.grpc}" if request.param == "grpc" else server.url


def ask(client, key=None):
    return float(client.predict([{"x": 0.0}], key=key)["y"][0])


def test_without_a_share_the_candidate_is_asked_nothing(address):
    with Client(address, "tried") as client:
        assert {ask(client, key) for key in KEYS[:20]} == {STABLE}


def test_with_all_of_it_everything(address):
    with Client(address, "tried", canary_share=1.0) as client:
        assert {ask(client, key) for key in [None, *KEYS[:20]]} == {CANDIDATE}
        assert client.regress([{"x": 0.0}]).tolist() == [CANDIDATE]
        assert client.classify([{"x": 0.0}])["scores"].tolist() == [[-CANDIDATE, CANDIDATE]]


def test_a_key_is_always_on_the_same_side(address):
    with Client(address, "tried", canary_share=0.3) as client, Client(address, "tried", canary_share=0.3) as other:
        answers = {key: ask(client, key) for key in KEYS[:60]}
        assert {key: ask(other, key) for key in reversed(KEYS[:60])} == answers
    assert set(answers.values()) == {STABLE, CANDIDATE}


def test_the_rows_of_one_key_stay_together(address):
    rows = [{"x": 0.0}] * 50
    with Client(address, "tried", canary_share=0.5, batch_size=5) as client:
        for key in KEYS[:10]:
            assert len(set(client.predict(rows, key=key)["y"].tolist())) == 1


def test_without_a_candidate_the_stable_version_answers(address):
    with Client(address, "alone", canary_share=1.0) as client:
        assert {ask(client) for _ in range(5)} == {STABLE}
        assert client.predict({"x": 0.0} for _ in range(3))["y"].tolist() == [STABLE] * 3


def test_a_mistake_is_told_and_not_asked_of_the_other(address):
    with Client(address, "tried", canary_share=1.0) as client, pytest.raises(ClientError, match="no feature 'xx'"):
        client.predict([{"xx": 0.0}])


@pytest.mark.parametrize("model", ["tried", "alone"])
def test_the_log_tells_who_answered(address, tmp_path, model):
    log = RequestLogConfig(path=str(tmp_path))
    with Client(address, model, canary_share=1.0, request_log=log) as client:
        ask(client)
    [file] = tmp_path.rglob("*.tfrecord")
    [record] = read_records(str(file))
    spec = prediction_log_pb2.PredictionLog.FromString(record).log_metadata.model_spec
    assert (spec.name, spec.version.value) == (model, 9 if model == "tried" else 10)


@pytest.mark.parametrize("given", [{"version": 1}, {"label": "stable"}, {"canary_share": 1.5}, {"canary_share": -0.1}])
def test_what_does_not_go_together(given):
    with pytest.raises(ValueError, match="canary_share"):
        Client("http://127.0.0.1:1", "m", **{"canary_share": 0.5, **given})


class TestSplit:
    def test_its_share_is_what_was_asked_for(self):
        split = Split(0.25)
        many = [f"{number}" for number in range(20_000)]
        assert sum(split.takes(key) for key in many) / len(many) == pytest.approx(0.25, abs=0.015)
        assert sum(split.takes(None) for _ in many) / len(many) == pytest.approx(0.25, abs=0.02)

    def test_a_larger_share_keeps_the_keys_of_a_smaller(self):
        small, large = Split(0.1), Split(0.5)
        assert {key for key in KEYS if small.takes(key)} < {key for key in KEYS if large.takes(key)}

    def test_text_and_its_bytes_are_one_key(self):
        split = Split(0.5)
        assert all(split.takes(key) == split.takes(key.encode()) for key in KEYS)

    @pytest.mark.parametrize(
        ("code", "message", "is_absent"),
        [
            ("INVALID_ARGUMENT", "Unrecognized servable version label: canary", True),
            ("NOT_FOUND", "Servable not found for request: Specific(m, 9)", True),
            ("INVALID_ARGUMENT", "x is negative", False),
            ("UNAVAILABLE", "The connection was cut", False),
        ],
    )
    def test_an_absent_candidate_is_left_alone_for_a_moment(self, monkeypatch, code, message, is_absent):
        now = [100.0]
        monkeypatch.setattr("serving.client.split.time.monotonic", lambda: now[0])
        split = Split(1.0)
        assert split.absent(ClientError(code, message)) is is_absent
        assert split.takes(None) is not is_absent
        now[0] += 1.5
        assert split.takes(None)


def test_many_threads(address):
    with Client(address, "tried", canary_share=0.5) as client:
        sides = {key: [] for key in KEYS[:20]}

        def run():
            for key in KEYS[:20]:
                sides[key].append(ask(client, key))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(len(answers) == 4 and len(set(answers)) == 1 for answers in sides.values())
