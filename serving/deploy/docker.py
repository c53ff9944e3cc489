"""An image with the server's configuration, and a compose file that runs it, with Prometheus and Grafana on request."""

from __future__ import annotations

import json
from typing import Any

from serving.deploy.model_config import config_files, server_flags
from serving.deploy.monitoring import docker_monitoring
from serving.deploy.settings import CONFIG_FOLDER, GRPC_PORT, REST_PORT, USER, Settings
from serving.deploy.text import template, to_yaml

PROMETHEUS_IMAGE = "prom/prometheus:v3.5.0"
GRAFANA_IMAGE = "grafana/grafana:12.1.0"
_HEALTHCHECK = "healthcheck.sh"
_HEALTHCHECK_FOLDER = "/usr/local/lib/headrace"


def docker_files(settings: Settings, address: str) -> dict[str, str]:
    """Path below the output folder → content; baked models are copied by the writer, not made here.

    Args:
        settings: What is deployed.
        address: The address of this machine that the ports are published on.
    """
    return {
        "Dockerfile": dockerfile(settings),
        "compose.yaml": to_yaml(compose(settings, address), settings.command),
        _HEALTHCHECK: template(_HEALTHCHECK),
        **{f"config/{name}": content for name, content in config_files(settings).items()},
        **docker_monitoring(settings),
        "README.md": template(
            "docker.md",
            command=settings.command_without_pins,
            model=settings.model,
            address=address,
            ready_path=settings.ready_path,
        ),
    }


def dockerfile(settings: Settings) -> str:
    """The stock image, its configuration and, if they are baked, the models.

    The stock entry point is a shell script that never hands SIGTERM on, so the server itself is the entry point. It
    has no handler of its own, and the kernel spares a process 1 without one: run it with an init (`init: true`).
    """
    lines = [
        f"# {settings.command}",
        f"FROM {settings.image}",
        f"COPY config/ {CONFIG_FOLDER}/",
        f"COPY {_HEALTHCHECK} {_HEALTHCHECK_FOLDER}/",
        *[f"COPY models/{version}/ {settings.base_path}/{version}/" for version in settings.baked],
        f"USER {USER}:{USER}",
        f"EXPOSE {GRPC_PORT} {REST_PORT}",
        "# The start may take 5 minutes: the server listens once the model is loaded.",
        "HEALTHCHECK --interval=10s --timeout=6s --start-period=300s --retries=3 \\",
        f"  CMD {json.dumps(_health_command(settings))}",
        'ENTRYPOINT ["/usr/bin/tensorflow_model_server"]',
        f"CMD {json.dumps(server_flags(settings), indent=2)}".replace("\n", " \\\n"),
    ]
    return "\n".join(lines) + "\n"


def compose(settings: Settings, address: str) -> dict[str, Any]:
    """One server on this machine; `--profile monitoring` adds Prometheus and Grafana, on the loopback address only."""
    return {
        "name": settings.resource_name,
        "services": {
            "serving": _serving(settings, address),
            "prometheus": _prometheus(),
            "grafana": _grafana(),
        },
        "volumes": {"prometheus": {}},
    }


def _serving(settings: Settings, address: str) -> dict[str, Any]:
    volumes = [_bind("./config", CONFIG_FOLDER)]  # a folder, so that a changed file is seen
    if settings.needs_volume:
        volumes.append(_bind(settings.push_path.replace("$", "$$"), settings.base_path))  # $ would be a variable
    return {
        "build": {"context": "."},
        "image": f"{settings.resource_name}-serving",
        "init": True,  # hands SIGTERM on, see `dockerfile`
        "restart": "unless-stopped",
        "ports": [_port(address, GRPC_PORT), _port(address, REST_PORT)],
        "volumes": volumes,
        "healthcheck": {
            "test": ["CMD", *_health_command(settings)],
            "interval": "10s",
            "timeout": "6s",
            "start_period": "300s",
            "retries": 3,
        },
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - a path in the container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "deploy": {"resources": {"limits": {"cpus": str(settings.cpus), "memory": f"{settings.memory_mib}m"}}},
    }


def _health_command(settings: Settings) -> list[str]:
    return ["bash", f"{_HEALTHCHECK_FOLDER}/{_HEALTHCHECK}", str(REST_PORT), settings.ready_path]


def _prometheus() -> dict[str, Any]:
    return {
        "image": PROMETHEUS_IMAGE,
        "profiles": ["monitoring"],
        "restart": "unless-stopped",
        "command": [f"--config.file={CONFIG_FOLDER}/prometheus.yaml", "--storage.tsdb.path=/prometheus"],
        "ports": [_port("127.0.0.1", 9090)],
        "volumes": [
            _bind("./monitoring", CONFIG_FOLDER),
            {"type": "volume", "source": "prometheus", "target": "/prometheus"},
        ],
    }


def _grafana() -> dict[str, Any]:
    return {
        "image": GRAFANA_IMAGE,
        "profiles": ["monitoring"],
        "restart": "unless-stopped",
        "depends_on": ["prometheus"],
        "ports": [_port("127.0.0.1", 3000)],
        "environment": {
            "GF_PATHS_PROVISIONING": f"{CONFIG_FOLDER}/provisioning",
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        },
        "volumes": [_bind("./monitoring", CONFIG_FOLDER)],
    }


def _bind(source: str, target: str) -> dict[str, Any]:
    """A read-only mount; a source that is missing is an error, not an empty folder that Docker makes as root."""
    return {
        "type": "bind",
        "source": source,
        "target": target,
        "read_only": True,
        "bind": {"create_host_path": False},
    }


def _port(address: str, port: int) -> dict[str, Any]:
    return {"target": port, "published": str(port), "host_ip": address, "protocol": "tcp"}
