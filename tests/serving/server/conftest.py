"""Models to serve, and one server that serves them."""

from __future__ import annotations

import pytest
from hypothesis import settings
from model_server import model_config, start_server
from served_models import save_half_plus_two, save_zoo

settings.register_profile("server", deadline=None)  # a busy machine must not make a test fail
settings.load_profile("server")


@pytest.fixture(scope="session")
def half_plus_two_base(tmp_path_factory):
    """The folder of half_plus_two's one version, 123."""
    return save_half_plus_two(tmp_path_factory.mktemp("half_plus_two"), 123)


@pytest.fixture(scope="session")
def zoo_base(tmp_path_factory):
    """The folder of a model with a signature for everything: see `served_models.Zoo`."""
    return save_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="session")
def server(half_plus_two_base, zoo_base, tmp_path_factory):
    """A server that batches what arrives together; tests must leave it able to answer."""
    folder = tmp_path_factory.mktemp("server")
    config = folder / "models.config"
    config.write_text(model_config({"half_plus_two": half_plus_two_base, "zoo": zoo_base}))
    parameters = folder / "batching.config"
    parameters.write_text("max_batch_size { value: 100000 }")
    flags = [f"--batching_parameters_file={parameters}", "--enable_batching"]
    flags += [f"--model_config_file={config}", "--rest_api_timeout_in_ms=2000", "--enable_prometheus"]
    flags += ["--rest_api_enable_cors_support", "--max_request_bytes=1000000"]
    with start_server(flags, log_path=folder / "log") as running:
        yield running
