"""The local runner and TFX's LocalDagRunner on the same pipeline and data, in one run: seconds and their ratio.

    make bench

Each runner starts from nothing in a folder of its own, in a process of its own (imports are counted), and then runs a
second time, from the cache. The pipeline is the shipped flights pipeline, with the same components in both.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from pipeline.config import find_config, load_config, to_yaml

STOCK = """
import sys
from pathlib import Path
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from pipeline.config import load_config
from pipeline.dag import build_pipeline
config = load_config(Path(sys.argv[1]))
config.home.mkdir(parents=True, exist_ok=True)
LocalDagRunner().run(build_pipeline(config, {}))
"""

RUNNERS = {
    "LocalDagRunner": [sys.executable, "-c", STOCK],
    "headrace": [sys.executable, "-m", "pipeline", "run"],
}


def configure(folder: Path) -> Path:
    """The flights pipeline with its artifacts and models in `folder`."""
    raw = yaml.safe_load(to_yaml(load_config(find_config("flights"))))
    raw |= {"root": str(folder / "root"), "push": {"path": str(folder / "models")}}
    path = folder / "flights.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def seconds(command: list[str], config: Path) -> float:
    """How long one run takes."""
    start = time.monotonic()
    with (config.parent / "output.log").open("ab") as log:
        subprocess.run([*command, str(config)], stdout=log, stderr=log, check=True)
    return time.monotonic() - start


def main() -> None:
    """Measures and prints the table."""
    print(f"{'run':<10}{'LocalDagRunner':>16}{'headrace':>10}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        configs = {}
        for name in RUNNERS:
            (Path(folder) / name).mkdir()
            configs[name] = configure(Path(folder) / name)
        for run in ("first", "second"):
            stock, ours = (seconds(command, configs[name]) for name, command in RUNNERS.items())
            print(f"{run:<10}{stock:>14.1f} s{ours:>8.1f} s{stock / ours:>7.1f}×", flush=True)


if __name__ == "__main__":
    main()
