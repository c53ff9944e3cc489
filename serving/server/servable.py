"""One loaded version of a model, ready to answer."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.status import Code, StatusError, invalid_argument
from serving.server.tensors import FIELDS, data_type_of, decode, type_name, value_type

DEFAULT_SIGNATURE = "serving_default"


class Model(Protocol):
    """What a servable runs: `SessionModel` or `TfliteModel`."""

    signatures: dict[str, meta_graph_pb2.SignatureDef]

    def prepare(self, signature_name: str) -> Callable[..., list[np.ndarray]]:
        """The function of a signature, arrays in the order of its inputs to arrays in that of its outputs."""

    def close(self) -> None:
        """Frees the model."""


@dataclass(frozen=True)
class Input:
    """One input of a signature."""

    name: str
    data_type: int
    dtype: np.dtype | None
    """None for a type that JSON cannot carry."""
    rank: int | None


class Signature:
    """One signature of a servable, with what answering it needs at hand."""

    def __init__(self, name: str, definition: meta_graph_pb2.SignatureDef, model: Model) -> None:
        self.name = name
        self.definition = definition
        self.inputs = [_input(alias, info) for alias, info in definition.inputs.items()]
        self.outputs = list(definition.outputs)
        self.input_names = [each.name for each in self.inputs]
        self.input_types = [each.data_type for each in self.inputs]
        self.observe: Callable[[float], None] = lambda seconds: None
        """Is told what each run took."""
        self._model = model
        self._seconds: dict[int, float] = {}
        self._may_give_text = any(value_type(info.dtype) == types_pb2.DT_STRING for info in definition.outputs.values())

    @cached_property
    def _function(self) -> Callable[..., list[np.ndarray]]:
        return self._model.prepare(self.name)

    @cached_property
    def inputs_by_dtype(
        self,
    ) -> list[tuple[np.dtype | None, list[int], Callable[[Mapping[str, Any]], tuple[Any, ...]]]]:
        """For each type of input: the positions of its inputs, and what takes their values from a row."""
        positions: dict[np.dtype | None, list[int]] = {}
        for position, each in enumerate(self.inputs):
            positions.setdefault(each.dtype, []).append(position)
        return [
            (dtype, listed, _taker([self.input_names[each] for each in listed])) for dtype, listed in positions.items()
        ]

    @cached_property
    def takes_batches(self) -> bool:
        """Whether every input and output has a first dimension of any size: rows may then share a run."""
        infos = [*self.definition.inputs.values(), *self.definition.outputs.values()]
        return bool(self.inputs) and all(_has_free_first_side(info) for info in infos)

    def seconds(self, rows: int) -> float | None:
        """What a run of about so many rows took lately; None if there was none."""
        return self._seconds.get(rows.bit_length())

    def forget_times(self) -> None:
        """Makes what runs took unknown again."""
        self._seconds.clear()

    def run(self, arrays: Sequence[np.ndarray], rows: int = 1) -> list[np.ndarray]:
        """Answers one request, or several as one.

        Args:
            arrays: In the order of `inputs`, of their types.
            rows: The size of the first dimension, to learn how long such a run takes.

        Returns:
            Arrays in the order of `outputs`.

        Raises:
            StatusError: The graph failed.
        """
        start = time.perf_counter()
        try:
            outputs = self._function(*arrays)
        except tf.errors.OpError as error:
            raise StatusError(Code(error.error_code), error.message) from None
        except (
            UnicodeDecodeError
        ) as error:  # TensorFlow quotes input that is no UTF-8, and Python's layer drops the code
            raise invalid_argument(error.object.decode("utf-8", "replace")) from None
        if self._may_give_text:  # a Session gives a text without dimensions as bytes
            outputs = [np.array(each, object) if isinstance(each, bytes) else each for each in outputs]
        took = time.perf_counter() - start
        self.observe(took)
        bucket = rows.bit_length()
        self._seconds[bucket] = 0.9 * self._seconds.get(bucket, took) + 0.1 * took
        return outputs

    def arrange(self, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """A request's tensors in the order of `inputs`, with the signature's defaults for those that are not given.

        Raises:
            StatusError: A tensor is missing, unknown, or not of the input's type.
        """
        defaults = getattr(self.definition, "defaults", {})
        if len(given) > len(self.inputs) or (len(given) < len(self.inputs) and not defaults):
            raise self._wrong_size(given)
        arranged = []
        for position, each in enumerate(self.inputs):
            array = given.get(each.name)
            if array is None:
                if each.name not in defaults:
                    raise self._missing(each.name, given, defaults)
                array = decode(defaults[each.name], each.name)
            if array.dtype != each.dtype and data_type_of(array) != each.data_type:
                raise invalid_argument(
                    f"Expects arg[{position}] to be {type_name(each.data_type)} but "
                    f"{type_name(data_type_of(array))} is provided"
                )
            arranged.append(array)
        unknown = set(given) - set(self.input_names)
        if unknown:
            raise invalid_argument(
                "Inputs contains invalid name. Used request inputs: "
                f"{','.join(sorted(set(given) - unknown))}, request input: {','.join(sorted(given))}"
            )
        return arranged

    def _wrong_size(self, given: Mapping[str, np.ndarray]) -> StatusError:
        """In the words of TensorFlow Serving's `predict_util.cc`."""
        sent, wanted = sorted(given), sorted(self.input_names)
        extra = ",".join(name for name in sent if name not in wanted)
        missing = ",".join(name for name in wanted if name not in sent)
        return invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{','.join(sent)}}}) != "
            f"len({{{','.join(wanted)}}}). Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."
        )

    def _missing(self, name: str, given: Iterable[str], defaults: Iterable[str]) -> StatusError:
        """In the words of `tensorflow/cc/saved_model/util.cc`."""
        return invalid_argument(
            f"Signature input alias: {name}(feed name: {self.definition.inputs[name].name}) not found in request and "
            f"no default value provided. Inputs expected to be in the request {{{','.join(sorted(given))}}}, or "
            f"default input alias set: {','.join(sorted(defaults))}"
        )


class Servable:
    """A version of a model.

    Args:
        name: Of the model.
        version: Of the model.
        model: Closed with the servable.
    """

    def __init__(self, name: str, version: int, model: Model) -> None:
        self.name = name
        self.version = version
        self.signatures = {key: Signature(key, each, model) for key, each in model.signatures.items()}
        self.in_flight = 0
        """Requests that are being answered; the servable must not be closed before it is 0."""
        self._model = model

    def signature(self, name: str) -> Signature | None:
        """A signature by name, the default for no name, None if there is none."""
        return self.signatures.get(name or DEFAULT_SIGNATURE)

    def observe_runs(self, observe: Callable[[float, str, str, str], None]) -> None:
        """Has each run told: microseconds, model, API, runtime."""
        for signature in self.signatures.values():
            signature.observe = functools.partial(_observe, observe, self.name, _api_of(signature))

    def close(self) -> None:
        """Frees the model."""
        self._model.close()


def _observe(observe: Callable[[float, str, str, str], None], name: str, api: str, seconds: float) -> None:
    observe(seconds * 1e6, name, api, "TF1")


def _api_of(signature: Signature) -> str:
    if signature.input_names == ["inputs"] and {"classes", "scores"} & set(signature.outputs):
        return "Classify"
    return "Regress" if signature.input_names == ["inputs"] and signature.outputs == ["outputs"] else "Predict"


def _taker(names: list[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if len(names) == 1:
        return lambda row: (row[names[0]],)
    return itemgetter(*names)


def _input(alias: str, info: meta_graph_pb2.TensorInfo) -> Input:
    data_type = value_type(info.dtype)
    rank = None if info.tensor_shape.unknown_rank else len(info.tensor_shape.dim)
    return Input(alias, data_type, FIELDS[data_type][1] if data_type in FIELDS else None, rank)


def _has_free_first_side(info: meta_graph_pb2.TensorInfo) -> bool:
    shape = info.tensor_shape
    return not shape.unknown_rank and len(shape.dim) > 0 and shape.dim[0].size == -1
