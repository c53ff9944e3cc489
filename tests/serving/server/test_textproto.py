"""Configuration files: the messages that the package lacks, and what is told of a file that is wrong."""

from __future__ import annotations

import pytest
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server.status import Code, StatusError
from serving.server.textproto import BatchingParameters, MonitoringConfig, SSLConfig, read_text_proto


@pytest.fixture
def read(tmp_path):
    def act(text, message_class):
        path = tmp_path / "file.pbtxt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_text_proto(str(path), message_class)

    return act


def test_batching_parameters(read):
    given = read(
        """
        # A comment.
        max_batch_size { value: 128 }
        batch_timeout_micros { value: 0 }
        thread_pool_name { value: "x" }
        allowed_batch_sizes : 32
        allowed_batch_sizes : [64, 128]
        pad_variable_length_inputs: true
        enable_large_batch_splitting { value: true }
        """,
        BatchingParameters,
    )
    assert given.max_batch_size.value == 128
    assert given.HasField("batch_timeout_micros")
    assert not given.HasField("max_enqueued_batches")
    assert list(given.allowed_batch_sizes) == [32, 64, 128]
    assert given.pad_variable_length_inputs
    assert given.enable_large_batch_splitting.value


def test_monitoring_config(read):
    config = read('prometheus_config { enable: true, path: "/metrics" }', MonitoringConfig).prometheus_config
    assert (config.enable, config.path) == (True, "/metrics")
    assert not read("", MonitoringConfig).prometheus_config.enable


def test_ssl_config(read):
    config = read(r'server_key: "a\nb" server_cert: "c" custom_ca: "d" client_verify: true', SSLConfig)
    assert (config.server_key, config.server_cert, config.custom_ca) == ("a\nb", "c", "d")
    assert config.client_verify


@pytest.mark.parametrize(
    ("message_class", "name"),
    [
        (ModelServerConfig, "tensorflow.serving.ModelServerConfig"),
        (BatchingParameters, "tensorflow.serving.BatchingParameters"),
        (MonitoringConfig, "tensorflow.serving.MonitoringConfig"),
        (SSLConfig, "tensorflow.serving.SSLConfig"),
        (ConfigProto, "tensorflow.ConfigProto"),
    ],
)
@pytest.mark.parametrize("text", ["no_such_field: 1", "{", '"', "a b c"])
def test_a_wrong_file_is_told_by_its_message_and_path(read, tmp_path, message_class, name, text):
    with pytest.raises(StatusError) as caught:
        read(text, message_class)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(f"Error parsing text-format {name}: ")
    assert caught.value.message.endswith(f"Invalid protobuf file: '{tmp_path / 'file.pbtxt'}'")


def test_the_place_of_a_mistake_is_told(read):
    with pytest.raises(StatusError, match=r"3:1.*max_batch"):
        read("\n\nmax_batch: 1", BatchingParameters)


@pytest.mark.parametrize("text", [b"\xff\xfe", b'server_key: "\xe9"'])
def test_a_file_that_is_no_text(read, text):
    with pytest.raises(StatusError, match="Could not read the file"):
        read(text, SSLConfig)


@pytest.mark.parametrize("name", ["missing", ""])
def test_a_file_that_cannot_be_read(tmp_path, name):
    with pytest.raises(StatusError, match="Could not read the file") as caught:
        read_text_proto(str(tmp_path / name), SSLConfig)
    assert caught.value.code is Code.INVALID_ARGUMENT
