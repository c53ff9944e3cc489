"""`headrace deploy`: writes what runs TensorFlow Serving with Docker or on Kubernetes."""

from __future__ import annotations

import argparse
import ipaddress
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from rich.console import Console

from pipeline.config import PipelineConfig
from schema.errors import ExitCode, UsageError, disk_error
from serving.deploy.docker import docker_files
from serving.deploy.kubernetes import kubernetes_files
from serving.deploy.pins import Choice, is_remote
from serving.deploy.settings import (
    DEFAULT_SERVING_VERSION,
    Cluster,
    Settings,
    image_of,
    require_dns_label,
    require_readable,
    resource_name_of,
)
from serving.deploy.write import Written, write_files
from serving.versions import versions

_MEMORY_UNITS = {"Mi": 1, "Gi": 1024}


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
    canary: int | None = None
    bake_model: bool = False
    cpus: int = 2
    memory: str = "2Gi"
    p99_milliseconds: int = 100
    address: str = "127.0.0.1"
    image: str | None = None
    namespace: str | None = None
    replicas: int = 2
    max_replicas: int = 10
    storage: str = "10Gi"
    storage_class: str | None = None
    access_mode: str = "ReadWriteMany"
    monitoring_namespace: str = "monitoring"

    def command(self, *without: str) -> str:
        """The command line, on one line, without what does not change the files and other options by name."""
        words = ["headrace", "deploy", self.target, self.pipeline]
        for option in fields(self):
            value = getattr(self, option.name)
            if value != option.default and option.name not in ("pipeline", "target", "output", "force", *without):
                words += [f"--{option.name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return " ".join(shlex.join(words).split())


def add_deploy_options(commands: argparse._SubParsersAction, positive: Callable[[str], int]) -> None:
    """Adds `docker` and `kubernetes` with their options.

    Args:
        commands: Where the two are added.
        positive: The type of options that are positive numbers.
    """
    for target, told in (("docker", "a Dockerfile and a compose file"), ("kubernetes", "Kubernetes manifests")):
        parser = commands.add_parser(target, help=f"write {told}", description=f"Write {told}.")
        parser.add_argument("pipeline", nargs="?", default="flights", help="a name or a .yaml file (default: flights)")
        add = _adder(parser)
        add("--output", metavar="FOLDER", help=f"default: deploy/PIPELINE/{target}")
        add("--force", action="store_true", help="replace files that were edited since they were written")
        add("--name", help="of the resources (default: the pipeline's name, in lower case and with - for _)")
        add("--serving-version", metavar="VERSION", help="the release of TensorFlow Serving")
        add("--stable", metavar="VERSION", type=positive, help="serve this version under the label stable")
        add("--canary", metavar="VERSION", type=positive, help="serve this version too, under the label canary")
        add("--bake-model", action="store_true", help="the image holds the models, so no volume is needed")
        add("--cpus", metavar="N", type=positive, help="of one server")
        add("--memory", metavar="SIZE", help="of one server; two versions are in memory while one replaces another")
        add("--p99-milliseconds", metavar="N", type=positive, help="an alert fires above this latency")
        if target == "docker":
            add("--address", help="of this machine, to publish the ports on")
        else:
            add("--image", help="default: the stock image; needed with --bake-model")
            add("--namespace", help="default: the one that is current when the manifests are applied")
            add("--replicas", metavar="N", type=positive, help="the fewest")
            add("--max-replicas", metavar="N", type=positive, help="the most")
            add("--storage", metavar="SIZE", help="of the volume with the models")
            add("--storage-class", metavar="NAME", help="default: the cluster's")
            add("--access-mode", choices=["ReadWriteMany", "ReadOnlyMany"], help="of the volume")
            add("--monitoring-namespace", metavar="NAME", help="where Prometheus runs")
        parser.set_defaults(target=target)


def _adder(parser: argparse.ArgumentParser) -> Callable[..., None]:
    """Adds an option with its default from `DeployOptions`, told in its help."""
    defaults = {option.name: option.default for option in fields(DeployOptions)}

    def add(flag: str, *, help: str, **more: object) -> None:
        default = defaults[flag.removeprefix("--").replace("-", "_")]
        told = f"{help} (default: {default})" if default not in (None, False) else help
        parser.add_argument(flag, default=default, help=told, **more)  # type: ignore[arg-type]

    return add


def deploy(console: Console, config: PipelineConfig, options: DeployOptions) -> ExitCode:
    """Checks everything, then writes all files or none, and says what to run next."""
    settings = _settings(config, options)
    output = Path(options.output or Path("deploy", settings.model, options.target))
    if not is_remote(settings.push_path) and output.resolve().is_relative_to(Path(settings.push_path).resolve()):
        raise UsageError("The output lies in the folder that servers poll", where=str(output), mend="Choose another.")
    files: dict[str, str | Path] = dict(_files(settings, options))
    for version in settings.baked if options.target == "docker" else ():
        files |= _model_files(Path(settings.push_path, str(version)), f"models/{version}")
    try:
        written = write_files(output, files, options.force)
    except OSError as error:
        raise disk_error(error, "headrace deploy") or UsageError(
            "The output cannot be written", where=str(error.filename or output), received=error.strerror
        ) from None
    _show(console, output, written, files)
    _show_next(console, output, settings, options)
    return ExitCode.OK


def _settings(config: PipelineConfig, options: DeployOptions) -> Settings:
    path = config.push.path
    require_readable(path)
    choice = Choice.of(path, options.stable, options.canary)
    pins = choice.pins(path)
    if options.target == "kubernetes" and options.bake_model and not options.image:
        raise UsageError(
            "Which image holds the models is not said",
            where="--bake-model",
            expected="--image IMAGE",
            mend="Build and push one from what `headrace deploy docker --bake-model` writes.",
        )
    return Settings(
        model=config.name,
        resource_name=require_dns_label(options.name, "--name") if options.name else resource_name_of(config.name),
        push_path=path,
        command=options.command(),
        command_without_pins=options.command("stable", "canary"),
        pins=pins,
        baked=choice.baked(pins, path) if options.bake_model else (),
        image=_image(options),
        cpus=options.cpus,
        memory_mib=_mebibytes(options.memory),
        p99_milliseconds=options.p99_milliseconds,
    )


def _files(settings: Settings, options: DeployOptions) -> Mapping[str, str]:
    if options.target == "docker":
        return docker_files(settings, _address(options.address))
    cluster = Cluster(
        namespace=options.namespace,
        replicas=options.replicas,
        most_replicas=options.max_replicas,
        storage=options.storage,
        storage_class=options.storage_class,
        access_mode=options.access_mode,
        monitoring_namespace=options.monitoring_namespace,
    )
    return kubernetes_files(settings, cluster)


def _model_files(version: Path, below: str) -> dict[str, Path]:
    return {f"{below}/{path.relative_to(version)}": path for path in sorted(version.rglob("*")) if path.is_file()}


def _image(options: DeployOptions) -> str:
    if options.image is None:
        return image_of(options.serving_version)
    if not re.fullmatch(r"[a-z0-9][A-Za-z0-9._/:@-]*", options.image):
        raise UsageError(
            "This is no image", where="--image", expected="such as registry/name:tag", received=options.image
        )
    return options.image


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise UsageError("This is no IP address", where="--address", received=text) from None


def _mebibytes(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]*)(Mi|Gi)", text)
    if not match:
        raise UsageError("A size is wrong", where="--memory", expected="such as 512Mi or 2Gi", received=text)
    return int(match[1]) * _MEMORY_UNITS[match[2]]


def _show(console: Console, output: Path, written: Written, files: Mapping[str, str | Path]) -> None:
    _say(console, f"{output}: {len(written.written)} of {len(files)} files written")
    for mark, names in (("+", written.written), ("-", written.removed)):
        for name in names:
            if not name.startswith("models/"):  # a version has many
                _say(console, f"  {mark} {name}")


def _show_next(console: Console, output: Path, settings: Settings, options: DeployOptions) -> None:
    if is_remote(settings.push_path):
        if settings.pins:
            _say(console, f"Whether the versions are in {settings.push_path} was not checked.")
    elif not versions(Path(settings.push_path)):
        _say(console, f"Nothing is pushed to {settings.push_path} yet; the server waits for the first version.")
    folder = shlex.quote(str(output))
    if options.target == "docker":
        _say(console, f"Next: docker compose -f {folder}/compose.yaml up --build --detach --wait")
    else:
        _say(console, f"Next: kubectl apply -k {folder}")


def _say(console: Console, text: str) -> None:
    """A line as it is: a path may hold what rich takes for markup, and a command must not be broken."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
