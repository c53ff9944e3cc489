"""The flags of `tensorflow_model_server`, with its names and defaults (`model_servers/main.cc`, `server.h`)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

from pydantic import Field, ValidationError

from schema.strict import Strict
from serving.server.status import invalid_argument

_IGNORED = {
    "rest_api_num_threads": "the event loop needs none",
    "grpc_max_threads": "the event loop needs none",
    "num_unload_threads": "unloading shares the threads of --num_load_threads",
    "flush_filesystem_caches": "a model's files are read once",
    "remove_unused_fields_from_bundle_metagraph": "nothing of the graph is kept but its signatures",
    "per_process_gpu_memory_fraction": "there is no GPU",
    "num_tflite_pools": "a TFLite model has one interpreter",
    "num_tflite_interpreters_per_pool": "a TFLite model has one interpreter",
    "enable_profiler": "there is no profiler service",
    "enable_signature_method_name_check": "method names are not checked",
    "skip_initialize_tpu": "there is no TPU",
}
"""Flags that are accepted because they cannot change an answer, and why they do nothing."""

_MOST_GRPC_BYTES = (1 << 31) - 1


class ServerOptions(Strict):
    """How a model server runs. The descriptions are its help."""

    port: Annotated[int, Field(description="TCP port of gRPC; 0 for none", ge=0, le=65535)] = 8500
    grpc_socket_path: Annotated[str, Field(description="a UNIX socket for gRPC")] = ""
    rest_api_port: Annotated[int, Field(description="TCP port of REST; 0 for none", ge=0, le=65535)] = 0
    rest_api_timeout_in_ms: Annotated[int, Field(description="the most that a REST call may take")] = 30_000
    rest_api_enable_cors_support: Annotated[bool, Field(description="send CORS headers")] = False
    host: Annotated[str, Field(description="the address to listen on; 0.0.0.0 for all")] = "127.0.0.1"
    model_name: Annotated[str, Field(description="of the model in --model_base_path")] = "default"
    model_base_path: Annotated[str, Field(description="the folder with the model's versions")] = ""
    model_config_file: Annotated[str, Field(description="a ModelServerConfig, instead of one model")] = ""
    model_config_file_poll_wait_seconds: Annotated[int, Field(description="between reads of that file; 0: once")] = 0
    file_system_poll_wait_seconds: Annotated[int, Field(description="between looks for versions; 0: once")] = 1
    allow_version_labels_for_unavailable_models: Annotated[
        bool, Field(description="a new label may name a version that is not loaded yet")
    ] = False
    max_num_load_retries: Annotated[int, Field(description="after a version could not be loaded")] = 5
    load_retry_interval_micros: Annotated[int, Field(description="between these retries")] = 60_000_000
    num_load_threads: Annotated[int, Field(description="how many versions load at once; 0: one")] = 0
    enable_batching: Annotated[bool, Field(description="run requests that arrive together as one")] = False
    batching_parameters_file: Annotated[str, Field(description="a BatchingParameters")] = ""
    monitoring_config_file: Annotated[str, Field(description="a MonitoringConfig: metrics for Prometheus")] = ""
    enable_prometheus: Annotated[bool, Field(description="export metrics without a monitoring_config_file")] = False
    ssl_config_file: Annotated[str, Field(description="an SSLConfig: TLS, or mutual TLS, for gRPC")] = ""
    grpc_channel_arguments: Annotated[str, Field(description="KEY=VALUE,… for the gRPC server")] = ""
    enable_model_warmup: Annotated[bool, Field(description="answer a model's warm-up requests first")] = True
    num_request_iterations_for_warmup: Annotated[int, Field(description="how often; 0: once")] = 0
    saved_model_tags: Annotated[str, Field(description="of the meta graph, separated by commas")] = "serve"
    prefer_tflite_model: Annotated[bool, Field(description="use model.tflite where there is one")] = False
    enable_grpc_healthcheck_service: Annotated[bool, Field(description="the standard gRPC health service")] = False
    enable_serialization_as_tensor_content: Annotated[bool, Field(description="answer Predict with tensor_content")] = (
        False
    )
    tensorflow_session_parallelism: Annotated[int, Field(description="threads within and between operations")] = 0
    tensorflow_intra_op_parallelism: Annotated[int, Field(description="threads within an operation")] = 0
    tensorflow_inter_op_parallelism: Annotated[int, Field(description="threads between operations")] = 0
    tensorflow_session_config_file: Annotated[str, Field(description="a ConfigProto of TensorFlow")] = ""
    max_request_bytes: Annotated[int, Field(description="the largest request", gt=0)] = 64 << 20
    max_concurrent_requests: Annotated[int, Field(description="more are answered with UNAVAILABLE", gt=0)] = 1024
    drain_seconds: Annotated[float, Field(description="to finish requests in after SIGTERM", ge=0)] = 15.0
    request_log_path: Annotated[str, Field(description="log requests into this folder")] = ""
    request_log_sampling_rate: Annotated[float, Field(description="the share that is logged", ge=0, le=1)] = 1.0
    request_log_rotate_mib: Annotated[float, Field(description="the size of a log file", gt=0)] = 64.0
    request_log_rotate_seconds: Annotated[float, Field(description="the age of a log file", gt=0)] = 900.0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise invalid_argument(
            f"{message}. The name of a pipeline comes first; `headrace serve --help` lists the flags."
        )


def parse_flags(arguments: Sequence[str], **defaults: Any) -> ServerOptions:
    """Reads flags as `tensorflow_model_server` takes them: `--name=value`, or `--name` for what is yes or no.

    Args:
        arguments: The command line.
        defaults: Replace the flags' own.

    Raises:
        StatusError: A flag is unknown, or its value is wrong.
    """
    parser = _parser(defaults)
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if name not in _IGNORED}
    try:
        options = ServerOptions.model_validate({**defaults, **given})
    except ValidationError as error:
        told = "; ".join(f"--{each['loc'][0]}={each['input']}: {each['msg']}" for each in error.errors())
        raise invalid_argument(told) from None
    _check(options)
    return options


def _parser(defaults: Mapping[str, Any]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="headrace serve",
        usage="headrace serve [PIPELINE] [--flag=value …]",
        description="Serves models over gRPC and REST as TensorFlow Serving does, with the flags of its "
        "tensorflow_model_server. With the name of a pipeline: what that pipeline pushed, as its YAML says.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, field in ServerOptions.model_fields.items():
        kind: Any = field.annotation
        told = f"{field.description} (default: {defaults.get(name, field.default)!r})".replace("%", "%%")
        if kind is bool:
            parser.add_argument(f"--{name}", nargs="?", const=True, type=_boolean, metavar="BOOL", help=told)
        else:
            parser.add_argument(f"--{name}", type=kind, metavar=kind.__name__.upper(), help=told)
    for name, why in _IGNORED.items():
        parser.add_argument(f"--{name}", nargs="?", help=f"accepted, without effect: {why}")
    return parser


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"expected true or false, received {text!r}")
    return known[text.lower()]


def _check(options: ServerOptions) -> None:
    if not options.port and not options.grpc_socket_path:
        raise invalid_argument(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
        )
    if not options.model_base_path and not options.model_config_file:
        raise invalid_argument("Both server_options.model_base_path and server_options.model_config_file are empty!")
    if options.batching_parameters_file and not options.enable_batching:
        raise invalid_argument(
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
        )
    if options.port and options.port == options.rest_api_port:
        raise invalid_argument("--rest_api_port must be different from --port")
    if (
        options.tensorflow_session_parallelism
        and options.tensorflow_intra_op_parallelism
        and options.tensorflow_inter_op_parallelism
    ):
        raise invalid_argument(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )


def channel_arguments(options: ServerOptions) -> list[tuple[str, int | str]]:
    """What gRPC's server is built with.

    Raises:
        StatusError: An argument is not KEY=VALUE.
    """
    arguments: dict[str, int | str] = {
        "grpc.max_receive_message_length": options.max_request_bytes,
        "grpc.max_send_message_length": _MOST_GRPC_BYTES,
    }
    for each in filter(None, options.grpc_channel_arguments.split(",")):
        key, separator, value = each.partition("=")
        if not separator:
            raise invalid_argument(f"--grpc_channel_arguments: expected KEY=VALUE, received {each!r}")
        arguments[key] = int(value) if value.lstrip("-").isdecimal() else value
    return list(arguments.items())


def worker_threads() -> int:
    """For runs that are too long for the event loop."""
    return max(2, len(os.sched_getaffinity(0)))
