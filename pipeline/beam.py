"""Where Beam runs: a target of the configuration → the options of one component's job.

The runner is always named: DirectRunner's choice differs between machines. Placement is no part of the pipeline's
graph, so that TFX's cache answers for a node wherever it ran.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pipeline.config import PipelineConfig
from pipeline.targets import BeamTarget, DataflowTarget, FlinkTarget, PortableTarget, SparkTarget
from schema.errors import ConfigError, NodeError, UsageError

IN_MEMORY_RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"

IN_MEMORY = (IN_MEMORY_RUNNER, "--sdk_container_image=none")
"""For a TFX component. There is no container, but without a word of one TFX builds itself as a package for each job
(`tfx/utils/dependency_utils.py`): seconds for each component."""

Runner = Literal["dataflow", "flink", "spark", "portable"]
DATAFLOW: Runner = "dataflow"
RUNNERS: tuple[Runner, ...] = (DATAFLOW, "flink", "spark", "portable")

BeamArgs = Mapping[str, tuple[str, ...]]
"""The options of each Beam component's job, as on Beam's command line."""

EXAMPLE_GEN = "ExampleGen"

WINDOW_NODES = (EXAMPLE_GEN, "StatisticsGen", "DistributionValidator", "Transform", "ReferenceGen")
"""The Beam components that read the whole window."""

EVAL_NODES = ("Evaluator",)
"""Those that read its evaluation span only."""

DIVIDED_NODES = (EXAMPLE_GEN, "Transform")
"""Of them, those whose shards several processes of one machine can divide (`pipeline.components.shares`)."""

_BYTES_OF_A_SHARE = 3 << 20
"""Of the source: what takes a process longer than it takes to begin."""

_MOST_SHARES = 8
"""Each has batches and threads of its own: some 300 MiB."""

_PROJECT = Path(__file__).parent.parent
_LONGEST_JOB_NAME = 63


def find_target(config: PipelineConfig, runner: Runner) -> BeamTarget:
    """What the configuration says of a runner.

    Raises:
        ConfigError: Nothing.
    """
    target: BeamTarget | None = getattr(config.targets, runner)
    if target is None:
        raise ConfigError(
            f"The pipeline does not say where {runner} is",
            where=f"targets.{runner}",
            expected=_EXAMPLES[runner],
            received="nothing",
            mend="Add it to the pipeline's YAML; docs/targets.md and pipeline/targets.py say what each key means.",
        )
    return target


def beam_args(config: PipelineConfig, runner: Runner, node: str, run_id: str, package: Path | None) -> tuple[str, ...]:
    """The options of a component's job, as on Beam's command line.

    Args:
        config: Says where the runner is.
        runner: Which.
        node: The component.
        run_id: Of the run, for the job's name.
        package: What workers install, see `build_package`; None if their image has it.

    Raises:
        ConfigError: The configuration does not say where the runner is.
    """
    target = find_target(config, runner)
    job = f"headrace-{config.name}-{node}-{run_id}"
    args = [f"--job_name={_job_name(job)}", *([f"--extra_package={package}"] if package else [])]
    args += [f"--sdk_container_image={image}"] if (image := image_of(target)) else []
    if isinstance(target, DataflowTarget):
        args += _dataflow_args(target, config.name, node)
    elif isinstance(target, PortableTarget):
        args += ["--runner=PortableRunner", f"--job_endpoint={target.job_endpoint}", *_environment_args(target)]
    elif isinstance(target, FlinkTarget):
        args += ["--runner=FlinkRunner", f"--flink_master={target.flink_master}", *_environment_args(target)]
    elif isinstance(target, SparkTarget):
        args += ["--runner=SparkRunner", f"--spark_master_url={target.spark_master_url}", *_environment_args(target)]
    return (*args, *target.options)


def on_this_machine(window_bytes: int, processes: int) -> BeamArgs:
    """The options of each Beam component's job in a local run: in memory, large shards divided among processes.

    Args:
        window_bytes: Of the source.
        processes: The most at once.
    """
    shares = max(1, min(processes, _MOST_SHARES, window_bytes // _BYTES_OF_A_SHARE))
    divided = dict.fromkeys(DIVIDED_NODES, (*IN_MEMORY, f"--shares={shares}"))
    return {**dict.fromkeys((*WINDOW_NODES, *EVAL_NODES), IN_MEMORY), **divided}


def taking_over(placed: BeamArgs) -> BeamArgs:
    """The same, but ExampleGen takes over what earlier runs have made of spans (`pipeline.components.seen_spans`)."""
    return {node: (*args, "--take_over") if node == EXAMPLE_GEN else args for node, args in placed.items()}


def place(
    config: PipelineConfig, runner: Runner, window_bytes: int, eval_bytes: int, run_id: str, package: Path | None
) -> BeamArgs:
    """The options of each Beam component's job.

    Args:
        config: Says where the runner is.
        runner: Where the components with much to read run.
        window_bytes: Of the source, that is read by the components of the whole window.
        eval_bytes: Of it, the evaluation span's.
        run_id: Of the run.
        package: See `beam_args`.
    """
    sizes = {**dict.fromkeys(WINDOW_NODES, window_bytes), **dict.fromkeys(EVAL_NODES, eval_bytes)}
    least = find_target(config, runner).local_below_mib << 20
    return {
        node: beam_args(config, runner, node, run_id, package) if size >= least else IN_MEMORY
        for node, size in sizes.items()
    }


def needs_package(target: BeamTarget) -> bool:
    """Whether workers have to install the project: they have no image that holds it."""
    return image_of(target) is None


def image_of(target: BeamTarget) -> str | None:
    """What workers run, with Headrace in it, if the configuration names it."""
    if isinstance(target, DataflowTarget):
        return target.sdk_container_image
    if isinstance(target, (PortableTarget, FlinkTarget, SparkTarget)) and target.environment_type == "DOCKER":
        return target.environment_config
    return None


def build_package(folder: Path) -> Path:
    """Builds the project as a source package, as `setup.py` says; once for all jobs of a run.

    Beam's own `--setup_file` would build it for every job, in the same folder, at the same time.

    Args:
        folder: Where it is written.

    Raises:
        UsageError: Headrace is installed without its sources.
        NodeError: The build failed.
    """
    if not (_PROJECT / "setup.py").is_file():
        raise UsageError(
            "Workers cannot be given the project: it is installed without its setup.py",
            where=str(_PROJECT),
            mend="Run from a clone of the project, or set sdk_container_image to an image that holds it.",
        )
    with tempfile.TemporaryDirectory(dir=folder) as built:  # the folder may hold the package of another version
        build = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", built, str(_PROJECT)]
        done = subprocess.run(build, capture_output=True, text=True, check=False)
        packages = [path.replace(folder / path.name) for path in Path(built).glob("*.tar.gz")]
    if done.returncode or not packages:
        raise NodeError(
            "The package for the workers cannot be built",
            where=str(_PROJECT / "setup.py"),
            received=" ".join(f"{done.stdout} {done.stderr}".split())[-400:],
        )
    return packages[0]


def _dataflow_args(target: DataflowTarget, pipeline: str, node: str) -> list[str]:
    labels = {"headrace-pipeline": _label(pipeline), "headrace-node": _label(node), **target.labels}
    named = {
        "project": target.project,
        "region": target.region,
        "temp_location": target.temp_location,
        "staging_location": target.staging_location,
        "machine_type": target.machine_type,
        "num_workers": target.workers,
        "max_num_workers": target.max_workers,
        "disk_size_gb": target.disk_size_gb,
        "service_account_email": target.service_account,
        "network": target.network,
        "subnetwork": target.subnetwork,
        "dataflow_endpoint": target.endpoint,
    }
    return [
        "--runner=DataflowRunner",
        *(f"--{name}={value}" for name, value in named.items() if value is not None),
        *([] if target.use_public_ips else ["--no_use_public_ips"]),
        *(f"--labels={name}={value}" for name, value in labels.items()),
    ]


def _environment_args(target: PortableTarget | FlinkTarget | SparkTarget) -> list[str]:
    config = [f"--environment_config={target.environment_config}"] if target.environment_config else []
    return [f"--environment_type={target.environment_type}", *config]


def _job_name(name: str) -> str:
    """As Dataflow wants it: `[a-z]([-a-z0-9]*[a-z0-9])?`, and short enough for a label."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if len(plain) <= _LONGEST_JOB_NAME:
        return plain
    return f"{plain[:30].strip('-')}-{plain[-(_LONGEST_JOB_NAME - 31) :].strip('-')}"


def _label(value: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", value.lower())[:63]


_EXAMPLES: dict[Runner, str] = {
    "dataflow": "{project: …, region: …, temp_location: gs://…}",
    "flink": "{flink_master: HOST:PORT}",
    "spark": "{spark_master_url: spark://HOST:PORT}",
    "portable": "{job_endpoint: HOST:PORT}",
}
