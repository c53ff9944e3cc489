"""What is deployed, from the configuration and what was typed: checked before anything is written."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields

from pipeline.commands.deploy_options import PLATFORMS, DeployOptions, Platform
from pipeline.config import PipelineConfig
from schema.errors import UsageError
from serving.deploy.pins import Pins
from serving.deploy.settings import Settings, image_of, require_dns_label, resource_name_of
from serving.deploy.vertex import Vertex

_MEMORY_UNITS = {"Mi": 1, "Gi": 1024}


def settings_of(
    config: PipelineConfig, options: DeployOptions, image: str, pins: Pins | None = None, baked: tuple[int, ...] = ()
) -> Settings:
    """The facts that every file is made from.

    Raises:
        UsageError: An option is wrong.
        ConfigError: The pipeline's name makes no name of a resource.
    """
    return Settings(
        model=config.name,
        resource_name=require_dns_label(options.name, "--name") if options.name else resource_name_of(config.name),
        push_path=config.push.path,
        command=options.command(),
        command_without_pins=options.command("stable", "canary"),
        pins=pins,
        baked=baked,
        image=image,
        cpus=options.cpus,
        memory_mib=_mebibytes(options.memory),
        p99_milliseconds=options.p99_milliseconds,
    )


def platform_of(config: PipelineConfig, options: DeployOptions) -> Platform | None:
    """What only the target needs to know; None for Docker.

    Raises:
        UsageError: An option is wrong, or one that has to be given is not.
    """
    kind = PLATFORMS.get(options.target)
    if kind is None:
        return None
    given = dict(options.platform)
    if kind is Vertex and config.targets.vertex is not None:
        for name in ("project", "region", "service_account"):
            given[name] = given[name] or getattr(config.targets.vertex, name)
    for option in fields(kind):
        if option.default is MISSING and given[option.name] is None:
            raise UsageError(
                f"{options.target} needs to know the {option.name}",
                where=f"--{option.name}",
                mend="Give the option, or targets.vertex in the YAML." if kind is Vertex else "Give the option.",
            )
    return kind(**given)


def image_for(options: DeployOptions, platform: Platform | None) -> str:
    """The image that serves: what was asked for, or the stock one, where the target pulls it from.

    Raises:
        UsageError: It is no image, or no release.
    """
    if options.image is None:
        stock = image_of(options.serving_version)
        return f"{platform.image}:{options.serving_version}" if isinstance(platform, Vertex) else stock
    if not re.fullmatch(r"[a-z0-9][A-Za-z0-9._/:@-]*", options.image):
        raise UsageError(
            "This is no image", where="--image", expected="such as registry/name:tag", received=options.image
        )
    return options.image


def _mebibytes(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]*)(Mi|Gi)", text)
    if not match:
        raise UsageError("A size is wrong", where="--memory", expected="such as 512Mi or 2Gi", received=text)
    return int(match[1]) * _MEMORY_UNITS[match[2]]
