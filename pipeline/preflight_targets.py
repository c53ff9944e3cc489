"""What can be found wrong with a place to run before anything is submitted to it: one small function for each rule."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable

from pipeline.beam import Runner, find_target
from pipeline.config import PipelineConfig
from pipeline.targets import BeamTarget, DataflowTarget, FlinkTarget, PortableTarget, SparkTarget
from schema.errors import ConfigError
from storage.access import require_store
from storage.places import is_remote

_SECONDS = 5.0


def check_target(config: PipelineConfig, runner: Runner) -> None:
    """Applies every rule; the first that is broken is told.

    Raises:
        HeadraceError: Something is missing; the error says what, where, and how to mend it.
    """
    target = find_target(config, runner)
    for rule in _RULES:
        rule(config, target)


def _workers_see_the_paths(config: PipelineConfig, target: BeamTarget) -> None:
    if target.workers_share_disk:
        return
    for path, key in ((config.data.source.path, "data.source.path"), (config.root, "root")):
        if not is_remote(path):
            raise ConfigError(
                f"Workers on other machines cannot see {key}",
                where=key,
                expected="a URL such as gs://BUCKET/FOLDER",
                received=path,
                mend="Put it into a bucket; or, if the workers mount this folder under the same path, set "
                "workers_share_disk: true for the target.",
            )


def _locations_are_buckets(config: PipelineConfig, target: BeamTarget) -> None:
    if not isinstance(target, DataflowTarget):
        return
    locations = {"temp_location": target.temp_location, "staging_location": target.staging_location}
    for key, location in locations.items():
        if location is None:
            continue
        if not re.match(r"gs://[^/]+", location):
            raise ConfigError(
                f"Dataflow cannot use this {key}",
                where=f"targets.dataflow.{key}",
                expected="gs://BUCKET/FOLDER",
                received=location,
            )
        require_store(location, f"targets.dataflow.{key}")


def _job_server_answers(config: PipelineConfig, target: BeamTarget) -> None:
    del config
    if not isinstance(target, PortableTarget):
        return
    host, port = target.job_endpoint.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            "The Beam job server does not answer",
            where="targets.portable.job_endpoint",
            expected=f"a job server at {target.job_endpoint}",
            received=str(error),
            mend="Start it, or correct the address.",
        ) from None


def _java_is_there(config: PipelineConfig, target: BeamTarget) -> None:
    del config
    if isinstance(target, (FlinkTarget, SparkTarget)) and shutil.which("java") is None:
        raise ConfigError(
            "Beam's Flink and Spark runners start a job server with Java, and there is none",
            expected="a `java` on the PATH",
            mend="Install a Java runtime, or start a job server elsewhere and use --on portable.",
        )


_RULES: tuple[Callable[[PipelineConfig, BeamTarget], None], ...] = (
    _workers_see_the_paths,
    _locations_are_buckets,
    _job_server_answers,
    _java_is_there,
)
