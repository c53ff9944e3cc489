"""A node's executor whose shards processes divide: in a process of its own, since none may be forked from this one.

    python divided_nodes.py CALL.json

TensorFlow has run operations in a process of tests, as it has not in a node's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from small_artifacts import execute
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import Artifact
from tfx.utils.import_utils import import_class_by_path

from schema.errors import HeadraceError

_PROJECT = Path(__file__).parents[2]


def execute_divided(
    executor: type[BaseBeamExecutor],
    folder: Path,
    inputs: Mapping[str, Artifact],
    outputs: Mapping[str, Artifact],
    properties: dict[str, Any],
    options: Sequence[str],
) -> dict[str, Artifact]:
    """Runs it; gives the outputs as it left them.

    Raises:
        HeadraceError: It did.
    """
    call = folder / "call.json"
    sides = [{name: each.to_json_dict() for name, each in side.items()} for side in (inputs, outputs)]
    path = f"{executor.__module__}.{executor.__name__}"
    call.write_text(json.dumps([path, str(folder), *sides, properties, list(options)]))
    done = subprocess.run(
        [sys.executable, __file__, str(call)], cwd=_PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    left = json.loads(call.read_text())
    if "error" in left:
        raise HeadraceError.from_json(left["error"])
    return {name: Artifact.from_json_dict(each) for name, each in left.items()}


def _main(call: Path) -> None:
    path, folder, *sides, properties, options = json.loads(call.read_text())
    inputs, outputs = ({name: Artifact.from_json_dict(each) for name, each in side.items()} for side in sides)
    left: dict[str, Any]
    try:
        execute(import_class_by_path(path), Path(folder), inputs, outputs, properties, options=options)
        left = {name: each.to_json_dict() for name, each in outputs.items()}
    except HeadraceError as error:
        left = {"error": error.to_json()}
    call.write_text(json.dumps(left))


if __name__ == "__main__":
    sys.path.insert(0, str(_PROJECT))
    _main(Path(sys.argv[1]))
    os._exit(0)  # as a node's process ends: Arrow's threads may be at work still
