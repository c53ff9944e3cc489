"""What can be typed after `headrace deploy`: each target has the options that mean something to it, and no other."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeAlias

from serving.deploy.azureml import AzureMl
from serving.deploy.kserve import KServe
from serving.deploy.sagemaker import SageMaker
from serving.deploy.settings import DEFAULT_SERVING_VERSION, Cluster, Settings
from serving.deploy.vertex import Vertex

Hosted: TypeAlias = Vertex | SageMaker | AzureMl | KServe
"""What serves the version that it is told to, instead of polling the push path."""

Platform: TypeAlias = Cluster | Hosted

PLATFORMS: Mapping[str, type[Platform]] = {
    "kubernetes": Cluster,
    "vertex": Vertex,
    "sagemaker": SageMaker,
    "azureml": AzureMl,
    "kserve": KServe,
}
"""Target → what only that target needs to know. Docker needs nothing of the kind."""

_TARGETS = {
    "docker": "a Dockerfile and a compose file",
    "kubernetes": "Kubernetes manifests",
    "vertex": "the requests that Vertex AI serves a pushed version by",
    "sagemaker": "the archive and the requests that SageMaker serves a pushed version by",
    "azureml": "what Azure Machine Learning serves a pushed version by",
    "kserve": "KServe's InferenceService for a pushed version",
}


@dataclass(frozen=True)
class DeployOptions:
    """The command's options; see `add_deploy_options` for what each is."""

    pipeline: str
    target: str
    output: str | None = None
    force: bool = False
    name: str | None = None
    serving_version: str = DEFAULT_SERVING_VERSION
    stable: int | None = None
    version: int | None = None
    canary: int | None = None
    canary_percent: int = 10
    bake_model: bool = False
    cpus: int = Settings.cpus
    memory: str = f"{Settings.memory_mib}Mi"
    p99_milliseconds: int = Settings.p99_milliseconds
    address: str = "127.0.0.1"
    image: str | None = None
    platform: Mapping[str, Any] = field(default_factory=dict)
    """The options that are fields of the target's own type."""

    @staticmethod
    def of(parsed: argparse.Namespace) -> DeployOptions:
        """What was typed."""
        given = {option.name: getattr(parsed, option.name) for option in fields(DeployOptions) if option.name in parsed}
        own = fields(PLATFORMS[parsed.target]) if parsed.target in PLATFORMS else ()
        return DeployOptions(**given, platform={option.name: getattr(parsed, option.name) for option in own})

    def command(self, *without: str) -> str:
        """The command line, on one line, without what does not change the files and other options by name."""
        words = ["headrace", "deploy", self.target, self.pipeline]
        unsaid = ("pipeline", "target", "output", "force", "platform", *without)
        given = {option: getattr(self, option.name) for option in fields(self) if option.name not in unsaid}
        own = fields(PLATFORMS[self.target]) if self.target in PLATFORMS else ()
        for option, value in {**given, **{each: self.platform.get(each.name) for each in own}}.items():
            if value != _default(option):
                words += [f"--{option.name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return " ".join(shlex.join(words).split())


def add_deploy_options(commands: argparse._SubParsersAction, positive: Callable[[str], int]) -> None:
    """Adds the targets with their options.

    Args:
        commands: Where they are added.
        positive: The type of options that are positive numbers.
    """
    for target, told in _TARGETS.items():
        parser = commands.add_parser(target, help=f"write {told}", description=f"Write {told}.")
        parser.add_argument("pipeline", nargs="?", default="flights", help="a name or a .yaml file (default: flights)")
        add = _adder(parser, target)
        add("--output", metavar="FOLDER", help=f"default: deploy/PIPELINE/{target}")
        add("--force", action="store_true", help="replace files that were edited since they were written")
        add("--name", help="of the resources (default: the pipeline's name, in lower case and with - for _)")
        if target in ("docker", "kubernetes"):
            _add_own_servers(add, positive)
        else:
            _add_release(add, positive)
        _ADDERS[target](add, positive)
        parser.set_defaults(target=target)


def _add_own_servers(add: Callable[..., None], positive: Callable[[str], int]) -> None:
    add("--serving-version", metavar="VERSION", help="the release of TensorFlow Serving")
    add("--stable", metavar="VERSION", type=positive, help="serve this version under the label stable")
    add("--canary", metavar="VERSION", type=positive, help="serve this version too, under the label canary")
    add("--bake-model", action="store_true", help="the image holds the models, so no volume is needed")
    add("--cpus", metavar="N", type=positive, help="of one server")
    add("--memory", metavar="SIZE", help="of one server; two versions are in memory while one replaces another")
    add("--p99-milliseconds", metavar="N", type=positive, help="an alert fires above this latency")


def _add_release(add: Callable[..., None], positive: Callable[[str], int]) -> None:
    add("--version", metavar="VERSION", type=positive, help="which pushed version (default: the newest)")
    add("--canary", metavar="VERSION", type=positive, help="a version that gets a share of the traffic")
    add("--canary-percent", metavar="N", type=positive, help="its share")


def _add_docker(add: Callable[..., None], positive: Callable[[str], int]) -> None:
    add("--address", help="of this machine, to publish the ports on")


def _add_kubernetes(add: Callable[..., None], positive: Callable[[str], int]) -> None:
    add("--image", help="default: the stock image; needed with --bake-model")
    add("--namespace", help="default: the one that is current when the manifests are applied")
    _add_replicas(add, positive)
    add("--storage", metavar="SIZE", help="of the volume with the models")
    add("--storage-class", metavar="NAME", help="default: the cluster's")
    add("--access-mode", choices=["ReadWriteMany", "ReadOnlyMany"], help="of the volume")
    add("--monitoring-namespace", metavar="NAME", help="where Prometheus runs")


def _add_vertex(add: Callable[..., None], positive: Callable[[str], int]) -> None:
    add("--project", help="default: that of targets.vertex")
    add("--region", help="default: that of targets.vertex")
    add("--serving-version", metavar="VERSION", help="the release of TensorFlow Serving")
    add("--image", help="default: the stock image, copied to the project's Artifact Registry")
    add("--machine-type", metavar="TYPE", help="of Compute Engine")
    add("--cpus", metavar="N", type=positive, help="that a machine of this type has")
    _add_replicas(add, positive)
    add("--service-account", metavar="EMAIL", help="whom the containers run as (default: that of targets.vertex)")


def _add_sagemaker(add: Callable[..., None], positive: Callable[[str], int]) -> None:
    add("--image", help="AWS' TensorFlow Serving container in your region (required)")
    add("--role", metavar="ARN", help="the role that reads the archive (required)")
    add("--archive", metavar="S3_FOLDER", help="where the archive is uploaded to (default: beside an s3:// push path)")
    add("--instance-type", metavar="TYPE", help="of SageMaker")
    add("--replicas", metavar="N", type=positive, help="instances of each version")
    add("--capture", metavar="S3_FOLDER", help="record requests and answers here (default: not)")
    add("--capture-percent", metavar="N", type=positive, help="the share that is recorded")


def _add_azureml(add: Callable[..., None], positive: Callable[[str], int]) -> None:
    add("--serving-version", metavar="VERSION", help="the release of TensorFlow Serving")
    add("--image", help="default: the stock image")
    add("--instance-type", metavar="TYPE", help="of Azure")
    add("--cpus", metavar="N", type=positive, help="that an instance of this type has")
    add("--replicas", metavar="N", type=positive, help="instances of each version")


def _add_kserve(add: Callable[..., None], positive: Callable[[str], int]) -> None:
    add("--serving-version", metavar="VERSION", help="the release of TensorFlow Serving")
    add("--image", help="default: the stock image")
    add("--namespace", help="default: the one that is current when the manifest is applied")
    add("--storage-uri", metavar="URI", help="where the cluster finds the versions (default: the push path)")
    add("--service-account", metavar="NAME", help="with the bucket's secret")
    add("--cpus", metavar="N", type=positive, help="of one server")
    add("--memory", metavar="SIZE", help="of one server")
    _add_replicas(add, positive)


def _add_replicas(add: Callable[..., None], positive: Callable[[str], int]) -> None:
    add("--replicas", metavar="N", type=positive, help="the fewest")
    add("--max-replicas", metavar="N", type=positive, help="the most")


_ADDERS: Mapping[str, Callable[[Callable[..., None], Callable[[str], int]], None]] = {
    "docker": _add_docker,
    "kubernetes": _add_kubernetes,
    "vertex": _add_vertex,
    "sagemaker": _add_sagemaker,
    "azureml": _add_azureml,
    "kserve": _add_kserve,
}


def _adder(parser: argparse.ArgumentParser, target: str) -> Callable[..., None]:
    """Adds an option with its default from `DeployOptions` or the target's own type, told in its help."""
    own = fields(PLATFORMS[target]) if target in PLATFORMS else ()
    defaults = {option.name: _default(option) for option in (*fields(DeployOptions), *own)}

    def add(flag: str, *, help: str, **more: object) -> None:
        default = defaults[flag.removeprefix("--").replace("-", "_")]
        told = f"{help} (default: {default})" if default not in (None, False) else help
        parser.add_argument(flag, default=default, help=told, **more)  # type: ignore[arg-type]

    return add


def _default(option: Field[Any]) -> Any:
    """None for an option that has to be given."""
    return None if option.default is MISSING else option.default
