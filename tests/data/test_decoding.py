"""Batches of examples are decoded as tfx_bsl decodes them, whatever they hold."""

from __future__ import annotations

import pyarrow as pa
import pytest
import tensorflow as tf
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from data import decoding
from data.decoding import ExamplesDecoder
from data.records import ExamplesParser

ROWS = 20


def example(**features: list[int] | list[float] | list[bytes] | None) -> bytes:
    """Lists of a type, an empty list of floats, or no list at all."""
    found = tf.train.Example()
    for name, values in features.items():
        feature = found.features.feature[name]
        if values is None:
            continue
        if values and isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif values and isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.SetInParent()
            feature.float_list.value.extend(values)
    return found.SerializeToString()


PLAIN = [example(i=[n - 5], f=[n / 4], b=[b"\xff" * n]) for n in range(1, ROWS)]


@pytest.fixture(autouse=True)
def learns_from_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_LEARNED_ROWS", 4)


def exactly(examples: list[bytes]) -> pa.RecordBatch:
    return ExamplesToRecordBatchDecoder().DecodeBatch(examples)


@pytest.mark.parametrize(
    "late",
    [
        pytest.param([example()], id="an example of nothing"),
        pytest.param([b""], id="an empty record"),
        pytest.param([example(i=None, f=[1.0])], id="a feature without a list"),
        pytest.param([example(i=[1], f=[])], id="an empty list"),
        pytest.param([example(i=[1, 2], f=[0.5] * 300, b=[b"", b"x" * 70000])], id="several values, and long ones"),
        pytest.param([example(i=[2**63 - 1]), example(i=[-(2**63)], f=[float("inf")])], id="the largest numbers"),
        pytest.param([example(i=[1], new=[2])], id="a feature that no row had before"),
        pytest.param([example(**{"n" * 200: [2], "é": [b"x"]})], id="long names, and foreign ones"),
        pytest.param([example(**{f"f{n}": [1.0] for n in range(40)})], id="many features"),
        pytest.param([PLAIN[0] + PLAIN[1]], id="two examples that are one message"),
        pytest.param([PLAIN[0] + b"\x12\x00"], id="a field that nobody knows"),
    ],
)
def test_as_tfx_bsl_decodes_it(late: list[bytes]) -> None:
    for examples in ([*PLAIN, *late], [*late, *PLAIN], [*PLAIN, *late, *PLAIN]):
        decoder = ExamplesDecoder()
        for _ in range(2):  # before and after its features are known
            assert decoder.decode(examples).equals(exactly(examples))


def test_plain_examples_are_not_decoded_by_tfx_bsl(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = ExamplesDecoder()
    decoder.decode(PLAIN)
    monkeypatch.delattr(decoding.ExamplesToRecordBatchDecoder, "DecodeBatch")
    assert decoder.decode([*PLAIN, example(b=[b"x"])]).num_rows == ROWS


def test_another_type_in_a_later_batch() -> None:
    """A file may be of a source whose column became another type."""
    decoder = ExamplesDecoder()
    decoder.decode(PLAIN)
    others = [example(i=[n / 2]) for n in range(ROWS)]
    for examples in (others, PLAIN, others):
        assert decoder.decode(examples).to_pydict()["i"] == exactly(examples).to_pydict()["i"]


def test_columns_stay_when_a_batch_has_none_of_them() -> None:
    decoder = ExamplesDecoder()
    decoder.decode([example(a=[1], b=[b"x"], never=None)])
    decoded = decoder.decode([example(b=[b"y"])])
    assert decoded.to_pydict() == {"a": [None], "b": [[b"y"]], "never": [None]}


def test_no_rows() -> None:
    decoder = ExamplesDecoder()
    assert decoder.decode([]).num_rows == 0
    decoder.decode(PLAIN)
    assert decoder.decode([]).num_rows == 0


@pytest.mark.parametrize("record", [b"x", b"\xff\xff\xff", PLAIN[0][:-1]])
def test_a_record_that_is_no_example(record: bytes) -> None:
    with pytest.raises(RuntimeError):
        ExamplesDecoder().decode([*PLAIN, record])


def test_two_types_in_a_batch() -> None:
    with pytest.raises(RuntimeError):
        ExamplesDecoder().decode([*PLAIN, example(i=[1.5])])


def test_the_parser_is_told_the_types_that_tfx_bsl_found() -> None:
    types = {field.name: decoding._feature_type(field.type) for field in exactly(PLAIN).schema}
    assert ExamplesParser(types).parse(PLAIN).equals(exactly(PLAIN))
