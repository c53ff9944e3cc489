"""The files and flags that TensorFlow Serving itself reads, in the text format of its own messages.

Sources: `model_servers/main.cc` (flags), `config/model_server_config.proto`, `config/monitoring_config.proto`,
`servables/tensorflow/session_bundle_config.proto`, `batching/README.md` (section "CPU-only").
"""

from __future__ import annotations

from collections.abc import Mapping

from serving.deploy.settings import CONFIG_FOLDER, GRPC_PORT, METRICS_PATH, REST_PORT, Settings

MODELS_FILE = "models.config"
BATCHING_FILE = "batching.config"
MONITORING_FILE = "monitoring.config"

LARGEST_REQUEST = 8192
LARGEST_BATCH = 512
LONGEST_QUEUE = 64
THREADS_PER_CPU = 32
"""Requests in flight per CPU. With batching a request's thread only waits for its batch, and a batch cannot hold more
requests than there are threads. The server's default, 4 per core of the *machine*, ignores a container's limit."""


def config_files(settings: Settings) -> dict[str, str]:
    """File name → content of everything in the container's configuration folder."""
    return {
        MODELS_FILE: models_config(settings),
        BATCHING_FILE: batching_config(settings.cpus),
        MONITORING_FILE: monitoring_config(),
    }


def models_config(settings: Settings) -> str:
    """Which versions of which model are served: a ModelServerConfig.

    The server reads it again and again, so a changed label or version is served without a restart.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add(
        name=settings.model, base_path=settings.base_path, model_platform="tensorflow"
    )
    if settings.pins is None:
        model.model_version_policy.latest.num_versions = 1
    else:
        model.model_version_policy.specific.versions.extend(sorted(settings.pins.labels.values()))
        for label, version in settings.pins.labels.items():
            model.version_labels[label] = version
    return f"# {settings.command}\n{text_format.MessageToString(config)}"


def batching_config(cpus: int) -> str:
    """How requests are joined: a BatchingParameters for small models on CPUs.

    No `allowed_batch_sizes`: padding to a few sizes pays where each size is compiled (XLA, GPUs) and only costs here.
    """
    return f"""\
# Rows. A larger request is refused with a clear message instead of exhausting the memory.
max_batch_size {{ value: {LARGEST_REQUEST} }}
# Rows in one run. A small model takes 212 µs for 1 row and 262 µs for 64, so what batching can save is saved long
# before. Larger requests are split, so that one of them does not hold up the others.
enable_large_batch_splitting {{ value: true }}
max_execution_batch_size {{ value: {LARGEST_BATCH} }}
# Never wait for company: a batch is what arrived while all threads were busy. Alone, a request loses nothing.
batch_timeout_micros {{ value: 0 }}
# Batches, at 1 to 2 ms each. What comes on top is refused at once (UNAVAILABLE) rather than answered too late. The
# largest request must fit: {LARGEST_REQUEST} / {LARGEST_BATCH} = {LARGEST_REQUEST // LARGEST_BATCH}.
max_enqueued_batches {{ value: {LONGEST_QUEUE} }}
# One for each CPU.
num_batch_threads {{ value: {cpus} }}
"""


def monitoring_config() -> str:
    """A MonitoringConfig; without it the server exports no metrics."""
    return f'prometheus_config {{\n  enable: true\n  path: "{METRICS_PATH}"\n}}\n'


def server_flags(settings: Settings) -> list[str]:
    """The arguments of `tensorflow_model_server` beside its configuration files."""
    flags: dict[str, str | int] = {
        **_common_flags(settings.cpus),
        # Clients keep a connection for ever; ended every 5 minutes, it comes to know new replicas.
        "grpc_channel_arguments": "grpc.max_connection_age_ms=300000,grpc.max_connection_age_grace_ms=30000",
        "enable_grpc_healthcheck_service": "true",
        "model_config_file": f"{CONFIG_FOLDER}/{MODELS_FILE}",
        "model_config_file_poll_wait_seconds": 30,
        # Each poll of a bucket is a billed listing.
        "file_system_poll_wait_seconds": 60 if settings.is_remote else 2,
        # A server that has just started has no version yet that a label could point to.
        "allow_version_labels_for_unavailable_models": "true",
        "num_load_threads": 1,  # 0 loads in the manager's own loop, which requests may wait for
        "monitoring_config_file": f"{CONFIG_FOLDER}/{MONITORING_FILE}",
        "enable_batching": "true",
        "batching_parameters_file": f"{CONFIG_FOLDER}/{BATCHING_FILE}",
    }
    return _arguments(flags)


def flags_without_files(settings: Settings, base_path: str) -> list[str]:
    """The arguments of `tensorflow_model_server` where a platform gives it none of our files.

    Without a file there is no batching (its defaults refuse more than 1,000 rows) and no version policy.

    Args:
        settings: What is deployed.
        base_path: A folder or URL that holds one version under its number and never another.
    """
    flags: dict[str, str | int] = {
        **_common_flags(settings.cpus),
        "model_name": settings.model,
        "model_base_path": base_path,
        "file_system_poll_wait_seconds": 0,  # looks once
    }
    return _arguments(flags)


def _common_flags(cpus: int) -> dict[str, str | int]:
    threads = THREADS_PER_CPU * cpus
    return {
        "port": GRPC_PORT,
        "rest_api_port": REST_PORT,
        "rest_api_num_threads": threads,
        "grpc_max_threads": threads,
        # The operations of a small model are too short to be split over threads: requests run side by side instead.
        "tensorflow_intra_op_parallelism": 1,
        "tensorflow_inter_op_parallelism": cpus,
    }


def _arguments(flags: Mapping[str, str | int]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
