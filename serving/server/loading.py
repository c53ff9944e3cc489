"""A folder with a SavedModel (or a TFLite model) → a servable that has answered already."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import input_pb2, prediction_log_pb2

from serving.records import read_records
from serving.server import inference
from serving.server.servable import Model, Servable, Signature
from serving.server.status import Code, StatusError, invalid_argument
from serving.server.tflite_model import TFLITE_FILE, TfliteModel
from serving.session_model import SessionModel
from serving.warmup import WARMUP_FILE

MOST_WARMUP_RECORDS = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadOptions:
    """How versions are loaded."""

    tags: tuple[str, ...] = ("serve",)
    session_config: config_pb2.ConfigProto | None = None
    prefers_tflite: bool = False
    warms_up: bool = True
    warmup_iterations: int = 1


def load_servable(options: LoadOptions, name: str, version: int, path: str) -> Servable:
    """Loads a version and runs it once, so that its first request costs what the others do.

    Raises:
        OSError: There is no model in the folder.
        StatusError: The warm-up requests are wrong, or cannot be answered.
        tf.errors.OpError: The graph cannot be loaded or initialised.
    """
    servable = Servable(name, version, _load_model(options, path))
    try:
        for signature in servable.signatures.values():
            _run_without_rows(signature)
        if options.warms_up:
            _replay(servable, Path(path, WARMUP_FILE), options.warmup_iterations)
    except BaseException:
        servable.close()
        raise
    return servable


def _load_model(options: LoadOptions, path: str) -> Model:
    if options.prefers_tflite and Path(path, TFLITE_FILE).is_file():
        return TfliteModel(str(Path(path, TFLITE_FILE)))
    return SessionModel(path, options.tags, options.session_config)


def _run_without_rows(signature: Signature) -> None:
    """Has the graph optimized. Without rows nothing that the model keeps can change; a model may refuse it."""
    if not signature.takes_batches:
        return
    empty = [np.zeros([0] + [1] * ((each.rank or 1) - 1), each.dtype or np.float32) for each in signature.inputs]
    try:
        signature.run(empty, 0)
    except StatusError as error:
        log.debug("%s does not take empty batches: %s", signature.name, error)


def _replay(servable: Servable, path: Path, iterations: int) -> None:
    if not path.is_file():
        return
    count = 0
    for count, record in enumerate(_warmup_records(path), 1):
        if count > MOST_WARMUP_RECORDS:
            raise invalid_argument(f"Number of warmup records exceeds the maximum ({MOST_WARMUP_RECORDS}) at {path}")
        try:
            logged = prediction_log_pb2.PredictionLog.FromString(record)
        except Exception as error:  # protobuf's DecodeError differs between its versions
            raise invalid_argument(f"Failed to parse warmup record: {error} from {path}") from None
        for _ in range(iterations):
            _replay_one(servable, logged)
    log.info("Warmed %s version %d up with %d requests", servable.name, servable.version, count)


def _warmup_records(path: Path) -> Iterator[bytes]:
    try:
        yield from read_records(str(path))
    except tf.errors.DataLossError as error:
        told = f"{error.message}. Please verify your warmup data is in TFRecord format."
        raise StatusError(Code.DATA_LOSS, told) from None


def _replay_one(servable: Servable, logged: prediction_log_pb2.PredictionLog) -> None:
    kind = logged.WhichOneof("log_type")
    if kind == "predict_log":
        request = logged.predict_log.request
        signature = inference.predict_signature(servable, request.model_spec.signature_name)
        _run(signature, inference.predict_arrays(signature, request))
    elif kind == "classify_log":
        request = logged.classify_log.request
        _classify(inference.classify_signature(servable, request.model_spec.signature_name), request.input)
    elif kind == "regress_log":
        request = logged.regress_log.request
        _regress(inference.regress_signature(servable, request.model_spec.signature_name), request.input)
    elif kind == "multi_inference_log":
        request = logged.multi_inference_log.request
        signatures = inference.multi_inference_signatures(servable, request)
        for task, signature in zip(request.tasks, signatures, strict=True):
            (_classify if task.method_name == inference.CLASSIFY else _regress)(signature, request.input)
    elif kind is not None:
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")


def _classify(signature: Signature, given: input_pb2.Input) -> None:
    examples = inference.serialized_examples(given)
    outputs = _run(signature, [inference.example_array(signature, examples)])
    inference.classes_and_scores(signature, outputs, len(examples))


def _regress(signature: Signature, given: input_pb2.Input) -> None:
    examples = inference.serialized_examples(given)
    outputs = _run(signature, [inference.example_array(signature, examples)])
    inference.regression_values(outputs, len(examples))


def _run(signature: Signature, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Twice: the first run of a size includes one-off work, and would be taken for what such a run takes."""
    rows = len(arrays[0]) if arrays and arrays[0].ndim else 1
    signature.run(arrays, rows)
    signature.forget_times()
    return signature.run(arrays, rows)
