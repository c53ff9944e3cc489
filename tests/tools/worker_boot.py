"""What starts a worker of `dataflow_service`, as the boot program of Beam's containers does: nothing of this machine's
checkout is visible to the worker, only what its job staged.

`beam_job` writes this file, with an interpreter in front, beside a `boot.json`, and Beam's worker pool executes it.
It fetches the staged files from the runner, installs the packages among them into a fresh environment, and runs
Beam's harness in it. An environment is made once for each set of packages.

Source: https://beam.apache.org/contribute/runner-guide/ and beam/sdks/python/container/boot.go.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES_LIST = "extra_packages.txt"
"""Staged by Beam beside `--extra_package`s: their names."""
WORKFLOW = "workflow.tar.gz"
"""What Beam stages for `--setup_file`."""
LOST = "lost"
"""Written beside the boot program by a worker that did not end well."""


def main() -> None:
    """The contract's entry point."""
    parser = argparse.ArgumentParser()
    for name in ("id", "logging_endpoint", "artifact_endpoint", "provision_endpoint", "control_endpoint"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    job = Path(__file__).parent
    home = job / f"worker-{arguments.id}"
    home.mkdir()
    try:
        status = start(arguments, job, home)
    except BaseException:
        (job / LOST).touch()
        raise
    if status:
        (job / LOST).touch()
    (home / "ended").touch()


def start(arguments: argparse.Namespace, job: Path, home: Path) -> int:
    """Fetches, installs, runs; the worker's exit status."""
    import grpc
    from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
    from google.protobuf import json_format

    settings = json.loads((job / "boot.json").read_bytes())
    metadata = [("worker_id", arguments.id)]
    with grpc.insecure_channel(arguments.provision_endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        info = service.GetProvisionInfo(beam_provision_api_pb2.GetProvisionInfoRequest(), metadata=metadata).info
    staged = fetch(info.dependencies, info.artifact_endpoint.url or arguments.artifact_endpoint, home / "staged")
    python = environment_with(packages_of(staged), Path(settings["cache"]), settings["third_party"])
    variables = {
        "PATH": os.defpath,
        "HOME": str(home),
        "TMPDIR": str(home),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "WORKER_ID": arguments.id,
        "SEMI_PERSISTENT_DIRECTORY": str(home),
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        "LOGGING_API_SERVICE_DESCRIPTOR": f'url: "{arguments.logging_endpoint}"',
        "CONTROL_API_SERVICE_DESCRIPTOR": f'url: "{arguments.control_endpoint}"',
    }
    with (home / "log").open("w") as log:
        worker = subprocess.Popen(
            [python, "-I", __file__, "run"], env=variables, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        (home / "pid").write_text(str(worker.pid))
        return worker.wait()


def fetch(dependencies, endpoint: str, folder: Path) -> dict[str, Path]:
    """Staged files by name, from the runner's artifact service."""
    import grpc
    from apache_beam.portability.api import (
        beam_artifact_api_pb2,
        beam_artifact_api_pb2_grpc,
        beam_runner_api_pb2,
    )

    folder.mkdir()
    staged = {}
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_artifact_api_pb2_grpc.ArtifactRetrievalServiceStub(channel)
        request = beam_artifact_api_pb2.ResolveArtifactsRequest(artifacts=dependencies)
        for artifact in service.ResolveArtifacts(request).replacements:
            role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(artifact.role_payload)
            path = folder / Path(role.staged_name).name
            with path.open("wb") as file:
                for part in service.GetArtifact(beam_artifact_api_pb2.GetArtifactRequest(artifact=artifact)):
                    file.write(part.data)
            staged[path.name] = path
    return staged


def packages_of(staged: dict[str, Path]) -> list[Path]:
    """Those staged files that are to be installed."""
    names = staged[PACKAGES_LIST].read_text().split() if PACKAGES_LIST in staged else []
    return [staged[name] for name in (WORKFLOW, *names) if name in staged]


def environment_with(packages: list[Path], cache: Path, third_party: list[str]) -> str:
    """The interpreter of an environment that has the third-party packages of this machine, and these.

    Args:
        packages: Source packages.
        cache: Environments that were made before.
        third_party: Folders of what a container's image would hold. Named in a `.pth` file, so that the `.pth` files in
            them, among which may be an editable install of the project, have no effect.
    """
    import hashlib

    digest = hashlib.sha256(b"".join(each.read_bytes() for each in packages)).hexdigest()[:16]
    folder = cache / digest
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = folder / "bin" / "python"
        if not (folder / "complete").exists():
            venv.create(folder, clear=True, with_pip=False)
            [installed] = folder.glob("lib/python*/site-packages")
            (installed / "third_party.pth").write_text("\n".join(third_party))
            if packages:
                subprocess.run([python, "-I", _pip(), *_PIP_OPTIONS, *packages], cwd=cache, check=True)
            (folder / "complete").touch()
    return str(python)


_PIP_OPTIONS = (
    *("install", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed"),
    *("--no-cache-dir", "--disable-pip-version-check", "--quiet"),
)


def _pip() -> str:
    """The pip that comes with Python, which runs from its wheel; Debian keeps it elsewhere.

    Not installed into the environment: Python 3.10 would install an old setuptools with it.
    """
    import ensurepip
    import sysconfig

    folder = sysconfig.get_config_var("WHEEL_PKG_DIR") or Path(ensurepip.__file__).parent / "_bundled"
    [wheel] = Path(folder).glob("pip-*.whl")
    return f"{wheel}/pip"


def run() -> None:
    """Beam's harness, in the fresh environment; leaves where each package that it imported came from."""
    from apache_beam.runners.worker import sdk_worker_main

    try:
        sdk_worker_main.main(sys.argv[:1])
    finally:
        found = {
            name: file for name, module in list(sys.modules.items()) if (file := getattr(module, "__file__", None))
        }
        Path("modules.json").write_text(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:] == ["run"]:
        run()
    else:
        main()
