"""What TensorFlow's Session does with a signature that the server must make good."""

import numpy as np
import pytest

from serving.server import json_response
from serving.server.loading import LoadOptions, load_servable
from serving.server.status import StatusError


@pytest.fixture(scope="module")
def zoo(zoo_base):
    servable = load_servable(LoadOptions(), "zoo", 1, str(zoo_base / "1"))
    yield servable
    servable.close()


def texts(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def test_a_text_without_dimensions(zoo):
    (joined,) = zoo.signatures["to_scalar_text"].run([texts(b"a", b"b\0")])
    assert json_response.columns({"joined": joined}) == b'{"outputs":"ab\\u0000"}'


def test_a_number_without_dimensions(zoo):
    (total,) = zoo.signatures["to_scalar"].run([np.array([1, 2], np.float32)])
    assert json_response.columns({"total": total}) == b'{"outputs":3.0}'


def test_a_failure_that_quotes_the_request(zoo):
    with pytest.raises(StatusError, match="could not correctly convert string: abc"):
        zoo.signatures["to_number"].run([texts(b"1", b"abc")])


def test_a_failure_that_quotes_bytes(zoo):
    with pytest.raises(StatusError, match="could not correctly convert string: "):
        zoo.signatures["to_number"].run([texts(b"1", b"\xff")])
