"""TFX's handle on ML Metadata, with a store of ours behind it."""

from __future__ import annotations

from tfx.orchestration import metadata

from pipeline.metadata import connect


class Metadata(metadata.Metadata):
    """TFX's Metadata, whose store is `pipeline.metadata.connect`'s. Its tables are there: the run has made them."""

    def __enter__(self) -> Metadata:
        self._store = connect(self._connection_config)
        self._users += 1
        return self
