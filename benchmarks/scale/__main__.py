"""What 100 GB, 1 TB and 100 TB take on Dataflow, from what was measured: the tables of docs/scale.md.

.venv/bin/python -m benchmarks.scale            prints the tables, from measured.json
.venv/bin/python -m benchmarks.scale measure    measures anew, in some ten minutes on two idle cores, and prints them
"""

from __future__ import annotations

import sys

from benchmarks.scale.measured import MEASURED, Measured
from benchmarks.scale.model import Model
from benchmarks.scale.report import tables


def main() -> None:
    """Prints the tables, or measures first."""
    if sys.argv[1:] == ["measure"]:
        from benchmarks.scale.measure import measure

        measure().save(MEASURED)
    elif sys.argv[1:]:
        raise SystemExit(__doc__)
    for name, table in tables(Model(Measured.load())).items():
        print(f"\n{name}\n\n{table}")


if __name__ == "__main__":
    main()
