"""tf.Examples as rows: what the pipeline trained on, and what requests carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from data.columns import read_columns
from data.records import ExamplesParser, read_records
from models.features import Feature
from monitoring.rows import as_rows


class ExampleRows:
    """Reads examples as rows of the watched features (the first value of one that has several).

    Args:
        features: What is watched, of the types that the examples have.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = tuple(features)
        self._parser = ExamplesParser({feature.name: feature.type for feature in features})

    def read(self, path: str) -> Iterator[pa.RecordBatch]:
        """The rows of a gzipped TFRecord file, in batches.

        Raises:
            pa.ArrowInvalid, OSError: The file of its columns is damaged.
            tf.errors.OpError: It has none, and is damaged, or a feature has another type.
        """
        found = read_columns(path, [feature.name for feature in self._features])
        if found is None:
            return map(self.of, read_records(path))
        return (
            as_rows(dict(zip(rows.schema.names, rows.columns, strict=True)), self._features, len(rows))
            for rows in found
        )

    def of(self, examples: Sequence[bytes]) -> pa.RecordBatch:
        """Serialized examples.

        Raises:
            tf.errors.OpError: A record is no tf.Example, or a feature has another type.
        """
        parsed = self._parser.parse(examples)
        columns = {name: _first(parsed.column(index)) for index, name in enumerate(parsed.schema.names)}
        return as_rows(columns, self._features, len(examples))


def _first(column: pa.Array) -> pa.Array:
    """The first value of each list, null where there is none."""
    offsets = np.asarray(column.offsets)
    is_absent = offsets[1:] == offsets[:-1]
    return column.values.take(pa.array(np.where(is_absent, 0, offsets[:-1]), mask=is_absent))
