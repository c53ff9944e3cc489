"""Whether an object store lets these credentials in, asked before anything is read or written there."""

from __future__ import annotations

import re

from storage.errors import explain
from storage.places import at

_NOBODYS = ".headrace-looks"
"""A name that nothing has, so that its listing is empty however much lies beside it."""

_PATTERN = re.compile(r"[*?\[{].*", re.DOTALL)
"""From where on a path says which of several files are meant."""


def require_store(url: str, where: str) -> None:
    """The bucket is there, and these credentials may list what lies below the URL; nothing need lie there.

    It is one listing: who may read and write objects need not be allowed to look at the bucket itself, and a policy may
    be limited to a prefix.

    Args:
        url: A folder, a file or a pattern of files in an object store.
        where: Which setting names it.

    Raises:
        StorageError: There is no such bucket, or no access, or the store cannot be reached.
    """
    try:
        _list_nothing(url)
    except Exception as error:  # each store has its own classes of errors
        told = explain(error, f"{where}: {url}")
        if told is None:
            raise
        raise told from None


def _list_nothing(url: str) -> None:
    folder = _PATTERN.sub("", url)
    place = at(folder if folder == url else folder.rpartition("/")[0])
    if place.protocol in ("gs", "gcs"):
        place.fs.credentials.maybe_refresh()  # once; while it lists, gcsfs tries again for half a minute
    bucket, _, key = place.path.strip("/").partition("/")
    place.fs.find(bucket, prefix=f"{key}/{_NOBODYS}".lstrip("/"))
