"""Which models a server serves: `ModelServerConfig`, from a file, from flags, or from a client that reloads it."""

from __future__ import annotations

from tensorflow_serving.config import model_server_config_pb2

from serving.server.status import StatusError, invalid_argument

TENSORFLOW = "tensorflow"
_TENSORFLOW_TYPE = 1


def single_model(name: str, base_path: str) -> model_server_config_pb2.ModelServerConfig:
    """The configuration that `--model_name` and `--model_base_path` stand for."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=TENSORFLOW)
    return config


def platform_of(config: model_server_config_pb2.ModelConfig) -> str:
    """The platform of a model.

    Raises:
        StatusError: None is given, or two are.
    """
    if config.model_type:
        if config.model_platform:
            raise _illegal("both ModelServerConfig::model_type (deprecated) and", config.name)
        if config.model_type != _TENSORFLOW_TYPE:
            raise invalid_argument(f"ModelServerConfig::model_type choice {config.model_type} not supported.")
        return TENSORFLOW
    if not config.model_platform:
        raise _illegal("neither ModelServerConfig::model_type (deprecated) nor", config.name)
    return str(config.model_platform)


def validate(config: model_server_config_pb2.ModelServerConfig) -> list[model_server_config_pb2.ModelConfig]:
    """The models of a configuration.

    Raises:
        StatusError: A name is given twice, a path is relative, or a platform is not TensorFlow's.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid_argument("Invalid ServerModelConfig")
    listed = list(config.model_config_list.config)
    names: set[str] = set()
    for each in listed:
        if each.name in names:
            raise invalid_argument(f"Illegal to list model {each.name} multiple times in config list")
        names.add(each.name)
        if not each.base_path.startswith("/"):
            raise invalid_argument(
                f"Expected model {each.name} to have an absolute path or URI; got base_path()={each.base_path}"
            )
        if platform_of(each) != TENSORFLOW:
            raise invalid_argument(f"Model {each.name} requests unsupported platform {platform_of(each)}")
    return listed


def _illegal(told: str, name: str) -> StatusError:
    return invalid_argument(f"Illegal setting {told} ModelServerConfig::model_platform, model name is {name}")
