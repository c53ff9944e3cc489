"""Which versions of a model should be served: what lies in its base path, under its version policy.

As TensorFlow Serving's `sources/storage_path/file_system_storage_path_source.cc`: a version is a folder whose name
reads as an integer (`00000123` is 123); the policy is the latest, the latest n, all, or specific ones.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from tensorflow_serving.config import model_server_config_pb2

_INTEGER = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
_LIMIT = 1 << 63

log = logging.getLogger(__name__)


def aspired_versions(config: model_server_config_pb2.ModelConfig) -> dict[int, str] | None:
    """The paths of the versions that should be served, by version.

    Returns:
        None if the base path cannot be read: then what is served should stay as it is.
    """
    try:
        found = _versions_in(config.base_path)
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        log.error(
            "FileSystemStoragePathSource encountered a filesystem access error: Could not find base path %s for "
            "servable %s with error %s",
            config.base_path,
            config.name,
            error,
        )
        return None
    return {version: f"{config.base_path}/{found[version]}" for version in _chosen(config, found)}


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
