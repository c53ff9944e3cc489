"""The server put together: how it starts, what reloads, how it ends.

`run` serves in this process' main thread, as it does in a server's; the client is a thread that ends it by SIGTERM.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import http.client
import ipaddress
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from model_server import ROOT, free_ports, model_config
from served_models import save_half_plus_two
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from serving.server.app import run
from serving.server.options import parse_flags
from serving.server.status import Code, StatusError

SECONDS = 10.0
State = get_model_status_pb2.ModelVersionStatus.State


class Client:
    """Asks one server."""

    opened: list[grpc.Channel] = []
    """To be closed before the server's loop ends."""

    def __init__(self, grpc_port, rest_port, target="", credentials=None):
        self.grpc_port, self.rest_port = grpc_port, rest_port
        options = [("grpc.enable_http_proxy", 0), ("grpc.initial_reconnect_backoff_ms", 50)]
        target = target or f"127.0.0.1:{grpc_port}"
        if credentials is None:
            self.channel = grpc.insecure_channel(target, options=options)
        else:
            self.channel = grpc.secure_channel(target, credentials, options=options)
        self.opened.append(self.channel)

    def predict(self, *values, name="default", label=None, version=None, timeout=SECONDS):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        if label is not None:
            request.model_spec.version_label = label
        if version is not None:
            request.model_spec.version.value = version
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(values, tf.float32))
        response = PredictionServiceStub(self.channel).Predict(request, timeout=timeout)
        self.version = response.model_spec.version.value
        return list(response.outputs["y"].float_val)

    def slow(self, steps):
        """A call to zoo that takes a while."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "zoo", "slow"
        request.inputs["steps"].CopyFrom(tf.make_tensor_proto(np.array([steps])))
        return PredictionServiceStub(self.channel).Predict(request, timeout=30)

    def statuses(self, name="default"):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        return ModelServiceStub(self.channel).GetModelStatus(request, timeout=SECONDS).model_version_status

    def states(self, name="default"):
        return {each.version: State.Name(each.state) for each in self.statuses(name)}

    def reload(self, text):
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(text, request.config)
        return ModelServiceStub(self.channel).HandleReloadConfigRequest(request, timeout=SECONDS)

    def post(self, path, document):
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=30)
        connection.request("POST", path, json.dumps(document))
        answered = connection.getresponse()
        return answered.status, json.loads(answered.read())

    def metrics(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=SECONDS)
        connection.request("GET", "/monitoring/prometheus/metrics")
        page = connection.getresponse().read().decode()
        return dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))


@pytest.fixture
def serve():
    """Serves with flags while a story is told, ends by SIGTERM, and gives what the story gives."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    lock = threading.Lock()

    def act(flags, story, is_ready=None, **client):
        grpc_port, rest_port = free_ports(2)
        own = [f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
        own = [each for each in own if not any(flag.startswith(each.split("=")[0] + "=") for flag in flags)]
        options = parse_flags([*own, *flags])
        has_ended = threading.Event()

        def tell():
            try:
                listens = is_ready or (lambda: listening(options.rest_api_port or options.port))
                eventually(lambda: has_ended.is_set() or listens())
                return None if has_ended.is_set() else story(Client(options.port, options.rest_api_port, **client))
            finally:
                while Client.opened:
                    Client.opened.pop().close()
                with lock:
                    if not has_ended.is_set():
                        os.kill(os.getpid(), signal.SIGTERM)

        with ThreadPoolExecutor(1) as threads:
            told = threads.submit(tell)
            try:
                run(options)
            finally:
                with lock:
                    has_ended.set()
            return told.result()

    yield act
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def listening(port, host="127.0.0.1"):
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def eventually(is_so, tell=lambda: ""):
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.02)


def refused(act):
    with pytest.raises(grpc.RpcError) as caught:
        act()
    return caught.value.code().name, caught.value.details()


@pytest.fixture(scope="session")
def versions(tmp_path_factory):
    """Folders of half_plus_two: by version, y = x / 2 + version."""
    folder = tmp_path_factory.mktemp("versions")
    for version in (1, 2, 3):
        save_half_plus_two(folder, version, offset=float(version))
    return {version: folder / str(version) for version in (1, 2, 3)}


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base").mkdir()
    return tmp_path / "base"


def push(base, versions, version):
    shutil.copytree(versions[version], base / "incoming")
    (base / "incoming").rename(base / str(version))


class TestStart:
    def test_it_waits_for_the_first_version_and_opens_no_port_before(self, serve, base, versions):
        grpc_port, rest_port = free_ports(2)

        def not_yet():
            time.sleep(0.3)
            assert not listening(grpc_port)
            assert not listening(rest_port)
            push(base, versions, 1)
            eventually(lambda: listening(rest_port))
            return True

        flags = [f"--model_base_path={base}", f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
        assert serve(flags, lambda client: client.predict(2.0), is_ready=not_yet) == [2.0]

    def test_it_can_be_ended_while_it_waits(self, serve, base):
        began = time.monotonic()
        serve([f"--model_base_path={base}"], lambda client: None, is_ready=lambda: time.sleep(0.3) or True)
        assert time.monotonic() - began < 3

    def test_a_model_that_cannot_be_loaded(self, serve, base, versions):
        push(base, versions, 1)
        (base / "1" / "saved_model.pb").write_bytes(b"")
        with pytest.raises(StatusError, match=r"1 model\(s\) did not become available: .*name: m version: 1"):
            serve([f"--model_base_path={base}", "--model_name=m", "--max_num_load_retries=0"], lambda client: None)

    @pytest.mark.parametrize("flag", ["--port", "--rest_api_port"])
    def test_a_port_in_use(self, serve, base, versions, flag):
        push(base, versions, 1)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(StatusError, match=f"Could not listen on.*{port}") as caught:
                serve([f"--model_base_path={base}", f"{flag}={port}"], lambda client: None, is_ready=lambda: False)
        assert caught.value.code is Code.UNAVAILABLE

    def test_a_relative_path(self, serve):
        with pytest.raises(StatusError, match="Expected model default to have an absolute path or URI; got base_path"):
            serve(["--model_base_path=models"], lambda client: None)

    @pytest.mark.parametrize(
        ("flag", "text", "told"),
        [
            ("model_config_file", "improper model config", "Error parsing text-format tensorflow.serving.ModelServerC"),
            ("batching_parameters_file", "x: 1", "Error parsing text-format tensorflow.serving.BatchingParameters"),
            ("batching_parameters_file", "max_batch_size { value: 0 }", "must be positive"),
            ("batching_parameters_file", "num_batch_threads { value: 0 }", "must be positive"),
            ("batching_parameters_file", "max_batch_size { value: 8 } allowed_batch_sizes: 4", "must match max_batch"),
            ("monitoring_config_file", "x: 1", "Error parsing text-format tensorflow.serving.MonitoringConfig"),
            ("ssl_config_file", "x: 1", "Error parsing text-format tensorflow.serving.SSLConfig"),
            ("ssl_config_file", 'server_key: "k" client_verify: true', "client_verify, which needs custom_ca"),
            ("ssl_config_file", 'server_key: "k" server_cert: "c"', "Could not listen on"),
            ("tensorflow_session_config_file", "x: 1", "Error parsing text-format tensorflow.ConfigProto"),
            ("tensorflow_session_config_file", None, "Could not read the file"),
            ("model_config_file", None, "Could not read the file"),
        ],
    )
    def test_a_wrong_file(self, serve, base, versions, tmp_path, flag, text, told):
        push(base, versions, 1)
        path = tmp_path / "file"
        if text is not None:
            path.write_text(text)
        with pytest.raises(StatusError, match=told):
            serve(
                [f"--model_base_path={base}", f"--{flag}={path}", "--enable_batching"],
                lambda client: None,
                is_ready=lambda: False,
            )

    def test_files_that_are_right(self, serve, base, versions, tmp_path):
        push(base, versions, 1)
        files = {
            "batching_parameters_file": (
                "max_batch_size { value: 8 } allowed_batch_sizes: [4, 8] num_batch_threads { value: 3 }"
            ),
            "monitoring_config_file": "prometheus_config { enable: true }",
            "tensorflow_session_config_file": "intra_op_parallelism_threads: 2",
        }
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        flags = [f"--{name}={tmp_path / name}" for name in files]

        def story(client):
            assert client.predict(2.0, 4.0, 6.0) == [2.0, 3.0, 4.0]
            assert client.post("/v1/models/default:predict", {"instances": [2.0]}) == (200, {"predictions": [2.0]})
            assert client.metrics()[':tensorflow:serving:request_count{model_name="default",status="OK"}'] == "2"

        serve([f"--model_base_path={base}", "--enable_batching", *flags], story)

    def test_outputs_as_tensor_content(self, serve, base, versions):
        push(base, versions, 1)

        def story(client):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "default"
            request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
            return PredictionServiceStub(client.channel).Predict(request).outputs["y"]

        output = serve([f"--model_base_path={base}", "--enable_serialization_as_tensor_content"], story)
        assert output.tensor_content == np.float32(2.0).tobytes()
        assert not output.float_val

    def test_a_tflite_model(self, serve, base, versions):
        push(base, versions, 1)
        function = tf.function(lambda x: {"y": x * 10}, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
        (base / "1" / "model.tflite").write_bytes(converter.convert())

        def story(client):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "default"
            stub = PredictionServiceStub(client.channel)
            request.inputs[only_input(stub)].CopyFrom(tf.make_tensor_proto([2.0, 3.0]))
            outputs = stub.Predict(request).outputs
            return [list(output.float_val) for output in outputs.values()]

        assert serve([f"--model_base_path={base}", "--prefer_tflite_model=true"], story) == [[20.0, 30.0]]


def only_input(stub):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "default"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request).metadata["signature_def"].Unpack(signatures)
    (name,) = signatures.signature_def["serving_default"].inputs
    return name


class TestAddresses:
    def test_a_unix_socket_alone(self, serve, base, versions, tmp_path):
        push(base, versions, 1)
        path = tmp_path / "socket"
        flags = [f"--model_base_path={base}", "--port=0", "--rest_api_port=0", f"--grpc_socket_path={path}"]
        for _ in range(2):  # the second finds what the first may have left
            answer = serve(flags, lambda client: client.predict(2.0), path.exists, target=f"unix:{path}")
            assert answer == [2.0]

    def test_a_unix_socket_left_by_a_killed_server(self, serve, base, versions, tmp_path):
        push(base, versions, 1)
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        flags = [f"--model_base_path={base}", f"--grpc_socket_path={path}"]
        assert serve(flags, lambda client: client.predict(2.0), target=f"unix:{path}") == [2.0]

    def test_ipv6(self, serve, base, versions):
        push(base, versions, 1)
        grpc_port, rest_port = free_ports(2)
        flags = [f"--model_base_path={base}", "--host=::1", f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
        if not has_ipv6():
            pytest.skip("this machine has no IPv6")
        target = f"ipv6:[::1]:{grpc_port}"
        is_ready = lambda: listening(rest_port, "::1")  # noqa: E731
        assert serve(flags, lambda client: client.predict(2.0), is_ready, target=target) == [2.0]

    def test_channel_arguments(self, serve, base, versions):
        push(base, versions, 1)

        def story(client):
            assert client.predict(2.0) == [2.0]
            return refused(lambda: client.predict(*[1.0] * 1000))

        flags = ["--grpc_channel_arguments=grpc.max_receive_message_length=1000,grpc.primary_user_agent=x"]
        code, _ = serve([f"--model_base_path={base}", *flags], story)
        assert code == "RESOURCE_EXHAUSTED"

    def test_health(self, serve, base, versions):
        push(base, versions, 1)

        def ask(client, service):
            request = health_pb2.HealthCheckRequest(service=service)
            return health_pb2_grpc.HealthStub(client.channel).Check(request, timeout=SECONDS).status

        def story(client):
            for service in ("", "ModelService", "PredictionService"):
                assert ask(client, service) == health_pb2.HealthCheckResponse.SERVING
            assert refused(lambda: ask(client, "NoService"))[0] == "NOT_FOUND"

        serve([f"--model_base_path={base}", "--enable_grpc_healthcheck_service"], story)
        without = serve([f"--model_base_path={base}"], lambda client: refused(lambda: ask(client, "")))
        assert without[0] == "UNIMPLEMENTED"


def has_ipv6():
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


class Authority:
    """Signs certificates."""

    def __init__(self):
        x509 = pytest.importorskip("cryptography.x509")
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        self._x509, self._hashes, self._serialization, self._ec = x509, hashes, serialization, ec
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        self.certificate = self._sign(self._name, self._key.public_key(), is_authority=True)

    def _sign(self, subject, public_key, is_authority=False):
        x509, now = self._x509, datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder(self._name, subject, public_key, x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self._key, self._hashes.SHA256())
        return signed.public_bytes(self._serialization.Encoding.PEM)

    def pair(self, name):
        """A key and a certificate."""
        key, encoding = self._ec.generate_private_key(self._ec.SECP256R1()), self._serialization
        private = key.private_bytes(
            encoding.Encoding.PEM, encoding.PrivateFormat.TraditionalOpenSSL, encoding.NoEncryption()
        )
        subject = self._x509.Name([self._x509.NameAttribute(self._x509.NameOID.COMMON_NAME, name)])
        return private, self._sign(subject, key.public_key())


class TestTls:
    @pytest.fixture(scope="class")
    def authority(self):
        return Authority()

    @pytest.fixture
    def flags(self, base, versions, authority, tmp_path):
        push(base, versions, 1)

        def make(**options):
            key, certificate = authority.pair("server")
            values = {"server_key": key.decode(), "server_cert": certificate.decode(), **options}
            path = tmp_path / "ssl.pbtxt"
            path.write_text("\n".join(f"{name}: {json.dumps(value)}" for name, value in values.items()))
            return [f"--model_base_path={base}", f"--ssl_config_file={path}"]

        return make

    def test_the_server_proves_who_it_is(self, serve, flags, authority):
        trusting = grpc.ssl_channel_credentials(authority.certificate)
        assert serve(flags(), lambda client: client.predict(2.0), credentials=trusting) == [2.0]

    def test_plain_text_and_strangers_are_refused(self, serve, flags):
        other = grpc.ssl_channel_credentials(Authority().certificate)

        def story(client):
            assert refused(lambda: client.predict(2.0, timeout=3))[0] == "UNAVAILABLE"
            assert refused(lambda: Client(client.grpc_port, 0).predict(2.0, timeout=3))[0] == "UNAVAILABLE"

        serve(flags(), story, credentials=other)

    def test_the_client_proves_who_it_is(self, serve, flags, authority):
        mutual = flags(custom_ca=authority.certificate.decode(), client_verify=True)

        def story(client):
            assert client.predict(2.0) == [2.0]
            for pair in ((None, None), Authority().pair("stranger")):
                stranger = grpc.ssl_channel_credentials(authority.certificate, *pair)
                asks = Client(client.grpc_port, 0, credentials=stranger).predict
                assert refused(lambda asks=asks: asks(2.0, timeout=3))[0] == "UNAVAILABLE"

        known = grpc.ssl_channel_credentials(authority.certificate, *authority.pair("client"))
        serve(mutual, story, credentials=known)

    def test_without_client_verify_no_client_certificate_is_needed(self, serve, flags, authority):
        trusting = grpc.ssl_channel_credentials(authority.certificate)
        with_authority = flags(custom_ca=authority.certificate.decode())
        assert serve(with_authority, lambda client: client.predict(2.0), credentials=trusting) == [2.0]


class TestReload:
    def test_new_versions_by_polling(self, serve, base, versions):
        push(base, versions, 1)

        def story(client):
            assert client.predict(2.0) == [2.0]
            push(base, versions, 2)
            eventually(lambda: client.predict(2.0) == [3.0])
            eventually(lambda: client.states() == {2: "AVAILABLE", 1: "END"}, client.states)
            assert [each.version for each in client.statuses()] == [2, 1]
            assert refused(lambda: client.predict(2.0, version=1)) == (
                "NOT_FOUND",
                "Servable not found for request: Specific(default, 1)",
            )

        serve([f"--model_base_path={base}"], story)

    def test_a_version_that_cannot_be_loaded_leaves_the_old_one(self, serve, base, versions, caplog):
        push(base, versions, 1)

        def story(client):
            (base / "2").mkdir()
            eventually(lambda: client.states().get(2) == "END")
            assert client.predict(2.0) == [2.0]
            newest = client.statuses()[0]
            assert newest.status.error_code == Code.NOT_FOUND
            assert "Could not find SavedModel .pb or .pbtxt at supplied export directory" in newest.status.error_message
            push(base, versions, 3)
            eventually(lambda: client.states() == {3: "AVAILABLE", 2: "END", 1: "END"}, client.states)

        retries = ["--max_num_load_retries=1", "--load_retry_interval_micros=1000"]
        serve([f"--model_base_path={base}", *retries], story)

    @pytest.mark.e2e
    def test_the_config_file_is_read_again(self, serve, base, versions, tmp_path, caplog):
        push(base, versions, 1)
        config = tmp_path / "models.config"
        config.write_text(model_config({"a": base}))

        def story(client):
            config.write_text("{ not a config")
            eventually(lambda: "The model config was not reloaded; the one before stays" in caplog.text)
            assert client.predict(2.0, name="a") == [2.0]
            config.unlink()
            eventually(lambda: "Could not read the file" in caplog.text)
            config.write_text(model_config({"b": base}, {"b": {"stable": 1}}))
            eventually(lambda: "not currently available for inference" in caplog.text)
            assert client.predict(2.0, name="a") == [2.0]
            config.write_text(model_config({"a": base, "b": base}, {"a": {"stable": 1}}))
            eventually(lambda: listening(client.rest_port) and answers(client, "b"))
            assert client.predict(2.0, name="a", label="stable") == [2.0]
            config.write_text(model_config({"b": base}))
            eventually(lambda: not answers(client, "a"))
            told = "Servable not found for request: Latest(a)"
            assert refused(lambda: client.predict(2.0, name="a")) == ("NOT_FOUND", told)

        caplog.set_level(logging.INFO)
        serve([f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1"], story)

    def test_without_polling_a_config_stays(self, serve, base, versions, tmp_path):
        push(base, versions, 1)
        config = tmp_path / "models.config"
        config.write_text(model_config({"a": base}))

        def story(client):
            config.write_text(model_config({"b": base}))
            push(base, versions, 2)
            time.sleep(1.3)
            assert client.states("a") == {1: "AVAILABLE"}
            assert not answers(client, "b")

        serve([f"--model_config_file={config}", "--file_system_poll_wait_seconds=0"], story)

    def test_an_empty_config_can_be_filled_later(self, serve, base, versions, tmp_path):
        push(base, versions, 1)
        config = tmp_path / "models.config"
        config.write_text("")

        def story(client):
            assert not answers(client, "a")
            client.reload(model_config({"a": base}))
            assert answers(client, "a")

        serve([f"--model_config_file={config}"], story)

    def test_a_version_stays_until_its_requests_are_answered(self, serve, zoo_base, tmp_path):
        (tmp_path / "models.config").write_text(model_config({"zoo": zoo_base}))

        def story(client):
            with ThreadPoolExecutor(1) as threads:
                asked = threads.submit(client.slow, 300_000)
                time.sleep(0.15)
                client.reload("model_config_list {}")
                assert client.states("zoo") == {1: "UNLOADING"}
                assert not asked.done()
                assert asked.result().outputs["done"].int64_val == [300_000]
                eventually(lambda: client.states("zoo") == {1: "END"})

        serve([f"--model_config_file={tmp_path / 'models.config'}"], story)


def answers(client, name):
    try:
        return bool(client.predict(1.0, name=name))
    except grpc.RpcError:
        return False


def logged(folder):
    assert not list(folder.glob("*.part"))
    return [
        prediction_log_pb2.PredictionLog.FromString(record)
        for path in sorted(folder.glob("*.tfrecord"))
        for record in tf.compat.v1.io.tf_record_iterator(str(path))
    ]


class TestRequestLog:
    def test_what_was_asked_and_answered(self, serve, base, versions, tmp_path):
        push(base, versions, 1)
        folder = tmp_path / "log"

        def example_request(request_class, signature):
            request = request_class()
            spec = (
                getattr(request, "model_spec", None)
                or request.tasks.add(method_name="tensorflow/serving/regress").model_spec
            )
            spec.name, spec.signature_name = "default", signature
            example = request.input.example_list.examples.add()
            example.features.feature["x"].float_list.value.append(2.0)
            return request

        def story(client):
            stub = PredictionServiceStub(client.channel)
            client.predict(2.0, 4.0)
            stub.Classify(example_request(classification_pb2.ClassificationRequest, "classify"))
            stub.Regress(example_request(regression_pb2.RegressionRequest, "regress"))
            stub.MultiInference(example_request(inference_pb2.MultiInferenceRequest, "regress"))
            refused(lambda: client.predict(1.0, version=9))
            base_url, rows = "/v1/models/default", {"instances": [2.0, 4.0]}
            examples = {"examples": [{"x": 2.0}]}
            assert client.post(f"{base_url}:predict", rows)[0] == 200
            assert client.post(f"{base_url}:classify", {"signature_name": "classify", **examples})[0] == 200
            assert client.post(f"{base_url}:regress", {"signature_name": "regress", **examples})[0] == 200
            assert client.post(f"{base_url}:predict", {"instances": ["x"]})[0] == 400

        serve([f"--model_base_path={base}", f"--request_log_path={folder}"], story)
        logs = logged(folder)
        kinds = ["predict_log", "classify_log", "regress_log"]
        assert [each.WhichOneof("log_type") for each in logs] == [*kinds, "multi_inference_log", *kinds]
        for each in logs:
            spec = each.log_metadata.model_spec
            assert (spec.name, spec.version.value) == ("default", 1)
            assert abs(each.log_metadata.timestamp_secs - time.time()) < 60
        grpc_predict, rest_predict = logs[0].predict_log, logs[4].predict_log
        for each in (grpc_predict, rest_predict):
            assert tf.make_ndarray(each.request.inputs["x"]).tolist() == [2.0, 4.0]
            assert tf.make_ndarray(each.response.outputs["y"]).tolist() == [2.0, 3.0]
            assert each.response.model_spec.version.value == 1
        for each in (logs[1], logs[5]):
            assert each.classify_log.response.result.classifications[0].classes[1].label == "high"
        for each in (logs[2], logs[6]):
            given = each.regress_log.request.input.example_list.examples[0]
            assert given.features.feature["x"].float_list.value == [2.0]
            assert each.regress_log.response.result.regressions[0].value == 2.0
        assert logs[3].multi_inference_log.response.results[0].regression_result.regressions[0].value == 2.0

    def test_a_folder_that_cannot_be_written_costs_no_answer(self, serve, base, versions, tmp_path):
        push(base, versions, 1)
        (tmp_path / "file").touch()

        def story(client):
            for _ in range(5):
                assert client.predict(2.0) == [2.0]
            failed = ':tensorflow:serving:request_log_count{model_name="default",status="FAILED"}'
            eventually(lambda: client.metrics().get(failed) == "5")

        flags = [f"--request_log_path={tmp_path / 'file' / 'log'}", "--enable_prometheus"]
        serve([f"--model_base_path={base}", *flags], story)

    def test_a_models_own_logging_config(self, serve, base, versions, tmp_path):
        push(base, versions, 1)
        config = tmp_path / "models.config"
        logging_config = (
            f'logging_config {{ log_collector_config {{ filename_prefix: "{tmp_path / "b"}" }} '
            "sampling_config { sampling_rate: 1 } }"
        )
        both = model_config({"a": base, "b": base}).replace('name: "b"', f'name: "b" {logging_config}')
        config.write_text(both)

        def story(client):
            client.predict(1.0, name="a")
            client.predict(1.0, name="b")
            told = refused(lambda: client.reload(both.replace("filename_prefix", 'type: "kafka" filename_prefix')))
            assert told == ("NOT_FOUND", "Cannot find LogCollector::Factory for type: kafka")
            client.predict(2.0, name="b")

        serve([f"--model_config_file={config}"], story)
        assert [each.log_metadata.model_spec.name for each in logged(tmp_path / "b")] == ["b", "b"]


class TestEnd:
    def test_what_is_in_flight_is_answered_and_nothing_new(self, serve, zoo_base, tmp_path):
        config, folder = tmp_path / "models.config", tmp_path / "log"
        config.write_text(model_config({"zoo": zoo_base}))
        threads = ThreadPoolExecutor(2)

        def story(client):
            document = {"signature_name": "slow", "instances": [150_000]}
            asked = [
                threads.submit(client.slow, 150_000),
                threads.submit(client.post, "/v1/models/zoo:predict", document),
            ]
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            assert not any(each.done() for each in asked)
            assert refused(lambda: Client(client.grpc_port, 0).slow(1))[0] == "UNAVAILABLE"
            assert not listening(client.rest_port)
            rpc, rest = (each.result() for each in asked)
            assert rpc.outputs["done"].int64_val == [150_000]
            assert rest == (200, {"predictions": [150_000]})

        serve([f"--model_config_file={config}", f"--request_log_path={folder}"], story)
        threads.shutdown()
        assert len(logged(folder)) == 2

    def test_the_drain_has_an_end(self, serve, zoo_base, tmp_path):
        config = tmp_path / "models.config"
        config.write_text(model_config({"zoo": zoo_base}))

        def story(client):
            with ThreadPoolExecutor(1) as threads:
                asked = threads.submit(lambda: refused(lambda: client.slow(20_000_000)))
                time.sleep(0.3)
                os.kill(os.getpid(), signal.SIGTERM)
                assert asked.result(timeout=3)[0] in ("CANCELLED", "UNAVAILABLE")
                return time.monotonic()

        began = serve([f"--model_config_file={config}", "--drain_seconds=0.3"], story)
        assert time.monotonic() - began < 3


def test_a_broken_config_is_told_on_stderr_with_an_exit_code(tmp_path):
    (tmp_path / "models.config").write_text("improper model config")
    ended = subprocess.run(
        [sys.executable, "-m", "serving.server", f"--model_config_file={tmp_path / 'models.config'}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode != 0
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_a_wrong_flag_is_told_without_tensorflow(tmp_path):
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "serving.server", "--port=x"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode != 0
    assert "--port" in ended.stderr
    assert time.monotonic() - began < 5
