"""PredictionService and ModelService over gRPC (`model_servers/prediction_service_impl.cc`, `model_service_impl.cc`).

Requests arrive and answers leave as bytes, so that the request log can hold what was really sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.server import inference
from serving.server.batch import Tensors
from serving.server.core import Core
from serving.server.model_service import check_metadata_fields, metadata_response, status_response
from serving.server.servable import Servable, Signature
from serving.server.status import Code, StatusError, invalid_argument

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

Reload = Callable[[model_server_config_pb2.ModelServerConfig], Awaitable[None]]
Answer = Callable[[Any, bytes], Awaitable[Message]]

_CODES = {code.value[0]: code for code in grpc.StatusCode}

log = logging.getLogger(__name__)


class GrpcService:
    """The handlers.

    Args:
        core: The server's state.
        reload: Applies a configuration.
        as_content: Whether Predict answers with `tensor_content`.
    """

    def __init__(self, core: Core, reload: Reload, as_content: bool) -> None:
        self._core = core
        self._reload = reload
        self._as_content = as_content

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the services."""
        prediction = {
            "Predict": self._handler(predict_pb2.PredictRequest, self._predict, "Predict"),
            "Classify": self._handler(classification_pb2.ClassificationRequest, self._classify, "Classify"),
            "Regress": self._handler(regression_pb2.RegressionRequest, self._regress, "Regress"),
            "MultiInference": self._handler(inference_pb2.MultiInferenceRequest, self._multi_inference),
            "GetModelMetadata": self._handler(get_model_metadata_pb2.GetModelMetadataRequest, self._metadata),
        }
        model = {
            "GetModelStatus": self._handler(get_model_status_pb2.GetModelStatusRequest, self._status),
            "HandleReloadConfigRequest": self._handler(model_management_pb2.ReloadConfigRequest, self._reload_config),
        }
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(PREDICTION_SERVICE, prediction),
                grpc.method_handlers_generic_handler(MODEL_SERVICE, model),
            )
        )

    def _handler(self, request_class: Any, answer: Answer, api: str | None = None) -> grpc.RpcMethodHandler:
        """A handler around `answer`; requests of an `api` are counted."""

        async def handle(raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
            started = time.perf_counter()
            failure, request, content = None, None, b""
            try:
                request = request_class.FromString(raw)
                response = await answer(request, raw)
                content = response.SerializeToString()
            except StatusError as error:
                failure = error
            except DecodeError as error:
                failure = StatusError(Code.INTERNAL, f"The request is no {request_class.DESCRIPTOR.name}: {error}")
            except Exception:  # a bug of ours must look neither like a hang nor like the client's mistake
                log.exception("A request failed")
                failure = StatusError(Code.INTERNAL, "Internal error")
            if api is not None and request is not None:
                code = failure.code if failure else Code.OK
                self._core.count(request.model_spec.name, code, api, "GRPC", started)
            if failure is not None:
                await context.abort(_CODES[failure.code], failure.grpc_message)
            return content

        return grpc.unary_unary_rpc_method_handler(handle)

    async def _predict(self, request: predict_pb2.PredictRequest, raw: bytes) -> predict_pb2.PredictResponse:
        servable = self._find(request)
        signature = inference.predict_signature(servable, request.model_spec.signature_name)
        asked = Tensors(inference.predict_arrays(signature, request))
        names = inference.output_names(signature, request.output_filter)
        self._core.begin(servable)
        try:
            answer = await self._core.runner.run(signature, asked, may_hold=True)
        finally:
            self._core.end(servable)
        response = inference.predict_response(servable, signature, names, answer.outputs, self._as_content)
        self._core.log(servable, "predict_log", signature.name, lambda: (raw, response.SerializeToString()))
        return response

    async def _classify(
        self, request: classification_pb2.ClassificationRequest, raw: bytes
    ) -> classification_pb2.ClassificationResponse:
        servable = self._find(request)
        signature = inference.classify_signature(servable, request.model_spec.signature_name)
        outputs, examples = await self._run_examples(servable, signature, request.input)
        response = classification_pb2.ClassificationResponse()
        inference.fill_model_spec(response.model_spec, servable, request.model_spec.signature_name)
        response.result.CopyFrom(inference.classification_result(signature, outputs, examples))
        self._core.log(servable, "classify_log", signature.name, lambda: (raw, response.SerializeToString()))
        return response

    async def _regress(
        self, request: regression_pb2.RegressionRequest, raw: bytes
    ) -> regression_pb2.RegressionResponse:
        servable = self._find(request)
        signature = inference.regress_signature(servable, request.model_spec.signature_name)
        outputs, examples = await self._run_examples(servable, signature, request.input)
        response = regression_pb2.RegressionResponse()
        inference.fill_model_spec(response.model_spec, servable, request.model_spec.signature_name)
        response.result.CopyFrom(inference.regression_result(outputs, examples))
        self._core.log(servable, "regress_log", signature.name, lambda: (raw, response.SerializeToString()))
        return response

    async def _multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, raw: bytes
    ) -> inference_pb2.MultiInferenceResponse:
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        servable = self._core.find(spec)
        signatures = inference.multi_inference_signatures(servable, request)
        response = inference_pb2.MultiInferenceResponse()
        for task, signature in zip(request.tasks, signatures, strict=True):
            outputs, examples = await self._run_examples(
                servable, signature, request.input, is_counted=not response.results
            )
            result = response.results.add()
            inference.fill_model_spec(result.model_spec, servable, task.model_spec.signature_name)
            if task.method_name == inference.CLASSIFY:
                found = inference.classification_result(signature, outputs, examples)
                result.classification_result.CopyFrom(found)
            else:
                result.regression_result.CopyFrom(inference.regression_result(outputs, examples))
        self._core.log(servable, "multi_inference_log", "", lambda: (raw, response.SerializeToString()))
        return response

    async def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, raw: bytes
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        _require_spec(request)
        check_metadata_fields(request.metadata_field)
        return metadata_response(self._core.find(request.model_spec), request.metadata_field)

    async def _status(
        self, request: get_model_status_pb2.GetModelStatusRequest, raw: bytes
    ) -> get_model_status_pb2.GetModelStatusResponse:
        _require_spec(request)
        spec = request.model_spec
        version = spec.version.value if spec.WhichOneof("version_choice") == "version" else None
        return status_response(self._core.repository.versions(spec.name, version))

    async def _reload_config(
        self, request: model_management_pb2.ReloadConfigRequest, raw: bytes
    ) -> model_management_pb2.ReloadConfigResponse:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        before = self._core.metrics.values()
        await self._reload(request.config)
        after = self._core.metrics.values()
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        for name in getattr(request, "metric_names", ()):
            response.metric.add(name=name, int64_value_increase=after.get(name, 0) - before.get(name, 0))
        return response

    async def _run_examples(
        self, servable: Servable, signature: Signature, given: Any, is_counted: bool = True
    ) -> tuple[list[Any], int]:
        examples = inference.serialized_examples(given)
        asked = Tensors([inference.example_array(signature, examples)])
        self._core.begin(servable)
        try:
            answer = await self._core.runner.run(signature, asked, may_hold=True)
        finally:
            self._core.end(servable)
        if is_counted:
            self._core.count_examples(servable.name, len(examples))
        return answer.outputs, len(examples)

    def _find(self, request: Any) -> Servable:
        _require_spec(request)
        return self._core.find(request.model_spec)


def _require_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
