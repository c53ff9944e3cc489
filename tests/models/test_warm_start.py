"""A warm start keeps what was learned about each value, wherever its row lies now; or it changes nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from memory_places import new_place
from tensorflow_metadata.proto.v0 import schema_pb2

from models.architectures import build
from models.config import LabelConfig, LinearConfig, MlpConfig, TrainingConfig
from models.features import Feature, Role
from models.trainer import model_inputs
from models.warm_start import FOLDER, RECORD, begin, leave, meaning_of

NUMBER = Feature("distance", Role.NUMERIC, schema_pb2.INT, required=False)
FLAG = Feature("refundable", Role.BOOLEAN, schema_pb2.BYTES, required=False, values=("yes",))
CARRIER = Feature("carrier", Role.CATEGORICAL, schema_pb2.BYTES, required=False, values=("AA", "B6", "UA"))
TAIL = Feature("tailnum", Role.VOCABULARY, schema_pb2.BYTES, required=False, size=100)
FLIGHT = Feature("flight", Role.HASHED, schema_pb2.INT, required=False, size=8)
NOTE = Feature("note", Role.TEXT, schema_pb2.BYTES, required=False, size=16)
FEATURES = [NUMBER, FLAG, CARRIER, TAIL, FLIGHT, NOTE]
TAILS = (b"N14228", b"N24211", b"N619AA")
OTHER_TAILS = (b"N619AA", b"N99999", b"N14228")

MLP = MlpConfig(architecture="mlp", units=(6,), embedding_dimension=3)
LABEL = LabelConfig(name="late")
WARM = TrainingConfig(warm_start=True, warm_epochs=2, epochs=5)


class Vocabularies:
    """What of a transform graph counts here: one learned vocabulary."""

    def __init__(self, tails):
        self.tails = tails

    def vocabulary_by_name(self, name):
        assert name == TAIL.name
        return list(self.tails)

    def vocabulary_size_by_name(self, name):
        return len(self.vocabulary_by_name(name))


def make(features=FEATURES, tails=TAILS, config=MLP, label=LABEL, seed=0):
    """A model all of whose weights are random, and their meaning."""
    model = build(config, model_inputs(features, Vocabularies(tails)))
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    return model, meaning_of(model, features, label, Vocabularies(tails))


def weights_of(model):
    return {weight.path: weight.numpy() for weight in model.weights}


@pytest.fixture
def base(tmp_path):
    """The weights of an earlier model, by name; and the place of its SavedModel, beside which they lie."""
    model, meaning = make()
    saved = str(tmp_path / "base" / "Format-Serving")
    leave(model, meaning, saved)
    return weights_of(model), saved


def start(saved, training=WARM, **changed):
    """Starts a new model: its weights before and after, and the record."""
    model, meaning = make(seed=1, **changed)
    before = weights_of(model)
    record = begin(model, meaning, training, saved)
    return before, weights_of(model), record


class TestCopy:
    def test_the_same_features_and_values_have_the_same_weights(self, base):
        _, weights, record = start(base[1])
        assert record.warm
        assert record.base_model == base[1]
        assert set(record.weights) == set(weights) == set(base[0])
        for name, expected in base[0].items():
            np.testing.assert_array_equal(weights[name], expected)

    def test_a_value_keeps_its_row_wherever_it_lies_now(self, base):
        before, weights, record = start(base[1], tails=OTHER_TAILS)
        old, fresh, new = (each["embed_tailnum/embeddings"] for each in (base[0], before, weights))
        missing, n14228, _, n619aa, unknown = old
        np.testing.assert_array_equal(new, [missing, n619aa, fresh[2], n14228, unknown])
        assert record.rows["tailnum"].model_dump() == {"kept": 2, "new": 1, "gone": 1}
        assert record.rows["carrier"].model_dump() == {"kept": 3, "new": 0, "gone": 0}

    def test_the_number_of_values_may_change(self, base):
        _, weights, _ = start(base[1], tails=(*OTHER_TAILS, b"N5", b"N6", b"N7"))
        old, new = (each["embed_tailnum/embeddings"] for each in (base[0], weights))
        assert new.shape == (8, 3)
        np.testing.assert_array_equal(new[[0, 1, 3, 7]], old[[0, 3, 1, 4]])

    def test_a_domain_may_grow(self, base):
        grown = replace(CARRIER, values=("9E", *CARRIER.values))
        _, weights, record = start(base[1], features=[grown if each is CARRIER else each for each in FEATURES])
        old, new = (each["embed_carrier/embeddings"] for each in (base[0], weights))
        np.testing.assert_array_equal(new[[0, 2, 3, 4, 5]], old)
        assert record.rows["carrier"].new == 1

    def test_values_that_are_no_text_are_values_too(self, tmp_path):
        model, meaning = make(tails=(b"\xff\x00", b"\xc3\xa9"))
        leave(model, meaning, str(tmp_path / "saved"))
        _, weights, _ = start(str(tmp_path / "saved"), tails=(b"\xc3\xa9", b"\xff\x00"))
        old, new = (each["embed_tailnum/embeddings"] for each in (weights_of(model), weights))
        np.testing.assert_array_equal(new, old[[0, 2, 1, 3]])

    def test_an_embedding_without_a_common_value_keeps_missing_and_unknown(self, base):
        before, weights, record = start(base[1], tails=(b"N1", b"N2", b"N3"))
        old, fresh, new = (each["embed_tailnum/embeddings"] for each in (base[0], before, weights))
        np.testing.assert_array_equal(new, [old[0], *fresh[1:4], old[-1]])
        assert record.rows["tailnum"].model_dump() == {"kept": 0, "new": 3, "gone": 3}

    def test_what_a_warm_model_leaves_is_what_the_next_one_starts_from(self, base, tmp_path):
        model, meaning = make(tails=OTHER_TAILS, seed=1)
        begin(model, meaning, WARM, base[1])
        leave(model, meaning, str(tmp_path / "second" / "saved"))
        _, weights, _ = start(str(tmp_path / "second" / "saved"), tails=TAILS)
        old, new = (each["embed_tailnum/embeddings"] for each in (base[0], weights))
        np.testing.assert_array_equal(new[[0, 1, 3, 4]], old[[0, 1, 3, 4]])

    def test_the_same_model_leaves_the_same_bytes(self, base, tmp_path):
        model, meaning = make()
        leave(model, meaning, str(tmp_path / "again" / "saved"))
        files = {each.name: each.read_bytes() for each in (tmp_path / "again" / FOLDER).iterdir()}
        assert files == {each.name: each.read_bytes() for each in (tmp_path / "base" / FOLDER).iterdir()}


class TestEpochs:
    def test_a_warm_start_may_have_fewer(self, base):
        assert start(base[1])[2].epochs == 2

    def test_without_a_number_of_its_own_it_has_as_many(self, base):
        assert start(base[1], TrainingConfig(warm_start=True, epochs=5))[2].epochs == 5

    def test_a_fresh_start_has_its_own(self):
        assert start(None)[2].epochs == 5


class TestFresh:
    def check(self, saved, reason, training=WARM, **changed):
        before, after, record = start(saved, training, **changed)
        assert not record.warm
        assert record.epochs == training.epochs
        assert not record.weights
        assert reason in record.reason
        for name, expected in before.items():
            np.testing.assert_array_equal(after[name], expected)

    def test_when_it_is_not_wanted(self, base):
        self.check(base[1], "off", TrainingConfig(warm_epochs=1))

    def test_when_there_is_no_base_model(self):
        self.check(None, "no earlier blessed model")

    @pytest.mark.parametrize(
        ("features", "reason"),
        [
            ([each for each in FEATURES if each is not FLAG], "-refundable: boolean BYTES"),
            ([*FEATURES, replace(NUMBER, name="seats")], "+seats: numeric INT"),
            ([CARRIER, *(each for each in FEATURES if each is not CARRIER)], "another order"),
            ([replace(each, role=Role.BOOLEAN) if each is NUMBER else each for each in FEATURES], "+distance: boolean"),
            ([replace(each, values=("no",)) if each is FLAG else each for each in FEATURES], '["no"]'),
            (
                [replace(each, size=9) if each is FLIGHT else each for each in FEATURES],
                "+flight: hashed INT, 9 buckets",
            ),
        ],
    )
    def test_when_the_features_changed(self, base, features, reason):
        self.check(base[1], reason, features=features)

    def test_when_the_architecture_changed(self, base):
        self.check(base[1], "mlp → linear", config=LinearConfig(architecture="linear"))

    def test_when_a_layer_has_another_size(self, base):
        self.check(base[1], "hidden_0", config=MLP.model_copy(update={"units": (7,)}))

    def test_when_a_layer_was_added(self, base):
        self.check(base[1], "hidden_1", config=MLP.model_copy(update={"units": (6, 6)}))

    def test_when_an_embedding_has_another_width(self, base):
        self.check(base[1], "embedding of carrier", config=MLP.model_copy(update={"embedding_dimension": 2}))

    def test_when_so_few_values_are_left_that_their_embedding_is_narrower(self, base):
        self.check(base[1], "embedding of tailnum is 2 wide, not 3", tails=(b"N14228",))

    def test_when_the_label_changed(self, base):
        self.check(base[1], "late (binary) → delay (regression)", label=LabelConfig(name="delay", task="regression"))

    def test_when_the_base_model_left_nothing(self, tmp_path):
        self.check(str(tmp_path / "Format-Serving"), "before models left their weights")

    @pytest.mark.parametrize("name", ["weights.npz", "meaning.json"])
    @pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b""])
    def test_when_what_it_left_is_damaged(self, base, tmp_path, name, damage):
        file = tmp_path / "base" / FOLDER / name
        file.write_bytes(damage(file.read_bytes()))
        self.check(base[1], "cannot be read")


def test_the_rows_of_a_real_vocabulary_are_told_right(analysis, make_row):
    model = build(LinearConfig(architecture="linear"), model_inputs(analysis.features, analysis.transform))
    meaning = meaning_of(model, analysis.features, LABEL, analysis.transform)
    by_name = {feature: ["", *values] for feature, values in meaning.values.items()}
    rows = [make_row(number) for number in range(40)]
    inputs = analysis.inputs_of(rows)
    for name in ("tailnum", "origin", "cabin"):
        told = [(by_name[name] + ["unknown"])[row] for row in inputs[name]]
        known = set(meaning.values[name])
        expected = [str(row.get(name, "")) for row in rows]
        assert told == [value if value in known or not value else "unknown" for value in expected]
    for name, values in meaning.values.items():
        assert model.get_layer(f"embed_{name}").input_dim == len(values) + 2


def test_the_record_is_written(base, tmp_path):
    _, _, record = start(base[1], tails=OTHER_TAILS)
    record.save(tmp_path)
    assert json.loads((tmp_path / RECORD).read_text())["rows"]["tailnum"] == {"kept": 2, "new": 1, "gone": 1}


def test_the_base_model_may_lie_in_an_object_store():
    place = new_place()
    model, meaning = make()
    leave(model, meaning, str(place / "Format-Serving"))
    _, weights, record = start(str(place / "Format-Serving"))
    assert record.warm
    for name, expected in weights_of(model).items():
        np.testing.assert_array_equal(weights[name], expected)
    record.save(place)
    assert json.loads((place / RECORD).read_text())["warm"]
    (place / FOLDER / "weights.npz").unlink()
    assert "before models left their weights" in start(str(place / "Format-Serving"))[2].reason
