"""Which model's requests are logged where, and what a reload changes."""

from __future__ import annotations

import threading

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.config import RequestLogConfig
from serving.server.logs import RequestLogs
from serving.server.metrics import Metrics
from serving.server.options import ServerOptions
from serving.server.settings import request_log
from serving.server.status import Code, StatusError


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def start(metrics):
    opened = []

    def act(default=None):
        opened.append(RequestLogs(default, metrics))
        return opened[-1]

    yield act
    for each in opened:
        each.close()


def config(**models):
    blocks = "".join(
        f'config {{ name: "{name}" base_path: "/{name}" model_platform: "tensorflow" {logging} }}'
        for name, logging in models.items()
    )
    return text_format.Parse(f"model_config_list {{ {blocks} }}", ModelServerConfig())


def logging_config(folder, rate=1.0, kind="tfrecord"):
    collector = f'log_collector_config {{ type: "{kind}" filename_prefix: "{folder}" }}'
    return f"logging_config {{ {collector} sampling_config {{ sampling_rate: {rate} }} }}"


def records(folder):
    return [record for path in folder.glob("*.tfrecord") for record in tf.compat.v1.io.tf_record_iterator(str(path))]


def test_without_a_default_only_models_with_a_logging_config_are_logged(start, tmp_path):
    logs = start()
    logs.reload(config(a="", b=logging_config(tmp_path / "b", 0.5)))
    assert logs.of("a") is None
    assert logs.of("b").sampling_rate == 0.5
    assert logs.of("c") is None


def test_a_default_is_for_models_without_a_logging_config(start, tmp_path, metrics):
    logs = start(RequestLogConfig(path=str(tmp_path / "all"), sampling_rate=0.25))
    logs.reload(config(a="", b=logging_config(tmp_path / "b")))
    assert (logs.of("a").sampling_rate, logs.of("b").sampling_rate) == (0.25, 1.0)
    for name in "ab":
        logs.of(name).offer(name.encode)
    logs.close()
    assert (records(tmp_path / "all"), records(tmp_path / "b")) == ([b"a"], [b"b"])
    assert [metrics.request_log_count.value(name, "OK") for name in "ab"] == [1, 1]


def test_a_logging_config_without_a_folder_logs_into_the_defaults(start, tmp_path):
    logs = start(RequestLogConfig(path=str(tmp_path / "all")))
    logs.reload(config(a="logging_config { sampling_config { sampling_rate: 1 } }"))
    logs.of("a").offer(lambda: b"a")
    logs.close()
    assert records(tmp_path / "all") == [b"a"]


def test_a_reload_keeps_the_logs_that_stay_as_they_were(start, tmp_path):
    logs = start()
    logs.reload(config(a=logging_config(tmp_path), b=logging_config(tmp_path), c=logging_config(tmp_path)))
    a, b = logs.of("a"), logs.of("b")
    a.offer(lambda: b"old")
    logs.reload(config(a=logging_config(tmp_path, 0.5), b=logging_config(tmp_path), d=""))
    assert logs.of("a") is not a
    assert logs.of("a").sampling_rate == 0.5
    assert logs.of("b") is b
    assert logs.of("c") is None
    logs.close()
    assert records(tmp_path) == [b"old"]


def test_a_slow_disk_does_not_delay_a_reload(start, tmp_path):
    logs, gate = start(), threading.Event()
    logs.reload(config(a=logging_config(tmp_path)))
    logs.of("a").offer(lambda: gate.wait() and b"slow")
    logs.reload(config(a=logging_config(tmp_path, 0.5)))
    assert logs.of("a").sampling_rate == 0.5
    gate.set()
    logs.close()
    assert records(tmp_path) == [b"slow"]


@pytest.mark.parametrize(
    ("wrong", "code", "told"),
    [
        (logging_config("/x", kind="kafka"), Code.NOT_FOUND, "Cannot find LogCollector::Factory for type: kafka"),
        (logging_config(""), Code.INVALID_ARGUMENT, "The logging_config of model b needs a folder"),
        (logging_config("/x", 1.5), Code.INVALID_ARGUMENT, "a sampling_rate from 0 to 1"),
        (logging_config("/x", -0.5), Code.INVALID_ARGUMENT, "a sampling_rate from 0 to 1"),
        (logging_config("/x", "nan"), Code.INVALID_ARGUMENT, "a sampling_rate from 0 to 1"),
    ],
)
def test_a_wrong_config_changes_nothing(start, tmp_path, wrong, code, told):
    logs = start()
    logs.reload(config(a=logging_config(tmp_path)))
    before = logs.of("a")
    with pytest.raises(StatusError) as caught:
        logs.reload(config(a=logging_config(tmp_path, 0.5), b=wrong))
    assert caught.value.code is code
    assert told in caught.value.message
    assert logs.of("a") is before
    before.offer(lambda: b"still")
    logs.close()
    assert records(tmp_path) == [b"still"]


def test_a_client_may_only_name_folders_within_the_servers_own(start, tmp_path):
    own = tmp_path / "own"
    logs = start(RequestLogConfig(path=str(own)))
    for folder in (tmp_path / "elsewhere", own / ".." / "elsewhere"):
        with pytest.raises(StatusError, match="within --request_log_path") as raised:
            logs.reload(config(a=logging_config(folder)), is_clients=True)
        assert raised.value.code is Code.PERMISSION_DENIED
    assert logs.of("a") is None
    logs.reload(config(a=logging_config(own / "a"), b=""), is_clients=True)
    assert logs.of("a") is not None
    assert not (tmp_path / "elsewhere").exists()


def test_a_client_may_keep_what_the_operator_configured(start, tmp_path):
    logs = start()
    logs.reload(config(a=logging_config(tmp_path / "a")))
    kept = logs.of("a")
    logs.reload(config(a=logging_config(tmp_path / "a"), b=""), is_clients=True)
    assert logs.of("a") is kept


def test_a_log_in_an_object_store_is_refused_in_words() -> None:
    with pytest.raises(StatusError, match="written to a folder on this machine, not to gs://plant/requests"):
        request_log(ServerOptions(request_log_path="gs://plant/requests"))
