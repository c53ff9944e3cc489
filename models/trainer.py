"""Fits the configured architecture on transformed examples and exports it: the Trainer component's `run_fn`."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from absl import logging
from pydantic import TypeAdapter
from tfx.components.trainer.fn_args_utils import FnArgs

from models.architectures import build
from models.architectures.inputs import ModelInput
from models.batches import examples_dataset
from models.config import LabelConfig, ModelConfig, TrainingConfig
from models.features import Feature
from models.input_bound import INPUT_BOUND, InputBound, TimedModel
from models.preprocessing import id_count, input_shapes
from models.signatures import ServedModel
from models.warm_start import begin, leave, meaning_of
from storage.places import Place, at, local_copy, upload

KERAS_MODEL = "model.keras"
"""The trained Keras model in the model-run folder: the trainer's own, before any export."""

HISTORY = "history.csv"
"""Loss, metrics and the share of waiting for data (`models.input_bound`) by epoch, in the model-run folder."""

_STEPS_PER_EXECUTION = 32


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports one model.

    Args:
        fn_args: From TFX. `custom_config` holds `features`, `label`, `model` and `training` as plain values;
            `base_model` is the model to start from, if any.

    Raises:
        DataError: There are no transformed examples.
    """
    config = fn_args.custom_config
    label = LabelConfig.model_validate(config["label"])
    training = TrainingConfig.model_validate(config["training"])
    architecture: ModelConfig = TypeAdapter(ModelConfig).validate_python(config["model"])
    features = [Feature.from_json(raw) for raw in config["features"]]

    keras.utils.set_random_seed(training.seed)
    tf.config.experimental.enable_op_determinism()
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    model = build(architecture, model_inputs(features, transform))
    meaning = meaning_of(model, features, label, transform)
    start = begin(model, meaning, training, fn_args.base_model)
    start.save(at(fn_args.model_run_dir))
    timed = TimedModel(model)
    compile_model(timed, label, training)
    timed.summary(print_fn=logging.info)
    train = examples_dataset(fn_args.train_files, transform, label.name, training, shuffle=True)
    with tempfile.TemporaryDirectory(prefix="headrace-") as model_run:  # Keras writes to this machine only
        history = keras.callbacks.CSVLogger(Path(model_run, HISTORY))
        timed.fit(train, epochs=start.epochs, verbose=2, callbacks=[InputBound(), history])
        model.save(Path(model_run, KERAS_MODEL))
        upload(Path(model_run), at(fn_args.model_run_dir))
    ServedModel(model, transform, features, label.task).save(fn_args.serving_model_dir)
    leave(model, meaning, fn_args.serving_model_dir)


def model_inputs(features: list[Feature], transform: tft.TFTransformOutput) -> list[ModelInput]:
    """What the model reads, in the order of the features."""
    return [
        ModelInput(name, shape, id_count(feature, transform))
        for feature in features
        for name, shape in input_shapes(feature).items()
    ]


def compile_model(model: keras.Model, label: LabelConfig, training: TrainingConfig) -> None:
    """Gives the model its loss and optimizer (AdamW, https://arxiv.org/abs/1711.05101)."""
    binary = label.task == "binary"
    optimizer = keras.optimizers.AdamW(training.learning_rate, weight_decay=training.weight_decay)
    optimizer.build(model.trainable_variables)  # else made while the step is traced, which is then traced twice
    metrics: list[Any] = [keras.metrics.AUC(from_logits=True, name="auc")] if binary else []
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.BinaryCrossentropy(from_logits=True) if binary else keras.losses.MeanSquaredError(),
        metrics=metrics,
        steps_per_execution=_STEPS_PER_EXECUTION,
        jit_compile=False,  # compiling for the CPU takes longer than it saves
    )


def load_keras_model(model_run: Place) -> keras.Model:
    """The trained model that `run_fn` left in the model-run folder."""
    with local_copy(model_run) as folder:
        return keras.saving.load_model(folder / KERAS_MODEL, compile=False)


def input_bound_share(model_run: Place) -> float:
    """The share of the last epoch's time that waited for data, as `run_fn` left it in the model-run folder."""
    epochs = list(csv.DictReader((model_run / HISTORY).read_text(encoding="utf-8").splitlines()))
    return float(epochs[-1][INPUT_BOUND])
