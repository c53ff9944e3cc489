"""The image's versions are those that are pinned. (Building it takes Docker and a network.)"""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser
from packaging.requirements import Requirement
from projects import REPOSITORY
from setuptools.config.pyprojecttoml import read_configuration

from pipeline.lane import TFX_116, TFX_121, Lane

DOCKERFILE = REPOSITORY / "docker" / "Dockerfile"
INSTRUCTIONS = {"ARG", "COMMENT", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "WORKDIR"}
LANES = [TFX_116, TFX_121]


@pytest.fixture(scope="module")
def dockerfile() -> DockerfileParser:
    return DockerfileParser(fileobj=io.BytesIO(DOCKERFILE.read_bytes()))


def project() -> dict[str, Any]:
    found: dict[str, Any] = read_configuration(REPOSITORY / "pyproject.toml", expand=False)
    return found


def pins(python: str) -> dict[str, str]:
    """The version of each package that pyproject.toml pins for a version of Python."""
    requirements = [Requirement(text) for text in project()["project"]["dependencies"]]
    return {
        each.name: str(each.specifier).removeprefix("==")
        for each in requirements
        if each.marker is not None and each.marker.evaluate({"python_version": python})
    }


def build_arguments(lane: Lane) -> dict[str, str]:
    """Those of the command that the file names for a lane."""
    [command] = re.findall(
        rf"^#\s+lane {re.escape(lane.name)}: (docker build .*)$", DOCKERFILE.read_text(), re.MULTILINE
    )
    return dict(re.findall(r"--build-arg (\w+)=(\S+)", command))


@pytest.mark.parametrize("lane", LANES)
def test_a_lanes_image_has_what_is_pinned_and_locked(lane: Lane) -> None:
    arguments = build_arguments(lane)
    pinned = pins(arguments["PYTHON"])
    assert arguments["BEAM"] == pinned["apache-beam"]
    assert pinned["tfx"] == lane.tfx
    assert (arguments["PYTHON"], arguments["BEAM"]) == (lane.python, lane.beam)
    assert f'name = "apache-beam"\nversion = "{arguments["BEAM"]}"' in (REPOSITORY / "uv.lock").read_text()


def test_without_arguments_it_is_the_oldest_lane(dockerfile: DockerfileParser) -> None:
    defaults = dict(
        each["value"].split("=", 1)
        for each in dockerfile.structure
        if each["instruction"] == "ARG" and "=" in each["value"]
    )
    script = (REPOSITORY / "scripts" / "install.sh").read_text()
    assert defaults == {**build_arguments(TFX_116), "UV": re.findall(r"uv_version=(\S+)", script)[0]}


def test_every_stage_is_named_before_it_is_copied_from(dockerfile: DockerfileParser) -> None:
    assert {each["instruction"] for each in dockerfile.structure} <= INSTRUCTIONS
    stages: list[str] = []
    for each in dockerfile.structure:
        if each["instruction"] == "FROM":
            stages += re.findall(r" AS (\w+)$", each["value"])
        assert set(re.findall(r"--from=(\w+)", each["value"])) <= set(stages), each["content"]
    assert dockerfile.structure[-1]["content"] == 'ENTRYPOINT ["/opt/apache/beam/boot"]\n'


def test_dependencies_come_from_the_lock_and_without_tools_of_development(dockerfile: DockerfileParser) -> None:
    installs = [each["value"] for each in dockerfile.structure if "uv sync" in each["value"]]
    assert len(installs) == 2
    for install in installs:
        assert {"--frozen", "--no-dev"} <= set(install.split())
        assert "--mount=type=cache" in install  # what is downloaded stays out of the image


def test_what_is_sent_to_docker_has_every_package() -> None:
    ignored = (REPOSITORY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    packages = [each.rstrip("*") for each in project()["tool"]["setuptools"]["packages"]["find"]["include"]]
    assert "*" in ignored
    assert {f"!{package}" for package in packages} <= set(ignored)
    for name in (line[1:] for line in ignored if line.startswith("!")):
        assert (REPOSITORY / name).exists(), name
