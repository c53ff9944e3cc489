"""A target of the configuration becomes the options that Beam itself understands."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import (
    DebugOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from pipeline.beam import (
    EVAL_NODES,
    IN_MEMORY,
    WINDOW_NODES,
    beam_args,
    build_package,
    needs_package,
    on_this_machine,
    place,
)
from pipeline.config import PipelineConfig, find_config, load_config
from pipeline.targets import TargetsConfig
from schema.errors import ConfigError

DATAFLOW = {
    "project": "plant",
    "region": "europe-west1",
    "temp_location": "gs://plant/tmp",
    "machine_type": "n2-standard-4",
    "workers": 2,
    "max_workers": 20,
    "disk_size_gb": 50,
    "service_account": "workers@plant.iam.gserviceaccount.com",
    "subnetwork": "regions/europe-west1/subnetworks/plant",
    "use_public_ips": False,
    "labels": {"team": "delays"},
    "options": ["--experiments=enable_prime"],
}


def with_targets(targets: dict[str, Any], name: str = "flights") -> PipelineConfig:
    config = load_config(find_config("flights"))
    return config.model_copy(update={"targets": TargetsConfig.model_validate(targets), "name": name})


def options_of(config: PipelineConfig, runner: Any, package: Path | None = None) -> PipelineOptions:
    return PipelineOptions(list(beam_args(config, runner, "StatisticsGen", "20261123-101500-000", package)))


def test_every_key_of_dataflow_is_an_option_of_beam(tmp_path: Path) -> None:
    options = options_of(with_targets({"dataflow": DATAFLOW}), "dataflow", tmp_path / "headrace-0.1.0.tar.gz")
    cloud, worker = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    assert options.view_as(StandardOptions).runner == "DataflowRunner"
    assert (cloud.project, cloud.region, cloud.temp_location) == ("plant", "europe-west1", "gs://plant/tmp")
    assert cloud.service_account_email == "workers@plant.iam.gserviceaccount.com"
    assert cloud.job_name == "headrace-flights-statisticsgen-20261123-101500-000"
    assert cloud.labels == ["headrace-pipeline=flights", "headrace-node=statisticsgen", "team=delays"]
    assert (worker.machine_type, worker.num_workers, worker.max_num_workers) == ("n2-standard-4", 2, 20)
    assert (worker.disk_size_gb, worker.use_public_ips) == (50, False)
    assert worker.subnetwork == "regions/europe-west1/subnetworks/plant"
    assert options.view_as(DebugOptions).experiments == ["enable_prime"]
    assert options.view_as(SetupOptions).extra_packages == [str(tmp_path / "headrace-0.1.0.tar.gz")]


def test_an_image_stands_for_the_package() -> None:
    config = with_targets({"dataflow": {**DATAFLOW, "sdk_container_image": "europe-docker.pkg.dev/plant/headrace:1"}})
    assert config.targets.dataflow is not None
    assert not needs_package(config.targets.dataflow)
    worker = options_of(config, "dataflow").view_as(WorkerOptions)
    assert worker.sdk_container_image == "europe-docker.pkg.dev/plant/headrace:1"


def test_portable_and_flink_pass_through() -> None:
    portable = options_of(with_targets({"portable": {"job_endpoint": "jobs:8099"}}), "portable")
    assert portable.view_as(StandardOptions).runner == "PortableRunner"
    assert portable.view_as(PortableOptions).job_endpoint == "jobs:8099"
    assert portable.view_as(PortableOptions).environment_type == "DOCKER"
    flink = options_of(with_targets({"flink": {"flink_master": "flink:8081"}}), "flink")
    assert flink.view_as(FlinkRunnerOptions).flink_master == "flink:8081"


@pytest.mark.parametrize("name", ["A", "Flights_of_2013", "x" * 200])
def test_a_jobs_name_is_one_for_dataflow(name: str) -> None:
    config = with_targets({"dataflow": DATAFLOW}, name)
    names = {
        args[0].removeprefix("--job_name=")
        for node in ("StatisticsGen", "DistributionValidator")
        for args in [beam_args(config, "dataflow", node, "20261123-101500-000", None)]
    }
    assert len(names) == 2
    for each in names:
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", each)
        assert len(each) <= 63
        assert each.endswith("20261123-101500-000")


def test_small_inputs_stay_on_this_machine() -> None:
    config = with_targets({"dataflow": {**DATAFLOW, "local_below_mib": 100}})
    placed = place(config, "dataflow", 150 << 20, 50 << 20, "run", None)
    assert set(placed) == {*WINDOW_NODES, *EVAL_NODES}
    assert {node for node, args in placed.items() if args != IN_MEMORY} == set(WINDOW_NODES)


@pytest.mark.parametrize(
    ("window_mib", "processes", "shares"), [(0, 8, 1), (3, 8, 1), (7, 8, 2), (7, 1, 1), (1 << 20, 8, 8)]
)
def test_on_this_machine_large_shards_are_divided_among_processes(window_mib: int, processes: int, shares: int) -> None:
    placed = on_this_machine(window_mib << 20, processes)
    assert set(placed) == {*WINDOW_NODES, *EVAL_NODES}
    divided = {node: args for node, args in placed.items() if args != IN_MEMORY}
    assert divided == dict.fromkeys(("ExampleGen", "Transform"), (*IN_MEMORY, f"--shares={shares}"))


def test_a_runner_that_is_not_described_is_told_with_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="does not say where dataflow is") as caught:
        place(with_targets({}), "dataflow", 0, 0, "run", None)
    assert caught.value.where == "targets.dataflow"
    assert "temp_location" in str(caught.value.expected)


def test_the_package_holds_what_workers_import(tmp_path: Path) -> None:
    package = build_package(tmp_path)
    with tarfile.open(package) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    rooms = ("data", "models", "monitoring", "pipeline", "schema", "serving", "storage")
    assert {"setup.py", *(f"{room}/__init__.py" for room in rooms), "schema/flights.pbtxt"} <= names
    assert not any(name.startswith(("tests/e2e", "data/flights/span", ".venv")) for name in names)
