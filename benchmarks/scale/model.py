"""Measurements → what 100 GB, 1 TB and 100 TB take. Every assumption that was not measured here is a named constant."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.scale.measured import BEAM_NODES, Cost, Measured

SIZES = {"100 GB": 10**11, "1 TB": 10**12, "100 TB": 10**14}
"""Bytes of Parquet."""
WORKERS = (16, 128, 1024)
CORES = 4
"""Of a worker, n2-standard-4. Assumed: one of its virtual cores does what a core here does."""
START = 240
"""Seconds until Dataflow's workers take the first element of a job. Assumed; it is paid by each Beam node."""
ROWS_IN_A_GROUP = 1 << 20
"""Of a Parquet row group, which becomes a shard of examples: pyarrow's default."""
GROUPS_IN_A_FILE = 8
OPENING = 0.05
"""Seconds to open a file in a bucket and to read its footer, or to ask for its checksum. Assumed."""
FOOTERS_AT_ONCE = 16
"""`data.readers`, where it is private, as is the Trainer's: a test compares both."""
OPEN_FILES = 128
GATHERED = 1024
"""Parts of neighbouring files: `monitoring.profile.MOST_BLOCKS`."""


@dataclass(frozen=True)
class Rate:
    """A node's cost as a line: what it costs before the first row, and what each row adds."""

    fixed_seconds: float
    row_seconds: float
    """Core-seconds."""
    bundle_bytes: float
    """Shuffled by each bundle whatever its rows: the accumulators of lifted combiners."""
    row_bytes: float
    """Shuffled by each row."""

    @classmethod
    def of(cls, small: Cost, large: Cost, files: int) -> Rate:
        """The line through two runs of one node."""
        rows = large.rows - small.rows
        row_seconds = (large.core_seconds - small.core_seconds) / rows
        row_bytes = max(0.0, (large.shuffle_bytes - small.shuffle_bytes) / rows)
        return cls(
            max(0.0, small.core_seconds - row_seconds * small.rows),
            row_seconds,
            max(0.0, small.shuffle_bytes - row_bytes * small.rows) / files,
            row_bytes,
        )


@dataclass(frozen=True)
class Estimate:
    """A node, on data of one size, with so many workers."""

    seconds: float
    worker_hours: float
    shuffle_bytes: float


class Model:
    """What is asked of the measurements."""

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        small, large = measured.costs
        self.rates = {name: Rate.of(small[name], large[name], measured.files) for name in (*BEAM_NODES, "Trainer")}

    def rows(self, size: int) -> float:
        """Of so many bytes of Parquet."""
        return size / self.measured.row_bytes["parquet"]

    def shards(self, size: int) -> float:
        """Row groups, and so files of examples."""
        return max(1.0, self.rows(size) / ROWS_IN_A_GROUP)

    def files(self, size: int) -> float:
        """Of Parquet."""
        return max(1.0, self.shards(size) / GROUPS_IN_A_FILE)

    def node(self, name: str, size: int, workers: int) -> Estimate:
        """One Beam node: no more cores work than there are shards."""
        rate, cores = self.rates[name], min(workers * CORES, self.shards(size))
        seconds = START + rate.fixed_seconds + self.rows(size) * rate.row_seconds / cores
        return Estimate(
            seconds,
            workers * seconds / 3600,
            rate.row_bytes * self.rows(size) + rate.bundle_bytes * self.shards(size),
        )

    def all_nodes(self, size: int, workers: int) -> Estimate:
        """The Beam nodes in turn."""
        nodes = [self.node(name, size, workers) for name in BEAM_NODES]
        return Estimate(
            sum(each.seconds for each in nodes),
            sum(each.worker_hours for each in nodes),
            sum(each.shuffle_bytes for each in nodes),
        )

    def training_seconds(self, size: int) -> float:
        """One epoch of the Trainer, on the cores of one worker."""
        return self.rates["Trainer"].row_seconds * self.rows(size) / CORES

    def footer_seconds(self, size: int) -> float:
        """`inspect_all`, on the machine that runs the pipeline."""
        return self.files(size) * OPENING / FOOTERS_AT_ONCE

    def checksum_seconds(self, size: int) -> float:
        """`fingerprint` of the window, on that machine: one by one."""
        return self.files(size) * OPENING

    def listed_bytes(self, size: int) -> dict[str, float]:
        """The lists of files in graphs: ExampleGen lists those of Parquet, others those of examples."""
        listed = self.measured.listed_bytes
        return {
            name: (self.files(size) if name == "ExampleGen" else self.shards(size)) * each
            for name, each in listed.items()
        }

    def gathered_bytes(self, name: str, size: int) -> float:
        """What one worker of a node that gathers the blocks of all files gets: of more files, neighbours are added."""
        return min(self.shards(size), GATHERED) * self.rates[name].bundle_bytes

    def open_files(self, size: int) -> float:
        """What the Trainer reads at once."""
        return min(self.shards(size), OPEN_FILES)
