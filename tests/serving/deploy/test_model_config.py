"""What is written is parsed by the messages that TensorFlow Serving parses it with."""

from __future__ import annotations

import math
import re

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.deploy.model_config import (
    BATCHING_FILE,
    MODELS_FILE,
    MONITORING_FILE,
    config_files,
    server_flags,
)
from serving.deploy.pins import Pins
from serving.server.options import parse_flags
from serving.server.textproto import BatchingParameters, MonitoringConfig


def model_of(settings):
    parsed = text_format.Parse(config_files(settings)[MODELS_FILE], ModelServerConfig())
    (model,) = parsed.model_config_list.config
    return model


def test_the_newest_version_is_served_by_default(settings) -> None:
    model = model_of(settings())
    assert (model.name, model.base_path, model.model_platform) == ("My_Model", "/models/My_Model", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1
    assert not model.version_labels


def test_pinned_versions_are_served_under_their_labels(settings) -> None:
    model = model_of(settings(pins=Pins(stable=9, canary=5)))
    assert list(model.model_version_policy.specific.versions) == [5, 9]
    assert dict(model.version_labels) == {"stable": 9, "canary": 5}
    assert dict(model_of(settings(pins=Pins(9))).version_labels) == {"stable": 9}


def test_a_bucket_is_read_by_the_server(settings) -> None:
    remote = settings(push_path="gs://bucket/m")
    assert model_of(remote).base_path == "gs://bucket/m"
    assert "--file_system_poll_wait_seconds=60" in server_flags(remote)


def test_a_command_cannot_break_out_of_the_comment(settings) -> None:
    assert config_files(settings())[MODELS_FILE].startswith("# headrace deploy docker My_Model --stable 5\n")


@pytest.mark.parametrize("cpus", [1, 8])
def test_batching(settings, cpus: int) -> None:
    batching = text_format.Parse(config_files(settings(cpus=cpus))[BATCHING_FILE], BatchingParameters())
    assert batching.num_batch_threads.value == cpus
    assert batching.HasField("batch_timeout_micros")
    assert batching.batch_timeout_micros.value == 0
    # What the scheduler demands of splitting, and what the largest request needs of the queue.
    assert batching.enable_large_batch_splitting.value
    assert batching.max_batch_size.value >= batching.max_execution_batch_size.value
    parts = math.ceil(batching.max_batch_size.value / batching.max_execution_batch_size.value)
    assert batching.max_enqueued_batches.value >= parts


def test_monitoring(settings) -> None:
    monitoring = text_format.Parse(config_files(settings())[MONITORING_FILE], MonitoringConfig())
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_flags(settings) -> None:
    flags = dict(re.fullmatch(r"--(\w+)=(\S+)", flag).groups() for flag in server_flags(settings(cpus=3)))
    parse_flags(server_flags(settings()))  # Headrace's own server takes the same flags and refuses all others
    assert {flags["port"], flags["rest_api_port"]} == {"8500", "8501"}
    # A parameters file without batching is an error at the start, and so are all three kinds of parallelism.
    assert flags["enable_batching"] == "true"
    assert "tensorflow_session_parallelism" not in flags
    assert flags["allow_version_labels_for_unavailable_models"] == "true"
    assert flags["enable_grpc_healthcheck_service"] == "true"
    assert flags["tensorflow_inter_op_parallelism"] == "3"
    named = {value for name, value in flags.items() if name.endswith("_file")}
    assert named == {f"/etc/headrace/{name}" for name in config_files(settings())}
