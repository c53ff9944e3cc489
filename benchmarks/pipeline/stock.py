"""The flights pipeline as TFX's guide and templates write it, on LocalDagRunner, in a process of its own.

    python -m benchmarks.pipeline.stock CONFIG.yaml SPLITS TRAIN_ROWS EVAL_ROWS

Where there is a choice, stock TFX has the faster one: its modules are imported one by one (`tfx.v1` takes seconds
more), user code is an import path (a `module_file` is built and installed as a wheel for each node), a container image
is named (without it TFX builds itself as a package for each Beam component), and a loaded model is not tried
(InfraValidator needs Docker). All else is TFX's default, Transform's statistics too.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tfx.components.evaluator.component import Evaluator
from tfx.components.example_gen.csv_example_gen.component import CsvExampleGen
from tfx.components.example_validator.component import ExampleValidator
from tfx.components.pusher.component import Pusher
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.trainer.component import Trainer
from tfx.components.transform.component import Transform
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2
from tfx.types import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from benchmarks.pipeline.flights import EVAL, TRAIN
from benchmarks.pipeline.training import SIGNATURE
from models.features import model_features
from pipeline.beam import IN_MEMORY
from pipeline.config import PipelineConfig, load_config
from pipeline.gates.quality import eval_config
from pipeline.metadata import METADATA_FILE
from schema.contract import load_schema
from storage.places import at


def build_pipeline(config: PipelineConfig, splits: Path, train_rows: int, eval_rows: int) -> Pipeline:
    """The pipeline.

    Args:
        config: What Headrace's pipeline is built from.
        splits: The folder with the CSV files, in a folder for each split.
        train_rows: In the training split; each is trained on once, as in an epoch.
        eval_rows: In the evaluation split.
    """
    label = config.label.name
    features = [each.to_json() for each in model_features(load_schema(at(config.schema_path)), config.features, label)]

    example_gen = CsvExampleGen(
        input_base=str(splits),
        input_config=example_gen_pb2.Input(
            splits=[example_gen_pb2.Input.Split(name=split, pattern=f"{split}/*.csv") for split in (TRAIN, EVAL)]
        ),
    )
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = ImportSchemaGen(schema_file=config.schema_path)
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="benchmarks.pipeline.preprocessing.preprocessing_fn",
        custom_config={"features": features, "label": label},
    )
    trainer = Trainer(
        run_fn="benchmarks.pipeline.training.run_fn",
        examples=transform.outputs["transformed_examples"],
        schema=schema_gen.outputs["schema"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=trainer_pb2.TrainArgs(num_steps=_steps(train_rows, config)),
        eval_args=trainer_pb2.EvalArgs(num_steps=_steps(eval_rows, config)),
        custom_config={
            "features": features,
            "label": config.label.model_dump(mode="json"),
            "model": config.model.model_dump(mode="json"),
            "training": config.training.model_dump(mode="json"),
        },
    )
    model_resolver = Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id("LatestBlessedModel")
    evaluation = eval_config(config.label, config.gates.quality)
    for spec in evaluation.model_specs:
        spec.signature_name = SIGNATURE
    evaluator = Evaluator(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=model_resolver.outputs["model"],
        eval_config=evaluation,
    )
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=config.push.path)
        ),
    )
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=config.artifacts,
        components=[
            example_gen, statistics_gen, schema_gen, example_validator, transform, trainer, model_resolver, evaluator,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=sqlite_metadata_connection_config(str(config.home / METADATA_FILE)),
        beam_pipeline_args=list(IN_MEMORY),
    )  # fmt: skip


def _steps(rows: int, config: PipelineConfig) -> int:
    return config.training.epochs * -(-rows // config.training.batch_size)


if __name__ == "__main__":
    path, folder, rows_to_train, rows_to_evaluate = sys.argv[1:]
    LocalDagRunner().run(
        build_pipeline(load_config(Path(path)), Path(folder), int(rows_to_train), int(rows_to_evaluate))
    )
