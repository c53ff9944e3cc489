"""Configuration → TFX pipeline. Reads like the picture in ARCHITECTURE.md, top to bottom."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfx.components.example_validator.component import ExampleValidator
from tfx.components.trainer.component import Trainer
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2

from data.spans import EVAL, TRAIN
from models.features import label_feature, model_features
from pipeline.code import code_fingerprint
from pipeline.components.distribution_validator import DistributionValidator
from pipeline.components.example_gen import ExampleGen
from pipeline.components.gate import DataGate, InfraGate, Passed, QualityGate
from pipeline.components.history import (
    History,
    base_model_of,
    earlier_analysis,
    evaluator_class,
    last_good_examples,
    latest_blessed_model,
)
from pipeline.components.import_schema_gen import ImportSchemaGen
from pipeline.components.infra_validator import InfraValidator
from pipeline.components.pusher import Pusher
from pipeline.components.reference_gen import ReferenceGen
from pipeline.components.statistics_gen import StatisticsGen
from pipeline.components.transform import Transform
from pipeline.config import PipelineConfig
from pipeline.gates.quality import eval_config
from pipeline.gates.verdict import GateName
from pipeline.metadata import connection_config
from schema.contract import load_schema
from storage.places import at

_PROFILED_BY = [
    "data/columns.py",
    "data/records.py",
    "monitoring/diagnosis",
    "pipeline/components/examples_files.py",
    *(
        f"monitoring/{name}.py"
        for name in (
            *("bins", "checks", "examples", "explain", "measures", "neighbours", "null", "profile", "profiling"),
            *("related", "relations", "report", "rows"),
        )
    ),
]
_SCORED_BY = [
    *(
        f"monitoring/{name}.py"
        for name in (
            "bins",
            "calibration",
            "examples",
            "neighbours",
            "profile",
            "quality",
            "reference",
            "rows",
            "scoring",
            "slicing",
        )
    ),
    "data/columns.py",
    "data/records.py",
    "pipeline/components/examples_files.py",
    "serving/session_model.py",
]
_EVALUATED_BY = [
    *(f"data/{name}.py" for name in ("columns", "decoding", "records")),
    *(f"pipeline/components/{name}.py" for name in ("batch_metrics", "evaluation", "evaluator", "pushed")),
    "serving/session_model.py",
]
"""The sources that three of the nodes run: a change of theirs is not answered from the cache."""

_WHERE = {"metadata", "root", "targets"}
"""Where a pipeline runs and keeps its records: neither a model's, nor anyone's who is given the model."""

Accepted = Mapping[GateName, Mapping[str, str]]
"""What a person accepted: gate → key of the finding → reason."""


def build_pipeline(config: PipelineConfig, accepted: Accepted, history: History = History.METADATA) -> Pipeline:
    """The whole pipeline. Where its Beam components run is not said here, see `pipeline.beam`.

    Args:
        config: What to build.
        accepted: Findings of the gates that a person accepted.
        history: Where it finds what it did before.

    Raises:
        SchemaError: The schema is missing or wrong, or has no feature for the model.
    """
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=config.artifacts,
        components=_nodes(config, accepted, history),
        metadata_connection_config=(
            connection_config(config.metadata, config.home) if history is History.METADATA else None
        ),
        enable_cache=True,
    )


def _nodes(config: PipelineConfig, accepted: Accepted, history: History) -> list[BaseNode]:
    schema = load_schema(at(config.schema_path))
    features = [feature.to_json() for feature in model_features(schema, config.features, config.label.name)]
    gates = config.gates.model_dump_json()

    example_gen = ExampleGen(
        data=config.data,
        schema=schema,
        exclude=list(config.features.exclude),
        label=config.label.name,
        code=code_fingerprint(
            "data",
            "pipeline/components/example_gen.py",
            "pipeline/components/examples_plan.py",
            "pipeline/components/seen_spans.py",
            "pipeline/components/shares.py",
        ),
    )
    examples = example_gen.outputs["examples"]
    statistics_gen = StatisticsGen(
        examples=examples,
        code=code_fingerprint(
            *(f"data/{name}.py" for name in ("columns", "decoding", "records")), "pipeline/components/statistics_gen.py"
        ),
    )
    schema_gen = ImportSchemaGen(config.schema_path)
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    last_good = last_good_examples(history, examples, config.push.path)
    distribution_validator = DistributionValidator(
        examples=examples,
        schema=schema_gen.outputs["schema"],
        last_good_examples=last_good.outputs["examples"],
        features=json.dumps([*features, label_feature(config.label.name, schema).to_json()]),
        label=config.label.name,
        false_alarm_rate=config.monitor.false_alarm_rate,
        fewest_rows=config.monitor.fewest_rows,
        code=code_fingerprint(*_PROFILED_BY, "pipeline/components/distribution_validator.py"),
    )
    analysis = earlier_analysis(history, examples)
    data_gate = DataGate(
        examples=examples,
        anomalies=example_validator.outputs["anomalies"],
        drift=distribution_validator.outputs["anomalies"],
        schema=schema_gen.outputs["schema"],
        config=config.gates.data.model_dump_json(),
        accepted=_accepted(accepted, GateName.DATA),
        code=_gate_code("data", "drift"),
    )

    with Passed(data_gate):
        transform = Transform(
            examples=examples,
            schema=schema_gen.outputs["schema"],
            preprocessing_fn="models.preprocessing.preprocessing_fn",
            custom_config={
                "features": features,
                "label": config.label.name,
                "code": code_fingerprint(
                    "data/ahead.py",
                    "data/columns.py",
                    "data/dense_examples.py",
                    "data/records.py",
                    "models/blocks.py",
                    "models/features.py",
                    "models/preprocessing.py",
                    "models/vocabularies.py",
                    "schema/contract.py",
                    "pipeline/components/analysis.py",
                    "pipeline/components/examples_files.py",
                    "pipeline/components/shares.py",
                    "pipeline/components/transform.py",
                    "pipeline/components/transform_examples.py",
                ),
            },
            analyzer_cache=analysis.outputs["analyzer_cache"] if analysis else None,
        )
        base_model = base_model_of(history, examples, config.push.path) if config.training.warm_start else None
        trainer = Trainer(
            examples=transform.outputs["transformed_examples"],
            transform_graph=transform.outputs["transform_graph"],
            base_model=base_model.outputs["base_model"] if base_model else None,
            run_fn="models.trainer.run_fn",
            train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
            eval_args=trainer_pb2.EvalArgs(splits=[EVAL]),
            custom_config=_training(config, features),
        )
        model = trainer.outputs["model"]
        infra_validator = InfraValidator(
            model=model,
            model_run=trainer.outputs["model_run"],
            examples=examples,
            transform_graph=transform.outputs["transform_graph"],
            config=config.gates.infra.model_dump_json(),
            features=json.dumps(features),
            task=config.label.task,
            code=code_fingerprint(
                "serving/check.py",
                "serving/records.py",
                "serving/session_model.py",
                "pipeline/components/infra_validator.py",
                "pipeline/gates/infra.py",
            ),
        )
        baseline = latest_blessed_model(history, model, config.push.path)
        evaluator = evaluator_class(history)(
            examples=examples,
            model=model,
            baseline_model=baseline.outputs["baseline"],
            eval_config=eval_config(config.label, config.gates.quality),
            example_splits=[EVAL],
            code=code_fingerprint(*_EVALUATED_BY),
        )
        infra_gate = InfraGate(
            blessing=infra_validator.outputs["blessing"],
            model=model,
            accepted=_accepted(accepted, GateName.INFRA),
            code=_gate_code("infra"),
        )

        with Passed(infra_gate):
            quality_gate = QualityGate(
                evaluation=evaluator.outputs["evaluation"],
                model=model,
                config=gates,
                accepted=_accepted(accepted, GateName.QUALITY),
                code=_gate_code("quality"),
            )
            reference_gen = ReferenceGen(
                examples=examples,
                model=model,
                profile=distribution_validator.outputs["profile"],
                label=config.label.model_dump_json(),
                slices=json.dumps(config.monitor.slices),
                code=code_fingerprint(*_SCORED_BY, "pipeline/components/reference_gen.py"),
            )

            with Passed(quality_gate):
                pusher = Pusher(
                    model=model,
                    examples=examples,
                    schema=schema_gen.outputs["schema"],
                    statistics=statistics_gen.outputs["statistics"],
                    evaluation=evaluator.outputs["evaluation"],
                    reference=reference_gen.outputs["reference"],
                    data_verdict=data_gate.outputs["verdict"],
                    quality_verdict=quality_gate.outputs["verdict"],
                    infra_verdict=infra_gate.outputs["verdict"],
                    infra_blessing=infra_validator.outputs["blessing"],
                    pipeline=config.name,
                    path=config.push.path,
                    config=config.model_dump_json(by_alias=True, exclude=_WHERE),
                    code=code_fingerprint(
                        *(f"serving/{name}.py" for name in ("canary", "push", "rollback", "versions", "warmup")),
                        "pipeline/components/pusher.py",
                    ),
                )

    return [
        example_gen, statistics_gen, schema_gen, example_validator, last_good, distribution_validator,
        *([analysis] if analysis else []), data_gate, transform, *([base_model] if base_model else []), trainer,
        infra_validator, baseline, evaluator, infra_gate, quality_gate, reference_gen, pusher,
    ]  # fmt: skip


def _training(config: PipelineConfig, features: list[dict[str, Any]]) -> dict[str, Any]:
    training = config.training
    if config.data.window is None:  # the files are in no order of time
        training = training.model_copy(update={"newest_last": False})
    return {
        "features": features,
        "label": config.label.model_dump(mode="json"),
        "model": config.model.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "code": code_fingerprint("models"),
    }


def _accepted(accepted: Accepted, gate: GateName) -> str:
    return json.dumps(accepted.get(gate, {}), sort_keys=True)


def _gate_code(*gates: str) -> str:
    modules = (f"pipeline/gates/{gate}.py" for gate in gates)
    return code_fingerprint("pipeline/components/gate.py", "pipeline/gates/verdict.py", *modules)
