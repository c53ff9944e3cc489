"""Which versions of a model should be served: what lies in its base path, under its version policy.

As TensorFlow Serving's `sources/storage_path/file_system_storage_path_source.cc`: a version is a folder whose name
reads as an integer (`00000123` is 123); the policy is the latest, the latest n, all, or specific ones.
"""

from __future__ import annotations

import re
from pathlib import Path

from tensorflow_serving.config import model_server_config_pb2

_INTEGER = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
_LIMIT = 1 << 63


def aspired_versions(config: model_server_config_pb2.ModelConfig) -> tuple[dict[int, str] | None, str]:
    """The paths of the versions that should be served, by version; and what is wrong with the base path, if anything.

    Returns:
        None for the paths if the base path cannot be read: then what is served should stay as it is.
    """
    try:
        found = _versions_in(config.base_path)
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        return None, f"Could not find base path {config.base_path} for servable {config.name} with error {error}"
    chosen = {version: f"{config.base_path}/{found[version]}" for version in _chosen(config, found)}
    if chosen:
        return chosen, ""
    return chosen, f"No versions of servable {config.name} found under base path {config.base_path}; waiting for one"


def _chosen(config: model_server_config_pb2.ModelConfig, found: dict[int, str]) -> list[int]:
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "all":
        chosen = sorted(found)
    elif kind == "specific":
        chosen = sorted(set(policy.specific.versions) & set(found))
    else:
        chosen = sorted(found)[-max(policy.latest.num_versions, 1) :]
    return chosen


def _versions_in(base_path: str) -> dict[int, str]:
    versions: dict[int, str] = {}
    for name in sorted(each.name for each in Path(base_path).iterdir()):
        if _INTEGER.fullmatch(name) and -_LIMIT <= int(name) < _LIMIT:
            versions[int(name)] = name
    return versions
