"""Whose records a pipeline root in an object store belongs to.

TFX numbers the folders of artifacts by execution, and each metadata store counts for itself: two stores with one root
would write over each other's artifacts. So a store gets a name, which is kept in the store itself: it is the same
however the store is reached, and a store that begins anew has another.
"""

from __future__ import annotations

import json
import socket
import uuid
from contextlib import suppress

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.config import PipelineConfig
from pipeline.metadata import open_store
from schema.errors import MetadataError
from storage.files import create_if_absent
from storage.places import at, is_remote

_OWNER = "owner.json"
_STORE_TYPE = "headrace.Store"
_STORE = "store"
_NAME = "name"


def claim_root(config: PipelineConfig) -> None:
    """Makes sure that the root is this metadata store's. Of several who claim it at once, one gets it.

    A store that was restored from a backup is the same store, though it counts on from an earlier number.

    Raises:
        MetadataError: The root is another store's. Or the store cannot be opened.
    """
    if not is_remote(config.root):
        return
    owner = at(config.shared) / _OWNER
    name = _name_of(open_store(config.home, config.metadata))
    create_if_absent(owner, json.dumps({"store": name, "machine": socket.gethostname()}))
    found = json.loads(owner.read_text(encoding="utf-8"))
    if found.get("store") != name:
        raise MetadataError(
            "The root belongs to another metadata store",
            where=str(owner),
            expected=f"artifacts of the store {name}",
            received=f"artifacts of the store {found.get('store', '?')}, first used on {found.get('machine', '?')}",
            mend="Give all machines one database (`metadata: {kind: postgresql, …}`), or this one another root. If the "
            "records were lost or begun anew, the old artifacts are of no use to them: take another root.",
        )


def _name_of(store: mlmd.MetadataStore) -> str:
    """What the store was named when it was first asked. ML Metadata takes a context's name once."""
    with suppress(mlmd.errors.AlreadyExistsError):
        kind = store.put_context_type(pb.ContextType(name=_STORE_TYPE, properties={_NAME: pb.STRING}))
        context = pb.Context(type_id=kind, name=_STORE)
        context.properties[_NAME].string_value = uuid.uuid4().hex
        store.put_contexts([context])
    found = store.get_context_by_type_and_name(_STORE_TYPE, _STORE)
    return str(found.properties[_NAME].string_value)
