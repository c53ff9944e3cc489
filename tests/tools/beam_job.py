"""One job of `dataflow_service`, as a process of its own: Beam's portable job service with a pool of worker processes.

    python beam_job.py FOLDER

The folder holds `pipeline.pb` and `job.json` (name and options); `result.json` is the answer. A process that ends
without one has lost a worker.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from pathlib import Path

import worker_boot
from apache_beam.metrics import monitoring_infos
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_job_api_pb2, beam_runner_api_pb2, endpoints_pb2
from apache_beam.runners.job.utils import dict_to_struct
from apache_beam.runners.portability.local_job_service import LocalJobServicer
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

LOST_WORKER = 75
"""Exit status."""
RESULT = "result.json"
_LONGEST_GOODBYE = 20.0


def main(folder: Path) -> None:
    """Runs the job to its end."""
    logging.basicConfig(filename=folder / "job.log", level=logging.INFO)
    job = json.loads((folder / "job.json").read_bytes())
    pipeline = beam_runner_api_pb2.Pipeline.FromString((folder / "pipeline.pb").read_bytes())
    pool, _ = BeamFnExternalWorkerPoolServicer.start(
        use_process=True, container_executable=str(write_boot(folder, job["cache"], job["third_party"]))
    )
    for environment in pipeline.components.environments.values():
        environment.urn = common_urns.environments.EXTERNAL.urn
        environment.payload = beam_runner_api_pb2.ExternalPayload(
            endpoint=endpoints_pb2.ApiServiceDescriptor(url=pool)
        ).SerializeToString()
    has_ended = threading.Event()
    threading.Thread(target=end_when_lost, args=(folder, has_ended), daemon=True).start()
    result = run(pipeline, job["name"], job["options"], folder)
    has_ended.set()
    deadline = time.monotonic() + _LONGEST_GOODBYE
    while not all((each / "ended").exists() for each in folder.glob("worker-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    temporary = folder / f"{RESULT}.unfinished"
    temporary.write_text(json.dumps(result))
    temporary.rename(folder / RESULT)
    os._exit(0)  # the job service leaves threads that wait for ever


def write_boot(folder: Path, cache: str, third_party: list[str]) -> Path:
    """The program that the pool executes for each worker."""
    boot = folder / "boot"
    boot.write_text(f"#!{sys.executable}\n{Path(worker_boot.__file__).read_text()}")
    boot.chmod(0o755)
    (folder / "boot.json").write_text(json.dumps({"cache": cache, "third_party": third_party}))
    return boot


def end_when_lost(folder: Path, has_ended: threading.Event) -> None:
    """Beam's local runner waits for ever for a worker that died."""
    while not has_ended.wait(0.05):
        if (folder / worker_boot.LOST).exists():
            os._exit(LOST_WORKER)


def run(pipeline: beam_runner_api_pb2.Pipeline, name: str, options: dict, folder: Path) -> dict:
    """The job's state, errors and counters."""
    service = LocalJobServicer(str(folder / "staged"))
    prepared = service.Prepare(
        beam_job_api_pb2.PrepareJobRequest(
            job_name=name,
            pipeline=pipeline,
            pipeline_options=dict_to_struct({f"beam:option:{key}:v1": _whole(value) for key, value in options.items()}),
        )
    )
    job_id = service.Run(beam_job_api_pb2.RunJobRequest(preparation_id=prepared.preparation_id)).job_id
    state, errors = beam_job_api_pb2.JobState.UNSPECIFIED, []
    for response in service.GetMessageStream(beam_job_api_pb2.JobMessagesRequest(job_id=job_id)):
        message = response.message_response
        if response.HasField("state_response"):
            state = response.state_response.state
        elif message.importance == beam_job_api_pb2.JobMessage.JOB_MESSAGE_ERROR:
            errors.append(message.message_text)
    found = service.GetJobMetrics(beam_job_api_pb2.GetJobMetricsRequest(job_id=job_id)).metrics.committed
    return {
        "state": beam_job_api_pb2.JobState.Enum.Name(state),
        "errors": errors,
        "counters": [_counter(each) for each in found if monitoring_infos.is_counter(each)],
    }


def _whole(value):
    """A Struct knows no integers: as Beam's portable runner sends them."""
    return str(value) if type(value) is int else value


def _counter(found) -> dict:
    namespace, name = monitoring_infos.parse_namespace_and_name(found)
    value = monitoring_infos.extract_counter_value(found)
    return {"namespace": namespace, "name": name, "step": monitoring_infos.get_step_name(found), "value": value}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
