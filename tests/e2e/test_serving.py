"""Hot reloads of a real server under load: no failed request, and memory that does not grow."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from model_server import RunningServer, start_server
from served_models import save_half_plus_two
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

RELOADS = 50
SETTLED = 5
MOST_GROWTH = 40 * 2**20


class Load:
    """Asks over gRPC and REST all the time, two threads each; checks every answer."""

    def __init__(self, server: RunningServer) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self._server = server
        self._has_ended = threading.Event()
        kinds = (self._ask_grpc, self._ask_rest)
        self._threads = [threading.Thread(target=self._repeat, args=(kind,)) for kind in kinds for _ in range(2)]

    def __enter__(self) -> Load:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        for each in self._threads:
            each.join()

    def _repeat(self, kind) -> None:
        try:
            kind()
        except Exception as error:
            self.errors.append(repr(error))

    def _check(self, kind: str, x: float, y: float) -> None:
        """Version v answers x / 2 + v."""
        self.counts[kind] += 1
        offset = y - x / 2
        if offset != int(offset) or not 1 <= offset <= RELOADS + 1:
            self.errors.append(f"{kind}: {x} → {y}")

    def _ask_grpc(self) -> None:
        with grpc.insecure_channel(self._server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
            stub = PredictionServiceStub(channel)
            while not self._has_ended.is_set():
                x = float(self.counts["grpc"] % 100)
                request = predict_pb2.PredictRequest()
                request.model_spec.name = "default"
                request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([x], np.float32)))
                self._check("grpc", x, stub.Predict(request, timeout=10).outputs["y"].float_val[0])

    def _ask_rest(self) -> None:
        connection = http.client.HTTPConnection(*self._server.rest, timeout=10)
        while not self._has_ended.is_set():
            x = float(self.counts["rest"] % 100)
            connection.request("POST", "/v1/models/default:predict", json.dumps({"instances": [x]}))
            response = connection.getresponse()
            body = json.loads(response.read())
            if response.status != 200:
                self.errors.append(f"{response.status}: {body}")
                continue
            self._check("rest", x, body["predictions"][0])
        connection.close()


def resident_bytes(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_hot_reloads_under_load(tmp_path: Path) -> None:
    base, prepared = tmp_path / "base", tmp_path / "prepared"
    for version in range(1, RELOADS + 2):
        save_half_plus_two(prepared, version, offset=float(version))
    base.mkdir()
    (prepared / "1").rename(base / "1")
    sizes = []
    flags = ["--enable_batching", f"--request_log_path={tmp_path / 'log'}", "--request_log_sampling_rate=0.1"]
    with start_server([f"--model_base_path={base}", *flags], log_path=tmp_path / "server.log") as server:
        with grpc.insecure_channel(server.grpc) as channel, Load(server) as load:
            for version in range(2, RELOADS + 2):
                (prepared / str(version)).rename(base / str(version))
                wait_until_alone(ModelServiceStub(channel), version)
                shutil.rmtree(base / str(version - 1))
                sizes.append(resident_bytes(server.process.pid))
        assert server.stop() == 0
    assert load.errors == []
    assert min(load.counts["grpc"], load.counts["rest"]) > 1000
    assert sizes[-1] - max(sizes[:SETTLED]) < MOST_GROWTH
    assert not list((tmp_path / "log").glob("*.part"))


def wait_until_alone(stub: ModelServiceStub, version: int) -> None:
    """Until a version is available and the one before is unloaded."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "default"
    states = get_model_status_pb2.ModelVersionStatus.State
    deadline = time.monotonic() + 30
    while True:
        found = stub.GetModelStatus(request, timeout=10).model_version_status
        told = {each.version: states.Name(each.state) for each in found}
        if told.get(version) == "AVAILABLE" and told.get(version - 1) == "END":
            return
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
