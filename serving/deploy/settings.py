"""What is deployed: the facts that every written file is made from, checked once before anything is written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from schema.errors import ConfigError, UsageError
from serving.deploy.checks import require_replicas
from serving.deploy.pins import Pins
from storage.places import is_remote

GRPC_PORT = 8500
REST_PORT = 8501
METRICS_PATH = "/monitoring/prometheus/metrics"
CONFIG_FOLDER = "/etc/headrace"
"""Where the server's configuration files lie in the container."""

USER = 65532
"""Who the server runs as: the "nonroot" of distroless images. It listens above port 1024 and writes nothing."""

DEFAULT_SERVING_VERSION = "2.20.0"
OLDEST_SERVING_VERSION = (2, 16, 1)
"""The first that is of the older lane's TensorFlow. It has --enable_grpc_healthcheck_service, as 2.14 has not."""

_LONGEST_SUFFIX = "-publisher"
_MOST_NAME_CHARACTERS = 63 - len(_LONGEST_SUFFIX)


@dataclass(frozen=True)
class Settings:
    """One deployment of one model."""

    model: str
    """The pipeline's name, which is the model's name in requests."""
    resource_name: str
    """The same as a DNS-1123 label, for what Kubernetes and Docker name."""
    push_path: str
    """An absolute local folder, or gs://…"""
    command: str
    """The command line that wrote the files; told in each of them."""
    command_without_pins: str
    """The same without --stable and --canary; told where the versions are to be changed."""
    pins: Pins | None = None
    """None: the newest version is served."""
    baked: tuple[int, ...] = ()
    """Versions that are copied into the image; empty if the image reads a volume or gs://."""
    image: str = f"tensorflow/serving:{DEFAULT_SERVING_VERSION}"
    cpus: int = 2
    memory_mib: int = 2048
    p99_milliseconds: int = 100
    """The latency above which an alert fires."""

    @property
    def is_remote(self) -> bool:
        """Whether the server itself reads the models from a bucket."""
        return is_remote(self.push_path) and not self.baked

    @property
    def needs_volume(self) -> bool:
        """Whether the versions lie in a folder or volume that is mounted, read-only."""
        return not self.baked and not self.is_remote

    @property
    def base_path(self) -> str:
        """Where the server finds the versions; TensorFlow Serving refuses a relative path."""
        return self.push_path if self.is_remote else f"/models/{self.model}"

    @property
    def ready_path(self) -> str:
        """A REST path that answers 200 only while the model can answer, else 404.

        `/v1/models/NAME` answers 200 for every version it has heard of, even one that failed to load, and tells the
        state in the body, which a probe does not read. The metadata needs a handle on the loaded servable
        (`get_model_metadata_impl.cc`), so there is none for a version that is not AVAILABLE.
        """
        return f"{self.status_path}{'/labels/stable' if self.pins else ''}/metadata"

    @property
    def status_path(self) -> str:
        """The REST path that answers as soon as the server listens, which it does once the first model is loaded."""
        return f"/v1/models/{self.model}"


@dataclass(frozen=True)
class Cluster:
    """What only Kubernetes needs to know."""

    namespace: str | None = None
    replicas: int = 2
    max_replicas: int = 10
    storage: str = "10Gi"
    storage_class: str | None = None
    access_mode: str = "ReadWriteMany"
    monitoring_namespace: str = "monitoring"

    def __post_init__(self) -> None:
        for option, name in (("--namespace", self.namespace), ("--monitoring-namespace", self.monitoring_namespace)):
            if name is not None:
                require_dns_label(name, option)
        if self.storage_class is not None and not re.fullmatch(
            r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", self.storage_class
        ):
            raise UsageError("A storage class is no DNS name", where="--storage-class", received=self.storage_class)
        if not re.fullmatch(r"[1-9][0-9]*(Mi|Gi|Ti)", self.storage):
            raise UsageError("A size is wrong", where="--storage", expected="such as 10Gi", received=self.storage)
        require_replicas(self.replicas, self.max_replicas)


def require_readable(push_path: str) -> None:
    """Refuses a URL that the stock server cannot read.

    Its build links TensorFlow's gs:// file system and no other (`model_servers/BUILD`, 2.16 to 2.20).

    Raises:
        ConfigError: The path is remote and not gs://.
    """
    if is_remote(push_path) and not push_path.startswith("gs://"):
        raise ConfigError(
            "TensorFlow Serving cannot read the push path",
            where="push.path",
            expected="a folder, or gs://…: the stock server has no other remote file system",
            received=push_path,
            mend="Mount the bucket as a volume (for S3: Mountpoint's CSI driver) and push to the folder.",
        )


def image_of(serving_version: str) -> str:
    """The stock image of a release, pinned.

    Raises:
        UsageError: It is no release, or one that lacks what the manifests use.
    """
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(-gpu)?", serving_version)
    if not match or tuple(int(part) for part in match.groups()[:3]) < OLDEST_SERVING_VERSION:
        raise UsageError(
            "This release of TensorFlow Serving will not do",
            where="--serving-version",
            expected=f"such as {DEFAULT_SERVING_VERSION}; {'.'.join(map(str, OLDEST_SERVING_VERSION))} or newer",
            received=serving_version,
        )
    return f"tensorflow/serving:{serving_version}"


def resource_name_of(model: str) -> str:
    """A pipeline's name as a DNS-1123 label: My_Model → my-model.

    Raises:
        ConfigError: It would have to be cut or would end with a hyphen: two names could then become one.
    """
    name = model.lower().replace("_", "-")
    if not _is_dns_label(name):
        raise ConfigError(
            "The pipeline's name makes no name of a Kubernetes resource",
            where="name",
            expected=f"at most {_MOST_NAME_CHARACTERS} letters, digits, - and _, with a letter or digit at the end",
            received=model,
            mend="Give another with --name.",
        )
    return name


def require_dns_label(name: str, option: str) -> str:
    """The name itself, if it is a DNS-1123 label with room for a suffix.

    Raises:
        UsageError: It is not.
    """
    if not _is_dns_label(name):
        raise UsageError(
            "A name is no DNS-1123 label",
            where=option,
            expected=f"a to z, 0 to 9 and -, neither first nor last a -, at most {_MOST_NAME_CHARACTERS} characters",
            received=name,
        )
    return name


def _is_dns_label(name: str) -> bool:
    return len(name) <= _MOST_NAME_CHARACTERS and re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) is not None
