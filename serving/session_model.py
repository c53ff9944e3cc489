"""A SavedModel run as TensorFlow Serving runs it: a Session over its graph.

Loading a model eagerly proves nothing here: a Keras 3 model saved with `tf.saved_model.save` answers every eager
call and then fails in a Session with `Could not find variable` (tensorflow/serving#2250).

The graph goes from the file to TensorFlow's runtime without a Python object for each operation, as in the C++ loader
(`tensorflow/cc/saved_model/loader.cc`): a server that loads a version beside a busy one must not hold Python's lock.
Requests go through the Session's callables, in the thread that asks: a third of the time of `Session.run`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.framework import c_api_util

from storage.places import Place, local_copy

SERVE_TAG = "serve"
_INIT_OP = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_ASSETS_COLLECTION = "saved_model_assets"
_IN_THE_CALLERS_THREAD = -1


class SessionModel:
    """One loaded version of a model.

    Args:
        path: The folder of the SavedModel, on this machine.
        tags: Of the meta graph to load.
        config: Of the Session; by default one thread, the caller's.

    Raises:
        OSError: There is no SavedModel in the folder.
        tf.errors.OpError: The graph cannot be loaded or initialised.
    """

    def __init__(
        self, path: str, tags: Sequence[str] = (SERVE_TAG,), config: config_pb2.ConfigProto | None = None
    ) -> None:
        meta_graph = _read_meta_graph(path, set(tags))
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
        self._config = config or config_pb2.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        self._session = tf.compat.v1.Session(graph=_import_graph(meta_graph), config=self._config)
        self._calls: dict[str, Callable[..., list[np.ndarray]]] = {}
        self._lock = threading.Lock()
        _restore(path, meta_graph, self._callable)

    @classmethod
    def load(cls, place: Place) -> SessionModel:
        """Loads a model from wherever it lies; it needs its files no more once it is loaded.

        Raises:
            OSError: There is no SavedModel.
            tf.errors.OpError: The graph cannot be loaded or initialised.
        """
        with local_copy(place) as folder:
            return cls(str(folder))

    def prepare(self, signature_name: str) -> Callable[..., list[np.ndarray]]:
        """The compiled function of a signature: arrays in the order of its inputs → arrays in that of its outputs.

        The first use of a signature optimizes its graph, which takes far longer than a call.

        Raises:
            KeyError: The signature does not exist.
        """
        with self._lock:
            if signature_name not in self._calls:
                signature = self.signatures[signature_name]
                self._calls[signature_name] = self._callable(
                    [info.name for info in signature.inputs.values()],
                    [info.name for info in signature.outputs.values()],
                )
            return self._calls[signature_name]

    def run(self, signature_name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answers one request.

        Args:
            signature_name: One of `signatures`.
            inputs: An array for each of the signature's inputs.

        Returns:
            An array for each of the signature's outputs.

        Raises:
            KeyError: The signature does not exist.
            ValueError: The inputs are not exactly the signature's.
            tf.errors.OpError: The graph failed.
        """
        signature = self.signatures[signature_name]
        if set(inputs) != set(signature.inputs):
            raise ValueError(f"expected the inputs {sorted(signature.inputs)}, received {sorted(inputs)}")
        outputs = self.prepare(signature_name)(*(inputs[name] for name in signature.inputs))
        return dict(zip(signature.outputs, outputs, strict=True))

    def close(self) -> None:
        """Frees the model."""
        self._calls.clear()
        self._session.close()

    def _callable(
        self, feeds: Sequence[str], fetches: Sequence[str], targets: Sequence[str] = ()
    ) -> Callable[..., list[np.ndarray]]:
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches, target=targets)
        if self._config.inter_op_parallelism_threads == 1:
            options.run_options.inter_op_thread_pool = _IN_THE_CALLERS_THREAD
        made: Callable[..., list[np.ndarray]] = self._session._make_callable_from_options(options)
        return made


def _read_meta_graph(path: str, tags: set[str]) -> meta_graph_pb2.MetaGraphDef:
    file = Path(path, "saved_model.pb")
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}"
        ) from None
    except Exception as error:  # protobuf's DecodeError differs between its versions
        raise tf.errors.DataLossError(None, None, f"Can't parse {file} as binary proto: {error}") from None
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == tags:
            return meta_graph
    raise tf.errors.NotFoundError(
        None,
        None,
        f"Could not find meta graph def matching supplied tags: {{ {' '.join(sorted(tags))} }}. To inspect available "
        f"tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`",
    )


def _import_graph(meta_graph: meta_graph_pb2.MetaGraphDef) -> tf.Graph:
    """The functions one by one and then the nodes, so that Python's lock is free in between."""
    graph = tf.Graph()
    graph_def = meta_graph.graph_def
    with graph._c_graph.get() as c_graph:
        for function in graph_def.library.function:
            imported = pywrap_tf_session.TF_FunctionImportFunctionDef(function.SerializeToString())
            pywrap_tf_session.TF_GraphCopyFunction(c_graph, imported, None)
            pywrap_tf_session.TF_DeleteFunction(imported)
        del graph_def.library.function[:]
        with c_api_util.tf_buffer(graph_def.SerializeToString()) as buffer:
            options = c_api_util.ScopedTFImportGraphDefOptions()
            c_api_util.ScopedTFImportGraphDefResults(
                pywrap_tf_session.TF_GraphImportGraphDefWithResults(c_graph, buffer, options.options)
            )
    return graph


def _restore(path: str, meta_graph: meta_graph_pb2.MetaGraphDef, make: Callable[..., Callable[..., Any]]) -> None:
    """Reads the variables, then runs the initialisation (tables, assets)."""
    assets = {each.tensor_info.name: _text(f"{path}/assets/{each.filename}") for each in _assets(meta_graph)}
    saver = meta_graph.saver_def
    if Path(path, "variables", "variables.index").is_file():
        feeds = {saver.filename_tensor_name: _text(f"{path}/variables/variables"), **assets}
        make(list(feeds), [], [saver.restore_op_name])(*feeds.values())
    initialise = _init_op(meta_graph)
    if initialise:
        make(list(assets), [], [initialise])(*assets.values())


def _assets(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[meta_graph_pb2.AssetFileDef]:
    if meta_graph.asset_file_def:
        return list(meta_graph.asset_file_def)
    found = []
    for packed in meta_graph.collection_def[_ASSETS_COLLECTION].any_list.value:
        asset = meta_graph_pb2.AssetFileDef()
        packed.Unpack(asset)
        found.append(asset)
    return found


def _init_op(meta_graph: meta_graph_pb2.MetaGraphDef) -> str:
    if _INIT_OP in meta_graph.signature_def:
        return str(meta_graph.signature_def[_INIT_OP].outputs[_INIT_OP].name)
    for collection in _INIT_COLLECTIONS:
        if collection in meta_graph.collection_def:
            return str(meta_graph.collection_def[collection].node_list.value[0])
    return ""


def _text(value: str) -> np.ndarray:
    return np.array(value, object)
