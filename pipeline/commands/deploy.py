"""`headrace deploy`: writes what runs TensorFlow Serving with Docker, on Kubernetes, or on a serving platform."""

from __future__ import annotations

import ipaddress
import shlex
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from pipeline.commands.deploy_options import DeployOptions, Hosted
from pipeline.commands.deploy_settings import image_for, platform_of, settings_of
from pipeline.config import PipelineConfig
from schema.errors import ExitCode, UsageError, disk_error
from serving.deploy.archive import write_archive
from serving.deploy.azureml import AzureMl, azureml_files, model_folder
from serving.deploy.docker import docker_files
from serving.deploy.example import example_request
from serving.deploy.kserve import KServe, kserve_files
from serving.deploy.kubernetes import kubernetes_files
from serving.deploy.pins import Choice
from serving.deploy.release import Release, choose, reading
from serving.deploy.sagemaker import SageMaker, archive_file, archive_layout, sagemaker_files
from serving.deploy.settings import Cluster, Settings, require_readable
from serving.deploy.vertex import Vertex, vertex_files
from serving.deploy.write import Written, write_files
from serving.versions import versions
from storage.places import at, is_remote, local_copy

Files = Mapping[str, str | Path]
"""Path below the output folder → the text, or the file to copy."""


def deploy(console: Console, config: PipelineConfig, options: DeployOptions) -> ExitCode:
    """Checks everything, then writes all files or none, and says what to run next."""
    output = Path(options.output or Path("deploy", config.name, options.target))
    if not is_remote(config.push.path) and output.resolve().is_relative_to(Path(config.push.path).resolve()):
        raise UsageError("The output lies in the folder that servers poll", where=str(output), mend="Choose another.")
    platform = platform_of(config, options)
    with ExitStack() as copies:
        try:
            if platform is None or isinstance(platform, Cluster):
                settings, files = _own_servers(config, options, platform)
            else:
                settings, files = _released(config, options, platform, copies)
            written = write_files(output, files, options.force)
        except OSError as error:
            raise disk_error(error, "headrace deploy") or UsageError(
                "The output cannot be written", where=str(error.filename or output), received=error.strerror
            ) from None
    _show(console, output, written, files)
    _show_next(console, output, settings, options)
    return ExitCode.OK


def _own_servers(
    config: PipelineConfig, options: DeployOptions, cluster: Cluster | None
) -> tuple[Settings, dict[str, str | Path]]:
    """Servers that poll the push path, or have the versions in their image."""
    path = config.push.path
    require_readable(path)
    choice = Choice.of(path, options.stable, options.canary)
    pins = choice.pins(path)
    if cluster is not None and options.bake_model and not options.image:
        raise UsageError(
            "Which image holds the models is not said",
            where="--bake-model",
            expected="--image IMAGE",
            mend="Build and push one from what `headrace deploy docker --bake-model` writes.",
        )
    baked = choice.baked(pins, path) if options.bake_model else ()
    settings = settings_of(config, options, image_for(options, cluster), pins, baked)
    if cluster is not None:
        return settings, dict(kubernetes_files(settings, cluster))
    files: dict[str, str | Path] = dict(docker_files(settings, _address(options.address)))
    for version in baked:
        files |= _model_files(Path(path, str(version)), f"models/{version}")
    return settings, files


def _released(
    config: PipelineConfig,
    options: DeployOptions,
    platform: Hosted,
    copies: ExitStack,
) -> tuple[Settings, dict[str, str | Path]]:
    """One version, and perhaps a canary, for a platform that serves what it is told to.

    Args:
        config: The pipeline.
        options: What was typed.
        platform: What only the platform needs to know.
        copies: Keeps copies of the versions on this machine until the files are written.
    """
    settings = settings_of(config, options, image_for(options, platform))
    stable, canary = choose(config.push.path, options.version, options.canary, options.canary_percent)
    release = Release(settings, stable, canary)
    _platform_files(release, platform)  # the checks come before an example is read
    with reading(stable.place):
        release = replace(release, example=example_request(at(stable.place)))
    files: dict[str, str | Path] = dict(_platform_files(release, platform))
    for served in release.served if isinstance(platform, (SageMaker, AzureMl)) else ():
        with reading(served.place):
            model = copies.enter_context(local_copy(at(served.place)))
        if isinstance(platform, AzureMl):
            files |= _model_files(model, model_folder(release, served))
        else:
            packed = Path(copies.enter_context(tempfile.TemporaryDirectory(prefix="headrace-")), "archive")
            write_archive(model, packed, archive_layout(release, served))
            files[archive_file(served)] = packed
    return settings, files


def _platform_files(release: Release, platform: Hosted) -> dict[str, str]:
    match platform:
        case Vertex():
            return vertex_files(release, platform)
        case SageMaker():
            return sagemaker_files(release, platform)
        case AzureMl():
            return azureml_files(release, platform)
        case KServe():
            return kserve_files(release, platform)


def _model_files(version: Path, below: str) -> dict[str, str | Path]:
    return {f"{below}/{path.relative_to(version)}": path for path in sorted(version.rglob("*")) if path.is_file()}


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise UsageError("This is no IP address", where="--address", received=text) from None


def _show(console: Console, output: Path, written: Written, files: Files) -> None:
    _say(console, f"{output}: {len(written.written)} of {len(files)} files written")
    texts = {name for name, content in files.items() if isinstance(content, str)}
    for mark, names in (("+", written.written), ("-", written.removed)):
        for name in names:
            if mark == "-" or name in texts or name.endswith(".tar.gz"):  # a version has many
                _say(console, f"  {mark} {name}")


def _show_next(console: Console, output: Path, settings: Settings, options: DeployOptions) -> None:
    folder = shlex.quote(str(output))
    if options.target not in ("docker", "kubernetes"):
        _say(console, f"Next: {folder}/README.md tells what to send, in order.")
        return
    if is_remote(settings.push_path):
        if settings.pins:
            _say(console, f"Whether the versions are in {settings.push_path} was not checked.")
    elif not versions(at(settings.push_path)):
        _say(console, f"Nothing is pushed to {settings.push_path} yet; the server waits for the first version.")
    if options.target == "docker":
        _say(console, f"Next: docker compose -f {folder}/compose.yaml up --build --detach --wait")
    else:
        _say(console, f"Next: kubectl apply -k {folder}")


def _say(console: Console, text: str) -> None:
    """A line as it is: a path may hold what rich takes for markup, and a command must not be broken."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
