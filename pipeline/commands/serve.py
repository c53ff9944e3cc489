"""`headrace serve`: the model server, for what a pipeline pushed or with tensorflow_model_server's flags alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.config import PipelineConfig, find_config, load_config
from serving.server.__main__ import main
from serving.versions import require_local

_OWN_MODELS = ("--model_base_path", "--model_name", "--model_config_file")
_POLL_SECONDS = 1.0


def serve(arguments: Sequence[str]) -> int:
    """Serves until it is told to end.

    Args:
        arguments: Perhaps a pipeline, then flags, which win over the pipeline's YAML.

    Returns:
        The exit code.

    Raises:
        ConfigError: The pipeline does not exist, or its YAML is wrong.
        UsageError: The push path is a URL, which this server does not read.
    """
    if not arguments or arguments[0].startswith("-"):
        return main(arguments)
    config, flags = load_config(find_config(arguments[0])), arguments[1:]
    labels = {} if any(flag.split("=")[0] in _OWN_MODELS for flag in flags) else label_flags(config)
    return main(flags, **flags_of(config), **labels)


def label_flags(config: PipelineConfig) -> dict[str, Any]:
    """The flags for `models.config`, which is brought up to date; none without `monitor.canary`."""
    if config.monitor.canary is None:
        return {}
    from serving.canary import configure

    return {
        "model_config_file": str(configure(require_local(config.push.path), config.name)),
        "model_config_file_poll_wait_seconds": _POLL_SECONDS,
        "allow_version_labels_for_unavailable_models": True,  # nothing is available when the server starts
    }


def flags_of(config: PipelineConfig) -> dict[str, Any]:
    """The flags that a pipeline's YAML stands for. Its models answer row by row, so batching is safe."""
    flags: dict[str, Any] = {
        "model_name": config.name,
        "model_base_path": str(require_local(config.push.path)),
        "host": config.serve.host,
        "port": config.serve.grpc_port,
        "rest_api_port": config.serve.rest_port,
        "enable_batching": True,
        "enable_prometheus": True,
        "enable_grpc_healthcheck_service": True,
    }
    if config.serve.request_log is not None:
        flags |= {f"request_log_{name}": value for name, value in config.serve.request_log.model_dump().items()}
    return flags
