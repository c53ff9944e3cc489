"""What a request asks of a servable, and what its arrays mean: Predict, Classify, Regress.

Shared by gRPC, REST and the warm-up. As TensorFlow Serving's `servables/tensorflow/{predict_util, classifier,
regressor, multi_inference}.cc`: a signature classifies if it has one input `inputs` and outputs among `classes` and
`scores`; it regresses if its one output is `outputs`. The method name is not looked at, as TF2 models have none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.servable import DEFAULT_SIGNATURE, Servable, Signature
from serving.server.status import Code, StatusError, invalid_argument
from serving.server.tensors import data_type_of, decode, encode, type_name

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
_INPUTS, _CLASSES, _SCORES, _OUTPUTS = "inputs", "classes", "scores", "outputs"


def predict_signature(servable: Servable, name: str) -> Signature:
    """The signature that a Predict call over gRPC asks for.

    Raises:
        StatusError: There is none.
    """
    signature = servable.signature(name)
    if signature is None:
        raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found.')
    return signature


def predict_arrays(signature: Signature, request: predict_pb2.PredictRequest) -> list[np.ndarray]:
    """The tensors of a Predict call, in the order of the signature's inputs.

    Raises:
        StatusError: They are not what the signature takes.
    """
    given, names = request.inputs, signature.input_names
    if len(given) == len(names) and all(name in given for name in names):
        protos = [given[name] for name in names]
        if [proto.dtype for proto in protos] == signature.input_types:
            return [decode(proto, name) for proto, name in zip(protos, names, strict=True)]
    return signature.arrange({name: decode(given[name], name) for name in given})


def output_names(signature: Signature, wanted: Iterable[str]) -> list[str]:
    """The outputs that a Predict call filters, all for no filter.

    Raises:
        StatusError: One is unknown or given twice.
    """
    seen: list[str] = []
    for name in wanted:
        if name not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{{{','.join(sorted(signature.outputs))}}}."
            )
        if name in seen:
            raise invalid_argument(f"duplicate output tensor alias: {name}")
        seen.append(name)
    return seen or signature.outputs


def classify_signature(servable: Servable, name: str) -> Signature:
    """The signature of a Classify call.

    Raises:
        StatusError: There is none, or it does not classify.
    """
    signature = _example_signature(servable, name)
    check_classifies(signature)
    return signature


def regress_signature(servable: Servable, name: str) -> Signature:
    """The signature of a Regress call.

    Raises:
        StatusError: There is none, or it does not regress.
    """
    signature = _example_signature(servable, name)
    check_regresses(signature)
    return signature


def check_classifies(signature: Signature) -> None:
    """Raises StatusError unless a signature can answer Classify."""
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if signature.input_names != [_INPUTS]:
        raise invalid_argument(f"No classification inputs found in SignatureDef: {signature.definition}")
    if not {_CLASSES, _SCORES} & set(signature.outputs):
        raise invalid_argument(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {signature.definition}"
        )


def check_regresses(signature: Signature) -> None:
    """Raises StatusError unless a signature can answer Regress."""
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if signature.input_names != [_INPUTS]:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {signature.definition}")
    if signature.outputs != [_OUTPUTS]:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signature.definition}")


def multi_inference_signatures(servable: Servable, request: inference_pb2.MultiInferenceRequest) -> list[Signature]:
    """The signature of each task: of one model, all different, each fit for its method.

    Raises:
        StatusError: They are not.
    """
    found: dict[str, Signature] = {}
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in found:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        signature = servable.signature(name)
        if signature is None:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY:
            check_classifies(signature)
        elif task.method_name == REGRESS:
            check_regresses(signature)
        else:
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        found[name] = signature
    return list(found.values())


def _example_signature(servable: Servable, name: str) -> Signature:
    signature = servable.signature(name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    return signature


def serialized_examples(given: input_pb2.Input) -> list[bytes]:
    """The tf.Examples of a request, serialized, with its context merged into each.

    Raises:
        StatusError: There is none.
    """
    kind = given.WhichOneof("kind")
    context = (
        given.example_list_with_context.context.SerializeToString() if kind == "example_list_with_context" else b""
    )
    listed = getattr(given, kind).examples if kind else ()
    if not listed:
        raise invalid_argument("Input is empty.")
    return [context + example.SerializeToString() for example in listed]


def example_array(signature: Signature, examples: list[bytes]) -> np.ndarray:
    """The one tensor of a Classify or Regress call: string [batch].

    Raises:
        StatusError: The signature does not take strings.
    """
    array = np.empty(len(examples), object)
    array[:] = examples
    return signature.arrange({_INPUTS: array})[0]


def classes_and_scores(
    signature: Signature, outputs: list[np.ndarray], examples: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The outputs of a classification: labels, string [batch, classes], and scores, float32 [batch, classes].

    Raises:
        StatusError: They are of another type or shape.
    """
    named = dict(zip(signature.outputs, outputs, strict=True))
    classes, scores = named.get(_CLASSES), named.get(_SCORES)
    for name, array, wanted in ((_CLASSES, classes, np.dtype(object)), (_SCORES, scores, np.dtype(np.float32))):
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if array.dtype != wanted:
            raise invalid_argument(
                f"Expected {name} Tensor of DT_{'STRING' if wanted.kind == 'O' else 'FLOAT'}. Got: DT_"
                f"{type_name(data_type_of(array)).upper()}"
            )
        if len(array) != examples:
            raise invalid_argument(f"Expected {name} output batch size of {examples}. Got: {len(array)}")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    return classes, scores


def regression_values(outputs: list[np.ndarray], examples: int) -> np.ndarray:
    """The output of a regression: float32 [batch].

    Raises:
        StatusError: It is of another type or shape.
    """
    array = outputs[0]
    if array.ndim != 1 and (array.ndim != 2 or array.shape[1] != 1):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if len(array) != examples:
        raise invalid_argument(f"Input batch size did not match output batch size: {examples} vs. {len(array)}")
    if array.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: DT_{type_name(data_type_of(array)).upper()}")
    return array.ravel()


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def predict_response(
    servable: Servable, signature: Signature, names: list[str], outputs: list[np.ndarray], as_content: bool = False
) -> predict_pb2.PredictResponse:
    """The arrays as a response with the outputs that are wanted."""
    response = predict_pb2.PredictResponse()
    fill_model_spec(response.model_spec, servable, signature.name)
    for name, array in zip(signature.outputs, outputs, strict=True):
        if name in names:
            encode(array, response.outputs[name], as_content)
    return response


def classification_result(
    signature: Signature, outputs: list[np.ndarray], examples: int
) -> classification_pb2.ClassificationResult:
    """The arrays as classes for each example."""
    classes, scores = classes_and_scores(signature, outputs, examples)
    result = classification_pb2.ClassificationResult()
    labels = classes.tolist() if classes is not None else None
    numbers = scores.tolist() if scores is not None else None
    for row in range(examples):
        found = result.classifications.add()
        for column in range(len((labels or numbers or [[]])[row])):
            one = found.classes.add()
            if labels is not None:
                one.label = labels[row][column].decode("utf-8", "replace")
            if numbers is not None:
                one.score = numbers[row][column]
    return result


def regression_result(outputs: list[np.ndarray], examples: int) -> regression_pb2.RegressionResult:
    """The array as a value for each example."""
    result = regression_pb2.RegressionResult()
    for value in regression_values(outputs, examples).tolist():
        result.regressions.add().value = value
    return result


def fill_model_spec(spec: model_pb2.ModelSpec, servable: Servable, signature_name: str | None) -> None:
    """Who answered: the name, the concrete version and the resolved signature."""
    spec.name = servable.name
    spec.version.value = servable.version
    if signature_name is not None:
        spec.signature_name = signature_name or DEFAULT_SIGNATURE
