"""The whole pipeline on small flights: pushed, cached, retrained on a new month, gated."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from e2e_tools import headrace, states
from model_server import RunningServer, start_server
from projects import REPOSITORY, Project, make_project
from tensorflow_serving.apis import classification_pb2, model_pb2, predict_pb2, prediction_service_pb2_grpc

from models.trainer import load_keras_model
from monitoring.report import Report
from pipeline.components.infra_validator import trainer_predictions
from pipeline.metadata import open_store
from schema.errors import ExitCode
from serving.client import Client
from serving.records import read_records
from serving.session_model import SessionModel
from serving.versions import PROVENANCE, read_manifest, versions


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that has run once."""
    project = make_project(tmp_path_factory.mktemp("flights"))
    result = headrace("run", str(project.config_path))
    assert result.returncode == ExitCode.OK, result.stdout
    assert result.stderr == ""
    for gate in ("data", "quality", "infra"):
        assert f"{gate} gate: passed" in result.stdout
    assert "There is no blessed model yet" in result.stdout
    assert set(states(project).values()) == {"done"}
    return project


def test_pushed_model_carries_what_it_came_from(pushed: Project) -> None:
    [version] = versions(pushed.push_path)
    folder = pushed.push_path / str(version)
    assert (folder / "saved_model.pb").is_file()
    provenance = folder / PROVENANCE
    assert (provenance / "schema.pbtxt").read_bytes() == (pushed.folder / "flights.pbtxt").read_bytes()
    assert (provenance / "statistics" / "FeatureStats.pb").stat().st_size > 0
    assert (provenance / "evaluation" / "eval_config.json").is_file()
    assert json.loads((provenance / "config.json").read_text())["name"] == "flights"
    verdicts = [json.loads(path.read_text()) for path in sorted((provenance / "verdicts").iterdir())]
    assert [verdict["outcome"] for verdict in verdicts] == ["passed"] * 3
    manifest = read_manifest(folder)
    assert manifest["version"] == version
    assert manifest["window"] == "spans 1, 2 train, span 3 evaluates"


def test_pushed_model_answers_plain_rows_without_facts_of_the_future(pushed: Project) -> None:
    [version] = versions(pushed.push_path)
    model = SessionModel(str(pushed.push_path / str(version)))
    inputs = model.signatures["serving_default"].inputs
    assert not {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "late"} & set(inputs)
    row = pq.read_table(pushed.span_path(3)).slice(0, 1).to_pydict()
    row["scheduled_departure"] = [int(row["scheduled_departure"][0].timestamp())]
    request = {
        name: np.array(
            [row[name][0] if row[name][0] is not None else "" if info.dtype == tf.string.as_datatype_enum else np.nan],
            dtype=tf.as_dtype(info.dtype).as_numpy_dtype,
        )
        for name, info in inputs.items()
    }
    [probability] = model.run("serving_default", request)["probability"]
    assert 0 < probability < 1


def test_every_way_in_gives_the_trainers_scores(pushed: Project, tmp_path: Path) -> None:
    [version] = versions(pushed.push_path)
    asked = {request.model_spec.signature_name: request for request in _asked_by_the_infra_check(pushed)}
    examples = tf.make_ndarray(asked["serve_examples"].inputs["examples"]).tolist()
    expected = _trainers_scores(pushed, examples)
    flags = ["--model_name=flights", f"--model_base_path={pushed.push_path}", "--enable_batching"]
    with start_server(flags, log_path=tmp_path / "server.log") as server:
        assert f"Warmed flights version {version} up" in server.log()
        rest = _scores_over_rest(server, asked["serving_default"], examples)
        for way, scores in {**rest, **_scores_over_grpc(server, asked, examples)}.items():
            np.testing.assert_allclose(np.array(scores, np.float32), expected, atol=1e-6, err_msg=way)


def test_what_the_server_logged_is_watched(pushed: Project, tmp_path: Path) -> None:
    rows = pq.read_table(pushed.span_path(3))
    in_kilometres = pc.cast(pc.round(pc.multiply(rows["distance"], 1.609344)), pa.int64())
    wrong = rows.set_column(rows.schema.get_field_index("distance"), "distance", in_kilometres)
    for name, asked, code, first_line in (
        ("clean", rows, ExitCode.OK, "Keep: nothing moved beyond what is normal"),
        ("wrong", wrong, ExitCode.BLOCK, "Block: distance: values are 1.609 times those of training"),
    ):
        log = tmp_path / name
        flags = ["--model_name=flights", f"--model_base_path={pushed.push_path}", f"--request_log_path={log}"]
        with (
            start_server(flags, log_path=tmp_path / "server.log") as server,
            Client(f"grpc://{server.grpc}", "flights") as client,
        ):
            client.predict(asked.select(list(client.metadata().signatures["serving_default"].inputs)))
        result = headrace("monitor", str(pushed.config_path), "--log", str(log))
        assert result.returncode == code, result.stdout + result.stderr
        assert result.stdout.startswith(first_line)
        assert "live auc of all examples" in result.stdout  # the labels are in the span
        report = Report.load(pushed.home / "monitor")
        assert report.rows == len(rows)
        assert result.stdout.splitlines()[0] == report.decision.headline
        assert report.decision.headline in (pushed.home / "monitor" / "report.html").read_text()
    store = open_store(pushed.home)
    decisions = [each.properties["action"].string_value for each in store.get_artifacts_by_type("MonitorDecision")]
    assert decisions == ["keep", "block"]


def _asked_by_the_infra_check(project: Project) -> list[predict_pb2.PredictRequest]:
    [records] = project.home.glob("artifacts/InfraValidator/blessing/*/requests.tfrecord")
    return [predict_pb2.PredictRequest.FromString(record) for record in read_records(str(records))]


def _trainers_scores(project: Project, examples: list[bytes]) -> np.ndarray:
    [model_run] = project.home.glob("artifacts/Trainer/model_run/*")
    [transform] = project.home.glob("artifacts/Transform/transform_graph/*")
    return trainer_predictions(
        load_keras_model(model_run), tft.TFTransformOutput(str(transform)), examples, task="binary"
    )


def _scores_over_rest(
    server: RunningServer, raw: predict_pb2.PredictRequest, examples: list[bytes]
) -> dict[str, list[float]]:
    def ask(verb: str, document: dict[str, object]) -> dict[str, list]:
        reply = server.post(f"/v1/models/flights:{verb}", document)
        assert reply.status == 200, reply.body
        return reply.json

    columns = {name: tf.make_ndarray(value).tolist() for name, value in raw.inputs.items()}
    plain = {
        name: [each.decode() if isinstance(each, bytes) else each for each in column]
        for name, column in columns.items()
    }
    rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
    encoded = [{"b64": base64.b64encode(example).decode()} for example in examples]
    features = [_plain_features(example) for example in examples]
    classified = ask("classify", {"signature_name": "classify", "examples": features})["results"]
    return {
        "REST rows": ask("predict", {"instances": rows})["predictions"],
        "REST columns": ask("predict", {"inputs": plain})["outputs"],
        "REST b64": ask("predict", {"signature_name": "serve_examples", "instances": encoded})["predictions"],
        "REST classify": [dict(classes)["1"] for classes in classified],
        "REST regress": ask("regress", {"signature_name": "regress", "examples": features})["results"],
    }


def _plain_features(example: bytes) -> dict[str, list]:
    features = {}
    for name, feature in tf.train.Example.FromString(example).features.feature.items():
        values = list(getattr(feature, feature.WhichOneof("kind")).value) if feature.WhichOneof("kind") else []
        features[name] = [value.decode() if isinstance(value, bytes) else value for value in values]
    return features


def _scores_over_grpc(
    server: RunningServer, asked: dict[str, predict_pb2.PredictRequest], examples: list[bytes]
) -> dict[str, list[float]]:
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.CopyFrom(model_pb2.ModelSpec(name="flights", signature_name="classify"))
    for example in examples:
        classify.input.example_list.examples.add().ParseFromString(example)
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        scores = {}
        for signature in ("serving_default", "serve_examples"):
            asked[signature].model_spec.name = "flights"
            outputs = stub.Predict(asked[signature], timeout=30).outputs
            scores[f"gRPC {signature}"] = list(outputs["probability"].float_val)
        answered = stub.Classify(classify, timeout=30).result.classifications
        scores["gRPC classify"] = [each.classes[1].score for each in answered]
    return scores


def test_second_run_is_cached_and_says_why(pushed: Project) -> None:
    result = headrace("run", str(pushed.config_path))
    assert result.returncode == ExitCode.OK
    assert {node for node, state in states(pushed).items() if state != "cached"} == {
        "EarlierAnalysis",
        "LastGoodExamples",
        "LatestBlessedModel",
    }
    assert "same inputs, parameters and code as in run" in result.stdout
    assert len(versions(pushed.push_path)) == 1


def test_until_and_from_take_a_part(pushed: Project) -> None:
    until = headrace("run", str(pushed.config_path), "--until", "DataGate", "--force", "StatisticsGen")
    assert until.returncode == ExitCode.OK, until.stdout
    assert states(pushed)["StatisticsGen"] == "done"
    assert states(pushed)["Trainer"] == "left out"
    assert "forced" in until.stdout
    part = headrace("run", str(pushed.config_path), "--from", "InfraGate")
    assert part.returncode == ExitCode.OK, part.stdout
    assert states(pushed)["Trainer"] == "reused"
    assert states(pushed)["InfraGate"] in ("done", "cached")
    assert len(versions(pushed.push_path)) == 1


def test_status_why_and_doctor_tell(pushed: Project) -> None:
    status = headrace("status", str(pushed.config_path))
    assert status.returncode == ExitCode.OK
    assert str(versions(pushed.push_path)[0]) in status.stdout
    why = headrace("why", str(pushed.config_path), "quality")
    assert why.returncode == ExitCode.OK
    assert "origin=JFK" in why.stdout
    doctor = headrace("doctor", str(pushed.config_path))
    assert doctor.returncode == ExitCode.OK, doctor.stdout
    assert "trouble" not in doctor.stdout


def test_an_edited_schema_is_not_answered_from_the_cache(pushed: Project) -> None:
    path = pushed.folder / "flights.pbtxt"
    reviewed = path.read_text()
    path.write_text(reviewed.replace("float_domain { min: 0 max: 6000 }", "float_domain { min: 0 max: 60 }"))
    edited = headrace("run", str(pushed.config_path))
    path.write_text(reviewed)
    assert edited.returncode == ExitCode.DATA_GATE, edited.stdout
    assert "0 to 60" in edited.stdout
    assert states(pushed)["ExampleGen"] == "cached"
    assert headrace("run", str(pushed.config_path)).returncode == ExitCode.OK
    assert states(pushed)["DataGate"] == "cached"


def test_a_pushed_version_that_is_gone_is_pushed_again(pushed: Project) -> None:
    for version in versions(pushed.push_path):
        shutil.rmtree(pushed.push_path / str(version))
    result = headrace("run", str(pushed.config_path))
    assert result.returncode == ExitCode.OK
    assert "the pushed version is gone" in result.stdout
    [again] = versions(pushed.push_path)
    assert f"Pushed version {again}" in result.stdout


def test_new_month_retrains_against_the_baseline_and_a_worse_model_is_stopped(pushed: Project) -> None:
    [first] = versions(pushed.push_path)
    whole = pq.read_table(REPOSITORY / "data" / "flights" / "span-04" / "flights.parquet")
    pushed.write_span(4, whole.take(list(range(0, 28_000, 47))))
    result = headrace("run", str(pushed.config_path))
    assert result.returncode == ExitCode.OK, result.stdout
    assert (
        "new window: spans 2, 3 train, span 4 evaluates; 2 of 3 spans as an earlier run has read them" in result.stdout
    )
    assert "Compared with the last blessed model" in result.stdout
    assert len(versions(pushed.push_path)) == 2

    def unreachable(raw: dict) -> None:
        raw["gates"]["quality"] = [{"metric": "auc", "at_least": 0.99, "slice": "origin"}]

    pushed.change_config(unreachable)
    stopped = headrace("run", str(pushed.config_path))
    assert stopped.returncode == ExitCode.QUALITY_GATE
    assert "origin=EWR" in stopped.stdout
    assert "≥ 0.99" in stopped.stdout
    assert "--accept" in stopped.stdout
    assert states(pushed)["Pusher"] == "blocked"
    assert "Stopped by the quality gate" in stopped.stdout
    newest = versions(pushed.push_path)[-1]
    assert newest > first

    accepted = headrace("run", str(pushed.config_path), "--accept", "the bound was a typing error")
    assert accepted.returncode == ExitCode.OK, accepted.stdout
    assert "accepted" in accepted.stdout
    assert "the bound was a typing error" in accepted.stdout
    assert versions(pushed.push_path)[-1] == newest  # the same model: nothing new to push
    again = headrace("run", str(pushed.config_path))
    assert again.returncode == ExitCode.OK
    assert states(pushed)["QualityGate"] == "cached"


def test_two_runs_at_once_are_refused(pushed: Project) -> None:
    from pipeline.runners.lock import run_lock

    with run_lock(pushed.home):
        result = headrace("run", str(pushed.config_path))
    assert result.returncode == ExitCode.LOCKED
    assert "Another run of this pipeline is under way" in result.stdout
    assert not list(Path(pushed.home).glob("*.unfinished"))


def test_everything_is_read_again_if_that_is_asked(pushed: Project) -> None:
    forced = headrace("run", str(pushed.config_path), "--until", "ExampleGen", "--force", "ExampleGen")
    assert forced.returncode == ExitCode.OK, forced.stdout
    assert states(pushed)["ExampleGen"] == "done"
    assert "as an earlier run has read them" not in forced.stdout
