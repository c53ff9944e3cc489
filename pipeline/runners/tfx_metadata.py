"""A node's handle on ML Metadata, with a store of ours behind it, and one node at a time in SQLite's file.

ML Metadata sleeps for 100 to 300 ms whenever it finds the file locked (`WaitThenRetry` in
ml_metadata/metadata_store/sqlite_metadata_source.cc), and for seconds if two processes have begun to write (`_call` in
metadata_store.py). Nodes that start together would meet there. What each does there at a time takes less than 50 ms,
unless a resolver looks at a place that is far away.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tfx.orchestration import metadata

from pipeline.metadata import connect
from storage.locks import alone


class Metadata(metadata.Metadata):
    """TFX's Metadata, whose store is `pipeline.metadata.connect`'s. Its tables are there: the run has made them."""

    def __enter__(self) -> Metadata:
        if not self._users:
            with ExitStack() as stack:
                file = self._connection_config.sqlite.filename_uri
                if file:
                    stack.enter_context(alone(Path(f"{file}.lock")))
                self._store = connect(self._connection_config)
                self._alone = stack.pop_all()
        self._users += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        super().__exit__(kind, error, trace)
        if not self._users:
            self._alone.close()
