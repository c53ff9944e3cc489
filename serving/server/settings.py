"""What the flags stand for: the files that they name, read and checked before anything is loaded."""

from __future__ import annotations

import grpc
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.config import RequestLogConfig
from serving.server.batch import BatchingOptions
from serving.server.model_config import single_model
from serving.server.options import ServerOptions
from serving.server.rest import PROMETHEUS_PATH
from serving.server.status import Code, StatusError
from serving.server.textproto import BatchingParameters, MonitoringConfig, SSLConfig, read_text_proto
from storage.places import is_remote


def model_server_config(options: ServerOptions) -> model_server_config_pb2.ModelServerConfig:
    """The models to serve.

    Raises:
        StatusError: The file cannot be read.
    """
    if options.model_config_file:
        return read_text_proto(options.model_config_file, model_server_config_pb2.ModelServerConfig)
    return single_model(options.model_name, options.model_base_path)


def metrics_path(options: ServerOptions) -> str | None:
    """Where Prometheus reads; None for nowhere.

    Raises:
        StatusError: The file cannot be read.
    """
    if not options.monitoring_config_file:
        return PROMETHEUS_PATH if options.enable_prometheus else None
    prometheus = read_text_proto(options.monitoring_config_file, MonitoringConfig).prometheus_config
    return (prometheus.path or PROMETHEUS_PATH) if prometheus.enable else None


def batching_options(options: ServerOptions) -> BatchingOptions | None:
    """How requests share runs; None for not at all.

    Raises:
        StatusError: The file cannot be read, or a parameter is wrong.
    """
    if not options.enable_batching:
        return None
    if not options.batching_parameters_file:
        return BatchingOptions()
    given = read_text_proto(options.batching_parameters_file, BatchingParameters)
    numbers = {
        name: getattr(given, name).value
        for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
        if given.HasField(name)
    }
    sizes = tuple(given.allowed_batch_sizes)
    batching = BatchingOptions(
        **numbers,
        allowed_batch_sizes=sizes,
        pad_variable_length_inputs=given.pad_variable_length_inputs,
        enable_large_batch_splitting=given.enable_large_batch_splitting.value,
    )
    if any(value < (name != "batch_timeout_micros") for name, value in numbers.items()):
        raise StatusError(Code.INVALID_ARGUMENT, f"The batching parameters must be positive; received {numbers}")
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != batching.max_batch_size):
        raise StatusError(
            Code.INVALID_ARGUMENT,
            "Last entry in allowed_batch_sizes must match max_batch_size and the entries must be in increasing order; "
            f"received {list(sizes)} and {batching.max_batch_size}",
        )
    return batching


def credentials(options: ServerOptions) -> grpc.ServerCredentials | None:
    """Of gRPC with TLS, or mutual TLS; None for neither.

    Raises:
        StatusError: The file cannot be read, or clients are to be verified against nothing.
    """
    if not options.ssl_config_file:
        return None
    config = read_text_proto(options.ssl_config_file, SSLConfig)
    authority = config.custom_ca.encode() or None
    if config.client_verify and authority is None:
        raise StatusError(Code.INVALID_ARGUMENT, f"{options.ssl_config_file} sets client_verify, which needs custom_ca")
    pairs = [(config.server_key.encode(), config.server_cert.encode())]
    return grpc.ssl_server_credentials(pairs, authority, config.client_verify)


def session_config(options: ServerOptions) -> config_pb2.ConfigProto:
    """One thread, the caller's, unless told otherwise: rows are small, and requests are what runs in parallel."""
    config = config_pb2.ConfigProto()
    if options.tensorflow_session_config_file:
        config = read_text_proto(options.tensorflow_session_config_file, config_pb2.ConfigProto)
    both = options.tensorflow_session_parallelism
    config.intra_op_parallelism_threads = (
        options.tensorflow_intra_op_parallelism or both or config.intra_op_parallelism_threads or 1
    )
    config.inter_op_parallelism_threads = (
        options.tensorflow_inter_op_parallelism or both or config.inter_op_parallelism_threads or 1
    )
    return config


def request_log(options: ServerOptions) -> RequestLogConfig | None:
    """Where all models are logged; None for nowhere.

    Raises:
        StatusError: It is a URL: a log is a file that grows, which no object store has.
    """
    if not options.request_log_path:
        return None
    if is_remote(options.request_log_path):
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"The request log is written to a folder on this machine, not to {options.request_log_path}: copy finished "
            "files there, and let the monitor read them with --log",
        )
    return RequestLogConfig(
        path=options.request_log_path,
        sampling_rate=options.request_log_sampling_rate,
        rotate_mib=options.request_log_rotate_mib,
        rotate_seconds=options.request_log_rotate_seconds,
    )
