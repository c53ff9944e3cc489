"""Does a warm start help? A model of the flights' spans 1–10, and then one of spans 2–11, fresh or started from it.

    .venv/bin/python -m benchmarks.warm_start [FOLDER]

AUC and log loss are those on span 12, which neither model has seen; seconds are those of the whole Trainer. Data is
read and transformed by the pipeline itself, in FOLDER (kept, so that a second time is quick) or in a temporary one.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import yaml
from ml_metadata.proto import metadata_store_pb2 as pb
from sklearn.metrics import log_loss, roc_auc_score
from tfx.components.trainer.fn_args_utils import FnArgs

from models.batches import examples_dataset
from models.config import TrainingConfig
from models.features import model_features
from models.trainer import load_keras_model, run_fn
from pipeline.config import PipelineConfig, find_config, load_config, to_yaml
from pipeline.metadata import History, open_store
from schema.contract import load_schema
from storage.places import at

SEEDS = EPOCHS = (1, 2, 3)


class Window(NamedTuple):
    """What Transform made of the spans of one run."""

    graph: str
    examples: str


def transform(newest: int, folder: Path) -> tuple[PipelineConfig, Window]:
    """Runs the pipeline for one window as far as Transform."""
    raw = yaml.safe_load(to_yaml(load_config(find_config("flights"))))
    raw |= {"root": str(folder / "root"), "push": {"path": str(folder / "models")}}
    raw["data"]["window"]["newest"] = newest
    path = folder / "flights.yaml"
    path.write_text(yaml.safe_dump(raw))
    command = [sys.executable, "-m", "pipeline", "run", str(path), "--until", "Transform"]
    with (folder / "output.log").open("ab") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True)
    config = load_config(path)
    history = History(open_store(config.home, config.metadata), config.name)
    outputs = history.artifacts(history.executions_of_node("Transform")[-1].id, pb.Event.OUTPUT)
    return config, Window(outputs["transform_graph"][0].uri, outputs["transformed_examples"][0].uri)


def train(config: PipelineConfig, window: Window, out: Path, base: Path | None, **training: Any) -> dict[str, float]:
    """Trains one model into `out`; gives its metrics on the newest span."""
    features = model_features(load_schema(at(config.schema_path)), config.features, config.label.name)
    (out / "run").mkdir(parents=True)
    arguments = FnArgs(
        train_files=[f"{window.examples}/Split-train/*"],
        eval_files=[f"{window.examples}/Split-eval/*"],
        transform_graph_path=window.graph,
        model_run_dir=str(out / "run"),
        serving_model_dir=str(out / "saved"),
        base_model=base and str(base / "saved"),
        custom_config={
            "features": [feature.to_json() for feature in features],
            "label": config.label.model_dump(mode="json"),
            "model": config.model.model_dump(mode="json"),
            "training": config.training.model_dump(mode="json") | training,
        },
    )
    start = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr):
        run_fn(arguments)
    seconds = time.monotonic() - start
    dataset = examples_dataset(
        arguments.eval_files, tft.TFTransformOutput(window.graph), config.label.name, TrainingConfig(), shuffle=False
    )
    labels = np.concatenate([label for _, label in dataset])
    scores = tf.sigmoid(load_keras_model(out / "run").predict(dataset, verbose=0)).numpy()
    return {"auc": roc_auc_score(labels, scores), "log_loss": log_loss(labels, scores), "seconds": seconds}


def main(folder: Path) -> None:
    """Measures and prints the table: mean and standard deviation over the seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    config, earlier = transform(11, folder)
    _, later = transform(12, folder)
    print(f"{'start':<8}{'epochs':>8}{'AUC':>18}{'log loss':>18}{'seconds':>10}")
    with tempfile.TemporaryDirectory() as scratch:
        bases = [Path(scratch) / f"base-{seed}" for seed in SEEDS]
        for seed, base in zip(SEEDS, bases, strict=True):
            train(config, earlier, base, None, seed=seed)
        for start in ("fresh", "warm"):
            for epochs in EPOCHS:
                results = []
                for seed, base in zip(SEEDS, bases, strict=True):
                    out = Path(scratch) / f"{start}-{epochs}-{seed}"
                    training = {"seed": seed, "epochs": epochs, "warm_start": start == "warm"}
                    results.append(train(config, later, out, base, **training))
                auc, loss, seconds = ([each[key] for each in results] for key in ("auc", "log_loss", "seconds"))
                row = f"{start:<8}{epochs:>8}{_spread(auc):>18}{_spread(loss):>18}{statistics.mean(seconds):>10.1f}"
                print(row, flush=True)


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
