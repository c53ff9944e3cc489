"""Which configurations are refused, and in which words."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from serving.server.model_config import platform_of, single_model, validate
from serving.server.status import Code, StatusError

PLATFORM = 'model_platform: "tensorflow"'


def parse(*models):
    blocks = "".join(f"config {{ {model} }}" for model in models)
    return text_format.Parse(f"model_config_list {{ {blocks} }}", ModelServerConfig())


def refused(config):
    with pytest.raises(StatusError) as caught:
        validate(config)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


def test_flags_for_one_model():
    (model,) = validate(single_model("m", "/models/m"))
    assert (model.name, model.base_path, platform_of(model)) == ("m", "/models/m", "tensorflow")


def test_several_models():
    one, two = f'name: "a" base_path: "/a" {PLATFORM}', 'name: "b" base_path: "/b" model_type: TENSORFLOW'
    listed = validate(parse(one, two))
    assert [model.name for model in listed] == ["a", "b"]
    assert [platform_of(model) for model in listed] == ["tensorflow", "tensorflow"]


def test_two_models_may_share_a_folder():
    assert len(validate(parse(*(f'name: "{name}" base_path: "/a" {PLATFORM}' for name in "ab")))) == 2


def test_a_list_may_be_empty():
    assert validate(parse()) == []


def test_a_name_that_is_given_twice():
    model = f'name: "a" base_path: "/a" {PLATFORM}'
    assert refused(parse(model, model)) == "Illegal to list model a multiple times in config list"


@pytest.mark.parametrize("path", ["models/a", "./a", "", "~/a"])
def test_a_relative_path(path):
    told = refused(parse(f'name: "a" base_path: "{path}" {PLATFORM}'))
    assert told == f"Expected model a to have an absolute path or URI; got base_path()={path}"


@pytest.mark.parametrize(
    ("platform", "told"),
    [
        ('model_platform: "pytorch"', "Model a requests unsupported platform pytorch"),
        ("", "Illegal setting neither ModelServerConfig::model_type (deprecated) nor"),
        (f"model_type: TENSORFLOW {PLATFORM}", "Illegal setting both ModelServerConfig::model_type (deprecated) and"),
        ("model_type: OTHER", "ModelServerConfig::model_type choice 2 not supported."),
    ],
)
def test_a_platform_that_is_not_served(platform, told):
    assert refused(parse(f'name: "a" base_path: "/a" {platform}')).startswith(told)


def test_a_custom_config_is_not_supported():
    config = ModelServerConfig()
    config.custom_model_config.SetInParent()
    assert "Invalid ServerModelConfig" in refused(config)
