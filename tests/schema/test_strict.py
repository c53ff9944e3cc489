"""A misspelt key is an error, and a configuration does not change."""

import pytest
from pydantic import ValidationError

from schema.strict import Strict


class Inner(Strict):
    size: int = 1


class Outer(Strict):
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("raw", "where"), [({"inn": {}}, ("inn",)), ({"inner": {"sise": 2}}, ("inner", "sise"))], ids=["top", "nested"]
)
def test_an_unknown_key_is_refused_with_its_place(raw, where):
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(raw)
    (error,) = caught.value.errors()
    assert error["type"] == "extra_forbidden"
    assert error["loc"] == where


def test_known_keys_are_taken():
    assert Outer.model_validate({"inner": {"size": 2}}).inner.size == 2


def test_a_field_cannot_be_set_after_the_fact():
    config = Outer()
    with pytest.raises(ValidationError):
        config.inner = Inner(size=2)
    assert config.inner.size == 1
