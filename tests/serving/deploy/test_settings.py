from __future__ import annotations

import pytest

from schema.errors import ConfigError, UsageError
from serving.deploy.pins import Pins
from serving.deploy.settings import Cluster, image_of, require_dns_label, require_readable, resource_name_of


@pytest.mark.parametrize(
    ("model", "name"), [("flights", "flights"), ("My_Model", "my-model"), ("a", "a"), ("x" * 53, "x" * 53)]
)
def test_a_pipelines_name_becomes_a_dns_label(model: str, name: str) -> None:
    assert resource_name_of(model) == name


@pytest.mark.parametrize("model", ["flights_", "flights-", "x" * 54])
def test_a_name_that_would_have_to_be_cut_is_refused(model: str) -> None:
    with pytest.raises(ConfigError, match="--name"):
        resource_name_of(model)


@pytest.mark.parametrize("name", ["My_Model", "-a", "a-", "a.b", "", "a\nb", "x" * 54])
def test_a_given_name_must_be_a_dns_label(name: str) -> None:
    with pytest.raises(UsageError, match="DNS-1123"):
        require_dns_label(name, "--name")


def test_the_image_is_pinned_to_a_release() -> None:
    assert image_of("2.16.1") == "tensorflow/serving:2.16.1"
    assert image_of("2.20.0-gpu") == "tensorflow/serving:2.20.0-gpu"


@pytest.mark.parametrize("version", ["latest", "2.16.0", "2.9.3", "2.20", "2.20.0\nRUN x", "nightly"])
def test_a_release_without_grpc_health_or_no_release_is_refused(version: str) -> None:
    with pytest.raises(UsageError, match=r"2\.16\.1 or newer"):
        image_of(version)


def test_only_folders_and_gs_are_readable() -> None:
    require_readable("/srv/models")
    require_readable("gs://bucket/models")
    with pytest.raises(ConfigError, match="s3://bucket"):
        require_readable("s3://bucket/models")


def test_base_path_and_readiness(settings) -> None:
    assert settings().base_path == "/models/My_Model"
    assert settings().ready_path == "/v1/models/My_Model/metadata"
    assert settings(pins=Pins(5)).ready_path == "/v1/models/My_Model/labels/stable/metadata"
    remote = settings(push_path="gs://bucket/models")
    assert remote.base_path == "gs://bucket/models"
    assert not remote.needs_volume
    assert settings().needs_volume
    assert not settings(baked=(5,)).needs_volume


@pytest.mark.parametrize(
    "wrong",
    [
        {"namespace": "My_Space"},
        {"storage": "10 Gi"},
        {"storage_class": "Fast_Disk"},
        {"replicas": 5, "max_replicas": 4},
    ],
)
def test_what_a_cluster_would_refuse_is_refused_here(wrong) -> None:
    with pytest.raises(UsageError):
        Cluster(**wrong)
