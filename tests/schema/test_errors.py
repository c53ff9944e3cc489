"""A user's mistake is one paragraph, and survives the way from one process to another."""

import pickle

import pytest
from ml_metadata.errors import InternalError

from schema import errors
from schema.errors import DataError, ExitCode, HeadraceError, SchemaError, metadata_error

KINDS = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HeadraceError)),
    key=lambda kind: kind.__name__,
)


def test_the_text_is_one_paragraph_of_all_that_is_known():
    error = DataError(
        "The column 'x' has the wrong type",
        where="data/part.csv",
        expected="int64",
        received="string",
        mend="Mend the data.",
    )
    assert str(error) == (
        "The column 'x' has the wrong type. Where: data/part.csv. Expected: int64. Received: string. Mend the data."
    )


def test_what_is_not_known_is_not_told():
    assert str(DataError("The split is empty", expected="one row")) == "The split is empty. Expected: one row."
    assert str(DataError("The split is empty")) == "The split is empty."


def test_a_full_stop_that_is_there_is_not_doubled():
    assert str(DataError("No", received="Empty CSV file.")) == "No. Received: Empty CSV file."


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "parts",
    [{}, {"where": "a\nb: “c”", "expected": "x", "received": "y", "mend": "z"}],
    ids=["only what", "all parts"],
)
class TestEveryKind:
    def test_survives_json(self, kind, parts):
        self.assert_same(HeadraceError.from_json(kind("It broke", **parts).to_json()), kind("It broke", **parts))

    def test_survives_pickling(self, kind, parts):
        self.assert_same(pickle.loads(pickle.dumps(kind("It broke", **parts))), kind("It broke", **parts))

    @staticmethod
    def assert_same(back, error):
        assert type(back) is type(error)
        assert (back.what, back.where, back.expected, back.received, back.mend) == error.args
        assert str(back) == str(error)
        assert back.exit_code is error.exit_code


def test_json_of_an_unknown_kind_is_still_the_same_paragraph():
    text = SchemaError("It broke", where="here").to_json().replace("SchemaError", "ErrorOfALaterVersion")
    back = HeadraceError.from_json(text)
    assert type(back) is HeadraceError
    assert str(back) == "It broke. Where: here."


def test_exit_codes_tell_the_kinds_apart():
    codes = [kind.exit_code for kind in KINDS]
    assert len(set(codes)) == len(codes)
    assert ExitCode.OK not in codes
    assert HeadraceError.exit_code is ExitCode.INTERNAL


def test_a_metadata_store_that_is_gone_is_told_as_one() -> None:
    told = metadata_error(InternalError("connection lost"))
    assert told is not None
    assert told.exit_code is ExitCode.METADATA
    assert "InternalError: connection lost" in str(told)
    assert metadata_error(ValueError("a bug")) is None
