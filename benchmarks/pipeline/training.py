"""Stock TFX's training, as its Keras templates write it: `tf_dataset_factory`, `repeat` and steps.

The model, its optimizer and its batches are Headrace's. Of the templates' ways, those are left out that would only
cost stock TFX time on one machine without accelerators: MirroredStrategy, TensorBoard, compiling the step with XLA
(Keras' default) and a signature of the transformed features, which the Evaluator does not need here.
"""

from __future__ import annotations

import keras
import tensorflow as tf
import tensorflow_transform as tft
from pydantic import TypeAdapter
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.public import tfxio

from benchmarks.pipeline.preprocessing import id_count
from models.architectures import build
from models.architectures.inputs import ModelInput
from models.config import LabelConfig, ModelConfig, TrainingConfig
from models.features import Feature
from models.preprocessing import input_shapes
from models.signatures import output_name

SIGNATURE = "serving_default"


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports one model; `custom_config` is as for `models.trainer.run_fn`."""
    config = fn_args.custom_config
    label = LabelConfig.model_validate(config["label"])
    training = TrainingConfig.model_validate(config["training"])
    architecture: ModelConfig = TypeAdapter(ModelConfig).validate_python(config["model"])
    features = [Feature.from_json(raw) for raw in config["features"]]
    transform = tft.TFTransformOutput(fn_args.transform_output)
    inputs = [
        ModelInput(name, shape, id_count(feature, transform))
        for feature in features
        for name, shape in input_shapes(feature).items()
    ]

    keras.utils.set_random_seed(training.seed)
    model = build(architecture, inputs)
    model.compile(
        optimizer=keras.optimizers.AdamW(training.learning_rate, weight_decay=training.weight_decay),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.AUC(from_logits=True, name="auc")],
        jit_compile=False,
    )
    model.fit(
        _input_fn(fn_args.train_files, fn_args, transform, label.name, training.batch_size),
        steps_per_epoch=fn_args.train_steps,
        validation_data=_input_fn(fn_args.eval_files, fn_args, transform, label.name, training.batch_size),
        validation_steps=fn_args.eval_steps,
        verbose=2,
    )
    _export(model, transform, label, fn_args.serving_model_dir)


def _input_fn(
    files: list[str], fn_args: FnArgs, transform: tft.TFTransformOutput, label: str, batch_size: int
) -> tf.data.Dataset:
    options = tfxio.TensorFlowDatasetOptions(batch_size=batch_size, label_key=label)
    return fn_args.data_accessor.tf_dataset_factory(files, options, transform.transformed_metadata.schema).repeat()


def _export(model: keras.Model, transform: tft.TFTransformOutput, label: LabelConfig, path: str) -> None:
    layer = transform.transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_tf_examples_fn(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = transform.raw_feature_spec()
        spec.pop(label.name)
        transformed = layer(tf.io.parse_example(serialized, spec))
        return {output_name(label.task): tf.sigmoid(model(transformed, training=False))}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.track(layer)
    archive.add_endpoint(SIGNATURE, serve_tf_examples_fn)
    archive.write_out(path, verbose=False)
