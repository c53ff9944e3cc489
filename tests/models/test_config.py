"""The `model:` section is read by its architecture; what is misspelt is refused."""

import pytest
from pydantic import TypeAdapter, ValidationError

from models.config import FeaturesConfig, LabelConfig, LinearConfig, MlpConfig, ModelConfig, TrainingConfig

MODEL = TypeAdapter(ModelConfig)


def refused(validate, raw):
    with pytest.raises(ValidationError) as caught:
        validate(raw)
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "config"),
    [
        ({"architecture": "linear"}, LinearConfig(architecture="linear")),
        ({"architecture": "mlp", "units": [8, 4]}, MlpConfig(architecture="mlp", units=(8, 4))),
    ],
    ids=["linear", "mlp"],
)
def test_the_architecture_chooses_the_type(raw, config):
    assert MODEL.validate_python(raw) == config
    assert MODEL.validate_json(config.model_dump_json()) == config


def test_an_unknown_architecture_is_refused_with_the_choice():
    told = refused(MODEL.validate_python, {"architecture": "transformer"})
    assert "'linear'" in told
    assert "'mlp'" in told


def test_the_architecture_must_be_named():
    assert "architecture" in refused(MODEL.validate_python, {"units": [8]})


def test_a_key_of_another_architecture_is_refused():
    assert "linear.units" in refused(MODEL.validate_python, {"architecture": "linear", "units": [8]})


@pytest.mark.parametrize(
    "wrong",
    [{"units": [8, 0]}, {"dropout": 1}, {"dropout": -0.1}, {"embedding_dimension": 0}, {"unit": [8]}],
    ids=str,
)
def test_a_wrong_size_is_refused_with_its_place(wrong):
    (key,) = wrong
    assert f"mlp.{key}" in refused(MODEL.validate_python, {"architecture": "mlp", **wrong})


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (LabelConfig, {"name": "late", "task": "ranking"}),
        (LabelConfig, {"name": ""}),
        (LabelConfig, {"name": "late", "weight": 2}),
        (FeaturesConfig, {"exclude": {"dep_time": ""}}),
        (FeaturesConfig, {"exclude": ["dep_time"]}),
        (FeaturesConfig, {"hashed": {"flight": 0}}),
        (FeaturesConfig, {"vocabulary": 10}),
        (TrainingConfig, {"epochs": 0}),
        (TrainingConfig, {"learning_rate": 0}),
        (TrainingConfig, {"weight_decay": -1}),
        (TrainingConfig, {"seed": -1}),
        (TrainingConfig, {"epoch": 1}),
    ],
)
def test_other_sections_refuse_what_makes_no_sense(kind, raw):
    refused(kind.model_validate, raw)


def test_a_label_is_binary_unless_told():
    assert LabelConfig(name="late").task == "binary"
    assert LabelConfig(name="delay", task="regression").task == "regression"
