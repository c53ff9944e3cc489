"""Whose records a pipeline root in an object store belongs to.

TFX numbers the folders of artifacts by execution, and each metadata store counts for itself: two stores with one root
would write over each other's artifacts.
"""

from __future__ import annotations

import json
import socket
import uuid

from pipeline.config import PipelineConfig
from pipeline.metadata_config import SqliteMetadata
from schema.errors import MetadataError
from storage.places import at, is_remote

_OWNER = "owner.json"
_IDENTITY = "identity"


def claim_root(config: PipelineConfig) -> None:
    """Makes sure that the root is this metadata store's. Call it under the run lock only.

    Raises:
        MetadataError: The root is another store's.
    """
    if not is_remote(config.root):
        return
    owner = at(config.shared) / _OWNER
    ours = {"metadata": _identity(config), "machine": socket.gethostname()}
    try:
        found = json.loads(owner.read_text(encoding="utf-8"))
    except FileNotFoundError:
        owner.write_text(json.dumps(ours), encoding="utf-8")
        return
    if found["metadata"] != ours["metadata"]:
        raise MetadataError(
            "The root belongs to another metadata store",
            where=str(owner),
            expected=f"artifacts of {ours['metadata']}",
            received=f"artifacts of {found['metadata']}, first used on {found['machine']}",
            mend="Give all machines one database (`metadata: {kind: postgresql, …}`), or this one another root.",
        )


def _identity(config: PipelineConfig) -> str:
    """Of a database, its address; of a file, a name that it was given when it was first used with a URL."""
    if not isinstance(config.metadata, SqliteMetadata):
        return f"{config.metadata.kind} {config.metadata.host}:{config.metadata.port}/{config.metadata.database}"
    path = config.home / _IDENTITY
    if not path.exists():
        path.write_text(uuid.uuid4().hex, encoding="utf-8")
    return f"SQLite {path.read_text(encoding='utf-8')}"
