from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from serving.deploy.docker import docker_files
from serving.deploy.model_config import server_flags
from serving.deploy.pins import Pins


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """The instructions as Docker reads them: comments dropped, continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "").splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined]


def compose_of(settings, address: str = "127.0.0.1"):
    return yaml.safe_load(docker_files(settings, address)["compose.yaml"])


def test_the_image(settings) -> None:
    found = instructions(docker_files(settings(), "127.0.0.1")["Dockerfile"])
    told = dict(found)
    assert found[0] == ("FROM", "tensorflow/serving:2.20.0")
    assert told["USER"] == "65532:65532"
    assert json.loads(told["ENTRYPOINT"]) == ["/usr/bin/tensorflow_model_server"]  # the stock script swallows SIGTERM
    assert json.loads(told["CMD"]) == server_flags(settings())
    check = json.loads(told["HEALTHCHECK"].split("CMD", 1)[1])
    assert check[2:] == ["8501", "/v1/models/My_Model/metadata"]


def test_what_is_copied_into_the_image_is_written_too(settings) -> None:
    files = docker_files(settings(baked=(5, 9), pins=Pins(5, 9)), "127.0.0.1")
    copies = [value.split() for name, value in instructions(files["Dockerfile"]) if name == "COPY"]
    assert ["config/", "/etc/headrace/"] in copies
    for source, _ in copies:
        if not source.startswith("models/"):
            assert any(name == source or name.startswith(source) for name in files)
    models = [copy for copy in copies if copy[0].startswith("models/")]
    assert models == [["models/5/", "/models/My_Model/5/"], ["models/9/", "/models/My_Model/9/"]]


@pytest.mark.parametrize("changed", [{}, {"pins": Pins(5, 9)}, {"baked": (5,)}, {"push_path": "gs://b/m"}])
def test_compose_file_is_valid_to_the_specification(settings, changed) -> None:
    parser = pytest.importorskip("compose_spec", reason="the package compose-spec is not installed")
    text = docker_files(settings(**changed), "127.0.0.1")["compose.yaml"]
    assert parser.PyCompose.from_yaml(text).service_names() == ["serving", "prometheus", "grafana"]


def test_compose_file_is_valid_to_docker(settings, tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("docker compose is not installed")
    (tmp_path / "compose.yaml").write_text(docker_files(settings(), "127.0.0.1")["compose.yaml"])
    ended = subprocess.run([docker, "compose", "config"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_the_service_is_locked_down_and_ends_when_told(settings) -> None:
    serving = compose_of(settings())["services"]["serving"]
    assert {port["host_ip"] for port in serving["ports"]} == {"127.0.0.1"}
    assert {port["target"] for port in serving["ports"]} == {8500, 8501}
    assert serving["init"] is True  # process 1 has no handler of SIGTERM
    assert serving["read_only"] is True
    assert serving["cap_drop"] == ["ALL"]
    assert serving["restart"] == "unless-stopped"
    assert serving["deploy"]["resources"]["limits"] == {"cpus": "2", "memory": "2048m"}
    models = next(mount for mount in serving["volumes"] if mount["target"] == "/models/My_Model")
    assert models["source"] == "/srv/models/My_Model"
    assert all(mount["read_only"] for mount in serving["volumes"])


def test_a_dollar_in_a_path_is_no_variable(settings) -> None:
    mounts = compose_of(settings(push_path="/srv/$HOME: {x}/m"))["services"]["serving"]["volumes"]
    assert "/srv/$$HOME: {x}/m" in [mount["source"] for mount in mounts]


@pytest.mark.parametrize("changed", [{"baked": (5,)}, {"push_path": "gs://b/m"}])
def test_no_volume_is_mounted_over_baked_or_remote_models(settings, changed) -> None:
    mounts = compose_of(settings(**changed))["services"]["serving"]["volumes"]
    assert [mount["target"] for mount in mounts] == ["/etc/headrace"]


def test_ports_are_published_where_it_is_said_but_monitoring_only_here(settings) -> None:
    services = compose_of(settings(), "0.0.0.0")["services"]
    assert {port["host_ip"] for port in services["serving"]["ports"]} == {"0.0.0.0"}
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["monitoring"]
        assert {port["host_ip"] for port in services[name]["ports"]} == {"127.0.0.1"}


def test_monitoring_mounts_what_is_written(settings) -> None:
    files = docker_files(settings(), "127.0.0.1")
    for name in ("prometheus", "grafana"):
        mount = compose_of(settings())["services"][name]["volumes"][0]
        assert (mount["source"], mount["target"]) == ("./monitoring", "/etc/headrace")
    assert "monitoring/prometheus.yaml" in files
    provider = yaml.safe_load(files["monitoring/provisioning/dashboards/headrace.yaml"])["providers"][0]
    assert provider["options"]["path"] == "/etc/headrace"
    source = yaml.safe_load(files["monitoring/provisioning/datasources/prometheus.yaml"])["datasources"][0]
    assert source["url"] == "http://prometheus:9090"


def test_prometheus_accepts_its_configuration(settings, promtool) -> None:
    files = docker_files(settings(), "127.0.0.1")
    promtool(
        "check",
        "config",
        "prometheus.yaml",
        prometheus=files["monitoring/prometheus.yaml"],
        alerts=files["monitoring/alerts.yaml"],
    )


class _Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response({"/ready": 200, "/loading": 404}.get(self.path, 503))
        self.end_headers()
        self.wfile.write(b'{"state": "200"}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_the_health_check_tells_ready_from_loading_and_from_gone(settings, tmp_path: Path, port: int) -> None:
    script = tmp_path / "healthcheck.sh"
    script.write_text(docker_files(settings(), "127.0.0.1")["healthcheck.sh"])

    def healthy(port: int, path: str) -> bool:
        return subprocess.run(["bash", str(script), str(port), path], capture_output=True, timeout=10).returncode == 0

    assert healthy(port, "/ready")
    assert not healthy(port, "/loading")
    assert not healthy(port, "/other")
    assert not healthy(1, "/ready")  # nobody listens


def test_the_guide_names_the_command_without_the_versions(settings) -> None:
    guide = docker_files(settings(pins=Pins(5)), "127.0.0.1")["README.md"]
    assert "`headrace deploy docker My_Model --stable OLD --canary NEW`" in guide
    assert "$" not in guide
