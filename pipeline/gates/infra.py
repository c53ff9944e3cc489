"""The infra gate's evidence: a candidate loaded and asked by a separate process, and judged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import tensorflow as tf
from pydantic import TypeAdapter
from tensorflow_serving.apis import predict_pb2

from models.signatures import SERVE_EXAMPLES
from pipeline.gates.config import InfraGateConfig
from pipeline.gates.verdict import Finding, Outcome
from pipeline.processes import die_with_parent
from serving.check import Measures, peak_memory_mib
from serving.records import read_records
from storage.places import Place, local_copy, upload

REPORT_FILE = "report.json"
REQUESTS_FILE = "requests.tfrecord"
"""What the candidate was asked, as PredictRequests; see `serving.check`."""
_ANSWERS_FILE = "answers.tfrecord"
_LOG_FILE = "process.log"
_REPORT = TypeAdapter(list[Finding])
_POLL_SECONDS = 0.1
_LOG_LINES = 5
_MEND_TRAINING = "The training diverged: lower training.learning_rate, or look for extreme values in the examples."
_MEND_EXPORT = "Look at models/signatures.py: the exported graph does not do what the trainer's model does."


def save_report(findings: list[Finding], folder: Place) -> None:
    """Writes the findings into the InfraBlessing artifact."""
    (folder / REPORT_FILE).write_bytes(_REPORT.dump_json(findings, indent=2))


def load_report(folder: Place) -> list[Finding]:
    """Reads what `save_report` wrote."""
    return _REPORT.validate_json((folder / REPORT_FILE).read_bytes())


def check_model(
    model: Place,
    requests: list[predict_pb2.PredictRequest],
    expected: Callable[[], np.ndarray],
    config: InfraGateConfig,
    folder: Place,
) -> list[Finding]:
    """Starts the process, asks it, and judges answers, times and memory.

    Args:
        model: The folder of the SavedModel.
        requests: What to ask; each with the same examples, in the same order.
        expected: Gives the prediction for each example, float32 [batch]. Called while the process starts, which is not
            measured, and before it is asked anything.
        config: The bounds.
        folder: Keeps the requests, the answers and the process's log.

    Raises:
        FileNotFoundError: There is no model.
    """
    with local_copy(model) as saved_model, tempfile.TemporaryDirectory(prefix="headrace-") as name:
        work = Path(name)
        with tf.io.TFRecordWriter(str(work / REQUESTS_FILE)) as writer:
            for request in requests:
                writer.write(request.SerializeToString())
        predictions: list[np.ndarray] = []
        try:
            failure = _run(saved_model, work, config, folder, lambda: predictions.append(expected()))
        finally:
            upload(work, folder)
        return [failure] if failure is not None else _judge(requests, predictions[0], config, work)


def _judge(
    requests: list[predict_pb2.PredictRequest], expected: np.ndarray, config: InfraGateConfig, work: Path
) -> list[Finding]:
    answers = work / _ANSWERS_FILE
    findings = [
        _compare(request, predict_pb2.PredictResponse.FromString(record), expected, config)
        for request, record in zip(requests, read_records(str(answers)), strict=True)
    ]
    measures = Measures.model_validate_json(Path(f"{answers}.json").read_bytes())
    answered = f"request of {len(expected)} examples"
    return [
        *findings,
        _bounded("load time", measures.load_seconds, config.load_seconds, "s"),
        _bounded(answered, measures.request_milliseconds, config.request_milliseconds, "ms"),
        _bounded("peak memory", measures.memory_mib, config.memory_mib, "MiB"),
    ]


def _run(
    model: Path, work: Path, config: InfraGateConfig, folder: Place, meanwhile: Callable[[], None]
) -> Finding | None:
    """Runs the process within its budget; a finding, which names the folder of its log, if it did not end well.

    What is to be done meanwhile is done while the process imports TensorFlow. It begins when that is done.
    """
    arguments = [str(model), str(work / REQUESTS_FILE), str(work / _ANSWERS_FILE)]
    command = [sys.executable, "-c", _START, *arguments]
    log_path = work / _LOG_FILE
    seconds = config.load_seconds + len(_SIGNATURES) * 2 * config.request_milliseconds / 1000 + _IMPORT_SECONDS
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, preexec_fn=die_with_parent(os.getpid())
        )
        try:
            meanwhile()
            process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
            stopped = _wait(process, seconds, config.memory_mib)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
    if stopped is not None:
        return stopped
    if process.returncode == 0:
        return None
    told = [line for line in log_path.read_text(errors="replace").splitlines() if line.strip()]
    return Finding(
        check="loads and answers",
        where="process",
        bound="exit code 0",
        value=f"exit code {process.returncode}: {' '.join(told[-_LOG_LINES:])[-500:]}",
        outcome=Outcome.FAILED,
        mend=f"The whole output is in {folder / _LOG_FILE}.",
    )


def _wait(process: subprocess.Popen[bytes], seconds: float, memory_mib: float) -> Finding | None:
    deadline = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > deadline:
            return _failed("time in all", f"≤ {seconds:.0f} s", "stopped")
        used = peak_memory_mib(process.pid)
        if used > memory_mib:
            return _failed("peak memory", f"≤ {memory_mib:.0f} MiB", f"{used:.0f} MiB when stopped")
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_SECONDS)
    return None


def _failed(check: str, bound: str, value: str) -> Finding:
    return Finding(
        check=check, where="process", bound=bound, value=value, outcome=Outcome.FAILED, mend="Raise gates.infra."
    )


_SIGNATURES: dict[str, Callable[[dict[str, np.ndarray]], np.ndarray]] = {
    "serving_default": lambda outputs: next(iter(outputs.values())),
    SERVE_EXAMPLES: lambda outputs: next(iter(outputs.values())),
    "regress": lambda outputs: outputs["outputs"],
    "classify": lambda outputs: outputs["scores"][:, 1],
}
"""The prediction in each signature's outputs."""

_UNUSED = ("keras", "tf_keras", "googleapiclient", "h5py", "scipy")
"""What TensorFlow imports where it is installed, and a served model has no use of: a third of the import's time."""

_START = (
    f"import gc, sys; gc.disable(); sys.modules.update(dict.fromkeys({_UNUSED})); import serving.check; "
    "gc.freeze(); gc.enable(); serving.check.be_process()"
)
"""Nothing that is imported is garbage: to look for some takes a fifth of the time of the imports."""

_IMPORT_SECONDS = 60.0
"""Beside the budget: starting Python and importing TensorFlow on a busy machine."""


def _compare(
    request: predict_pb2.PredictRequest,
    response: predict_pb2.PredictResponse,
    expected: np.ndarray,
    config: InfraGateConfig,
) -> Finding:
    name = request.model_spec.signature_name
    received = _SIGNATURES[name]({key: tf.make_ndarray(value) for key, value in response.outputs.items()})
    mend = _MEND_EXPORT
    if received.shape != expected.shape:
        value, holds = f"shape {received.shape} instead of {expected.shape}", False
    elif not np.isfinite(received).all():
        value, holds = f"{int((~np.isfinite(received)).sum())} of {received.size} not finite", False
        mend = _MEND_TRAINING
    else:
        scale = np.maximum(1.0, np.abs(expected))  # a regression's predictions may be large
        difference = float(np.max(np.abs(received - expected) / scale, initial=0.0))
        value, holds = f"largest difference {difference:.1e}", difference <= config.tolerance
    return Finding(
        check="predictions",
        where=name,
        bound=f"finite, within {config.tolerance:g} of the trainer's",
        value=value,
        outcome=Outcome.PASSED if holds else Outcome.FAILED,
        mend=mend,
    )


def _bounded(check: str, value: float, bound: float, unit: str) -> Finding:
    return Finding(
        check=check,
        where="process",
        bound=f"≤ {bound:g} {unit}",
        value=f"{value:.1f} {unit}",
        outcome=Outcome.PASSED if value <= bound else Outcome.FAILED,
        mend="Make the model smaller, or raise the bound in gates.infra.",
    )
