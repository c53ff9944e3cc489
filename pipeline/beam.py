"""Where Beam runs. The runner is always named: DirectRunner's choice differs between machines."""

from __future__ import annotations

IN_MEMORY_RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
