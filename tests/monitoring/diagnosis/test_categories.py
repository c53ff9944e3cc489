"""Faults injected into real flights are named, at three sizes; other flights are not called a fault."""

import zlib

import numpy as np
import pytest

from monitoring.diagnosis import CategoricalSummary, diagnose_category

ALL = {"carrier", "origin", "dest", "tailnum", "flight"}
LETTERS = ALL - {"flight"}
SIZES = (300, 2_000, 20_000)


def each(change, share=1.0):
    def apply(values, random):
        hit = random.random(len(values)) < share
        return np.array([change(v) if v is not None and h else v for v, h in zip(values, hit, strict=True)], object)

    return apply


def renamed(names):
    return each(lambda value: names.get(value, value))


def without(value):
    return lambda values, random: values[values != value]


# Features, the fault, the least size from which on it is named, and words of the name.
FAULTS = [
    ("stuck", ALL, lambda v, r: np.full(len(v), b"7", object), 300, ("stuck", "'7'")),
    ("30% missing", ALL, each(lambda v: None, 0.3), 300, ("no value",)),
    ("all missing", ALL, each(lambda v: None), 300, ("lack a value",)),
    ("lower case", LETTERS, each(bytes.lower), 300, ("letter case changed",)),
    ("30% lower case", LETTERS, each(bytes.lower, 0.3), 300, ("letter case changed in",)),
    ("trailing space", ALL, each(lambda v: v + b" "), 300, ("white space",)),
    ("30% padded", ALL, each(lambda v: b"  " + v, 0.3), 300, ("white space",)),
    ("quotes", ALL, each(lambda v: b'"' + v + b'"'), 300, ("quotes",)),
    ("bytes as Python shows them", ALL, each(lambda v: repr(v).encode()), 300, ("Python",)),
    ("UTF-16", ALL, each(lambda v: v.decode().encode("utf-16-le")), 300, ("encoding",)),
    ("with .0", {"flight"}, each(lambda v: v + b".0"), 300, ("formatted otherwise",)),
    ("leading zeros", {"flight"}, each(lambda v: v.zfill(5)), 300, ("leading zeros",)),
    ("a prefix", ALL, each(lambda v: b"id_" + v), 300, ("prefix 'id_' was added",)),
    ("a prefix lost", {"tailnum"}, each(lambda v: v.removeprefix(b"N")), 300, ("prefix 'N' was taken away",)),
    ("cut off", {"carrier", "dest"}, each(lambda v: v[:1]), 300, ("cut off",)),
    ("one renamed", {"carrier"}, renamed({b"UA": b"United"}), 300, ("'UA' is gone and 'United' has its share",)),
    ("one renamed", {"origin"}, renamed({b"EWR": b"Newark"}), 300, ("'EWR' is gone and 'Newark' has its share",)),
    ("one renamed", {"dest"}, renamed({b"ATL": b"Atlanta"}), 300, ("'ATL' is gone and 'Atlanta' has its share",)),
    ("three renamed", {"carrier"}, renamed({b"UA": b"United", b"DL": b"Delta", b"AA": b"American"}), 300,
     ("are gone and", "renamed")),
    ("coded", {"carrier", "origin", "dest"}, each(lambda v: str(zlib.crc32(v)).encode()), 300, ("unknown to",)),
    ("two exchanged", {"carrier"}, renamed({b"UA": b"AA", b"AA": b"UA"}), 20_000, ("'UA' and 'AA' have exchanged",)),
    ("one gone", {"carrier"}, without(b"UA"), 300, ("'UA'", "gone")),
    ("one gone", {"origin"}, without(b"JFK"), 300, ("'JFK'", "gone")),
    ("one gone", {"dest"}, without(b"ATL"), 2_000, ("'ATL'", "gone")),
    *((f"20% {word}", ALL, each(lambda v, word=word: word.encode(), 0.2), 300, (f"% of values are '{word}'", "filled"))
      for word in ("unknown", "N/A", "nan", "other")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("feature", "fault", "least", "words"),
    [
        pytest.param(feature, fault, least, words, id=f"{feature}: {name}")
        for name, features, fault, least, words in FAULTS
        for feature in sorted(features)
    ],
)
def test_an_injected_fault_is_named(feature, fault, least, words, before, after):
    random = np.random.default_rng(zlib.crc32(feature.encode()))
    for size in SIZES:
        if size < least:
            continue
        current = CategoricalSummary.of(fault(random.choice(after[feature], size, replace=False), random).tolist())
        found = diagnose_category(before[feature], current)
        assert found is not None, size
        assert found.is_fault, (size, found)
        assert all(word in found.text for word in words), (size, found)


@pytest.mark.parametrize("feature", sorted(ALL))
def test_a_month_is_no_fault_against_the_ten_others(feature, flights):
    random = np.random.default_rng(3)
    for month in (1, 4, 7, 12):
        others = [number for number in range(1, 13) if number != month][:10]
        reference = CategoricalSummary.of(flights.values(feature, others).tolist())
        values = flights.values(feature, (month,))
        for rows in (values, values[:2_000], values[-300:], random.choice(values, 300)):
            found = diagnose_category(reference, CategoricalSummary.of(rows.tolist()))
            assert found is None or not found.is_fault, (month, len(rows), found)


@pytest.mark.parametrize("size", SIZES)
def test_a_new_carrier_is_news(size, before, after):
    random = np.random.default_rng(size)
    values = each(lambda v: b"XX", 0.03)(random.choice(after["carrier"], size, replace=False), random)
    found = diagnose_category(before["carrier"], CategoricalSummary.of(values.tolist()))
    assert not found.is_fault
    assert found.text.startswith("a new value 'XX' in ")


@pytest.mark.parametrize("damage", [lambda v: v.decode().encode("latin-1"), lambda v: v.decode("latin-1").encode()])
def test_a_damaged_encoding_is_recognised(damage):
    cities = ["Zürich", "Genève", "Málaga", "Bern"]
    good = [city.encode() for city in cities] * 100
    found = diagnose_category(CategoricalSummary.of(good), CategoricalSummary.of([damage(each) for each in good]))
    assert found.is_fault
    assert "encoding is damaged" in found.text


def test_more_flights_somewhere_are_told_in_plain_words(before, after):
    random = np.random.default_rng(5)
    values = each(lambda v: b"MIA", 0.05)(random.choice(after["dest"], 5_000), random)
    found = diagnose_category(before["dest"], CategoricalSummary.of(values.tolist()))
    assert not found.is_fault
    assert found.text.startswith("'MIA' rose from 3.4% to ")
