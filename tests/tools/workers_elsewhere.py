"""A Beam runner whose workers are other processes, in another folder, with another TMPDIR and without the tests'
modules: what reaches them has been pickled, and what they leave must be where they were told to leave it.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

ELSEWHERE = f"--runner={__name__}.WorkersElsewhere"


class WorkersElsewhere(FnApiRunner):
    """Starts its workers as Beam's multi_processing mode does, but elsewhere."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="workers-")
        temporary = Path(self._folder.name, "temporary")
        temporary.mkdir()
        command = [
            *("env", "--unset=PYTHONPATH", f"--chdir={self._folder.name}", f"TMPDIR={temporary}"),
            *(sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"),
        ]
        environment = SubprocessSDKEnvironment.from_command_string(shlex.join(command))
        super().__init__(default_environment=environment)

    def run_pipeline(self, pipeline: Any, options: Any) -> Any:
        """Runs it to its end; the workers' folder is gone then."""
        with self._folder:
            return super().run_pipeline(pipeline, options)
