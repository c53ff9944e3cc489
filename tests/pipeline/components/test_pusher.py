"""Pusher: a model is published, tried first, or refused, and the artifact says which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from object_stores import memory
from tensorflow_serving.apis import predict_pb2
from tfx.types.standard_artifacts import (
    Examples,
    ExampleStatistics,
    InfraBlessing,
    Model,
    ModelEvaluation,
    PushedModel,
    Schema,
)
from upath import UPath
from version_folders import states

from pipeline.components.artifacts import GateVerdict, ModelReference
from pipeline.components.pusher import PusherExecutor
from serving.canary import CONFIG_FILE, under_way
from serving.rollback import restore, roll_back
from serving.versions import find, read_manifest, versions
from serving.warmup import WARMUP_FILE
from storage.places import names_below, upload


@pytest.fixture
def push(tmp_path: Path):
    """Pushes a model that differs from others by its name; gives what the artifact says."""

    def artifact_in(kind: type, name: str, files: dict[str, str]) -> Any:
        artifact = kind()
        artifact.uri = str(tmp_path / "artifacts" / name)
        for path, content in files.items():
            (Path(artifact.uri) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(artifact.uri) / path).write_text(content)
        return artifact

    def act(name: str, canary: dict[str, float] | None = None, store: UPath | None = None) -> dict[str, Any]:
        inputs = {
            "model": artifact_in(Model, f"model-{name}", {"Format-Serving/saved_model.pb": name}),
            "examples": artifact_in(Examples, "examples", {}),
            "schema": artifact_in(Schema, "schema", {"schema.pbtxt": ""}),
            "statistics": artifact_in(ExampleStatistics, "statistics", {"Split-train/FeatureStats.pb": ""}),
            "evaluation": artifact_in(ModelEvaluation, "evaluation", {"metrics": ""}),
            "reference": artifact_in(ModelReference, "reference", {"reference.json": "{}"}),
            "infra_blessing": artifact_in(InfraBlessing, "blessing", {}),
        }
        Path(inputs["infra_blessing"].uri).mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(f"{inputs['infra_blessing'].uri}/requests.tfrecord") as writer:
            writer.write(predict_pb2.PredictRequest().SerializeToString())
        for key in ("data_verdict", "quality_verdict", "infra_verdict"):
            inputs[key] = artifact_in(GateVerdict, key, {"verdict.json": "{}"})
        inputs["model"].id = 7
        inputs["examples"].set_string_custom_property("window", "spans 1 to 3")
        if store is not None:
            for key, artifact in inputs.items():
                upload(Path(artifact.uri), store / "artifacts" / key)
                artifact.uri = str(store / "artifacts" / key)
        pushed = PushedModel()
        properties = {
            "path": str((tmp_path if store is None else store) / "models"),
            "pipeline": "flights",
            "config": json.dumps({"monitor": {"canary": canary}}),
        }
        PusherExecutor().Do({key: [each] for key, each in inputs.items()}, {"pushed_model": [pushed]}, properties)
        texts = ("pushed_version", "pushed_destination", "refused")
        numbers = ("pushed", "is_new", "is_candidate")
        return {key: pushed.get_string_custom_property(key) for key in texts} | {
            key: pushed.get_int_custom_property(key) for key in numbers
        }

    return act


def test_published(push, tmp_path) -> None:
    said = push("a")
    [version] = versions(tmp_path / "models")
    assert said == {
        "pushed_version": str(version),
        "pushed_destination": str(tmp_path / "models" / str(version)),
        "refused": "",
        "pushed": 1,
        "is_new": 1,
        "is_candidate": 0,
    }
    manifest = read_manifest(tmp_path / "models" / str(version))
    assert (manifest["model_id"], manifest["window"]) == (7, "spans 1 to 3")
    assert not (tmp_path / "models" / CONFIG_FILE).exists()


def test_tried_first(push, tmp_path) -> None:
    push("a", canary={"share": 0.1})
    [stable] = versions(tmp_path / "models")
    said = push("b", canary={"share": 0.1})
    trial = under_way(tmp_path / "models").candidate
    assert (said["pushed_version"], said["is_candidate"], said["is_new"]) == (str(trial.version), 1, 1)
    labels = (tmp_path / "models" / CONFIG_FILE).read_text()
    assert f"value: {stable}\n" in labels
    assert f"value: {trial.number}\n" in labels


def test_rolled_back_before(push, tmp_path) -> None:
    base_path = tmp_path / "models"
    push("a")
    version = int(push("b")["pushed_version"])
    roll_back(base_path, None, "the label was flipped")
    before = states(base_path)
    said = push("b")
    assert (said["pushed"], said["is_new"], said["refused"]) == (0, 0, "the label was flipped")
    assert said["pushed_destination"] == str(find(base_path, version))
    assert states(base_path) == before
    restore(base_path, version)
    said = push("b")
    assert (said["pushed"], said["is_new"], said["refused"]) == (1, 0, "")


def test_from_an_object_store_to_an_object_store(push) -> None:
    with memory() as store:
        said = push("a", canary={"share": 0.1}, store=store)
        [version] = versions(store / "models")
        path = store / "models" / str(version)
        assert (said["pushed_destination"], said["pushed"]) == (str(path), 1)
        assert read_manifest(path)["window"] == "spans 1 to 3"
        kept = names_below(path)
        assert {"saved_model.pb", str(WARMUP_FILE)} < set(kept)
        assert {f"assets.extra/headrace/{name}" for name in ("schema.pbtxt", "verdicts/infra_verdict.json")} < set(kept)
        assert f"value: {version}" in (store / "models" / CONFIG_FILE).read_text()
