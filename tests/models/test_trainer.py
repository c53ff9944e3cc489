"""Training reads every example once an epoch, and the same seed makes the same model."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from memory_places import new_place
from tfx.components.trainer.fn_args_utils import FnArgs

from models.config import TrainingConfig
from models.signatures import ServedModel
from models.trainer import HISTORY, KERAS_MODEL, examples_dataset, load_keras_model, model_inputs, run_fn
from models.warm_start import FOLDER, RECORD
from schema.errors import DataError

ROWS = 40
SHARDS = 3


@pytest.fixture
def epoch(analysis, transformed):
    """The numbers of the examples in the order in which an epoch reads them, for one or more epochs."""
    folder, inputs = transformed
    numbers = {value: number for number, value in enumerate(inputs["fixed"].tolist())}

    def read(epochs=1, *, shuffle=True, **training):
        dataset = examples_dataset(
            [str(folder / "part-*")], analysis.transform, "late", TrainingConfig(**training), shuffle=shuffle
        )
        return [[numbers[value] for batch, _ in dataset for value in batch["fixed"].numpy().tolist()]] + [
            [numbers[value] for batch, _ in dataset for value in batch["fixed"].numpy().tolist()]
            for _ in range(epochs - 1)
        ]

    return read


def files_read(order):
    """The files of examples, each where its first one is."""
    return list(dict.fromkeys(number * SHARDS // ROWS for number in order))


class TestExamplesDataset:
    @pytest.mark.parametrize("shuffle", [True, False])
    def test_every_example_is_read_once_an_epoch(self, epoch, shuffle):
        for order in epoch(2, shuffle=shuffle, batch_size=7):
            assert sorted(order) == list(range(ROWS))

    def test_the_same_seed_reads_in_the_same_order(self, epoch):
        assert epoch(2, seed=5) == epoch(2, seed=5)

    def test_another_seed_reads_in_another_order(self, epoch):
        assert epoch(seed=5) != epoch(seed=6)

    def test_each_epoch_has_its_own_order(self, epoch):
        first, second = epoch(2, seed=5)
        assert first != second

    def test_shuffling_mixes_the_shards(self, epoch):
        (order,) = epoch(seed=5)
        shard = [number * SHARDS // ROWS for number in order[: ROWS // 2]]
        assert set(shard) == set(range(SHARDS))

    def test_without_shuffling_the_order_stays(self, epoch):
        first, second = epoch(2, shuffle=False, seed=1)
        assert first == second == epoch(shuffle=False, seed=2)[0]

    @pytest.fixture
    def one_by_one(self, monkeypatch):
        """Sets how many files are open at once; each then gives one example in turn, and nothing else is shuffled."""

        def set_most(most):
            for name, value in {"_OPEN_FILES": most, "_BLOCK": 1, "_SHUFFLE_BUFFER": 1}.items():
                monkeypatch.setattr(f"models.trainer.{name}", value)

        return set_most

    def test_of_more_files_than_that_only_so_many_are_open(self, epoch, one_by_one):
        assert files_read(epoch(shuffle=False)[0][:ROWS]) == [0, 1, 2]
        one_by_one(2)
        order = epoch(shuffle=False)[0]
        assert sorted(order) == list(range(ROWS))
        first = [number * SHARDS // ROWS for number in order[: ROWS // 2]]
        assert set(first) == {0, 1}
        one_by_one(1)
        assert epoch(shuffle=False)[0] == list(range(ROWS))

    def test_more_files_than_that_are_read_in_an_order_of_the_seed(self, epoch, one_by_one):
        one_by_one(1)
        orders = {seed: [files_read(order) for order in epoch(2, seed=seed)] for seed in range(3)}
        assert orders == {seed: [files_read(order) for order in epoch(2, seed=seed)] for seed in orders}
        assert all(sorted(files) == [0, 1, 2] for found in orders.values() for files in found)
        assert len({tuple(first) for first, _ in orders.values()}) > 1
        assert any(first != second for first, second in orders.values())

    def test_fewer_files_are_read_in_their_own_order(self, epoch, one_by_one):
        one_by_one(SHARDS)
        (order,) = epoch(seed=1)
        assert files_read(order[:SHARDS]) == [0, 1, 2]
        assert epoch(seed=2) == [order]

    def test_batches_hold_inputs_by_name_and_the_label(self, analysis, transformed):
        folder, inputs = transformed
        training = TrainingConfig(batch_size=16)
        dataset = examples_dataset([str(folder / "*")], analysis.transform, "late", training, shuffle=False)
        batches = list(dataset)
        assert [len(label) for _, label in batches] == [16, 16, 8]
        for batch, label in batches:
            assert label.dtype == tf.float32
            assert label.shape.rank == 1
            assert set(batch) == set(inputs) - {"late"}
        labels = np.concatenate([label for _, label in batches])
        fixed = np.concatenate([batch["fixed"] for batch, _ in batches])
        by_value = dict(zip(inputs["fixed"].tolist(), inputs["late"].tolist(), strict=True))
        assert labels.tolist() == [by_value[value] for value in fixed.tolist()]

    def test_several_patterns_are_read_together(self, analysis, transformed):
        folder, _ = transformed
        patterns = [str(folder / "part-0*"), str(folder / "part-2*")]
        dataset = examples_dataset(patterns, analysis.transform, "late", TrainingConfig(), shuffle=False)
        assert sum(len(label) for _, label in dataset) == ROWS - ROWS // SHARDS

    def test_no_files_is_an_error_that_names_them(self, analysis, tmp_path):
        with pytest.raises(DataError) as caught:
            examples_dataset([str(tmp_path / "*")], analysis.transform, "late", TrainingConfig(), shuffle=True)
        assert caught.value.where == str(tmp_path / "*")


def test_model_inputs_are_in_the_order_of_the_features(analysis):
    features = [analysis.feature(name) for name in ("tailnum", "temp", "note", "departure")]
    described = [(each.name, each.shape, each.id_count) for each in model_inputs(features, analysis.transform)]
    assert described == [
        ("tailnum", (), 5),
        ("temp", (), None),
        ("temp_missing", (), None),
        ("note", (32,), None),
        ("departure", (11,), None),
        ("departure_missing", (), None),
    ]


class TestRunFn:
    """What it saves for serving is tested in test_signatures.py."""

    def test_the_same_seed_trains_the_same_model(self, trained, train, monkeypatch):
        # Exporting takes longer than all else and was done once.
        monkeypatch.setattr(ServedModel, "save", lambda self, path: None)
        first, second = (load_keras_model(run).get_weights() for run in (trained[0], train()[0]))
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_every_epoch_leaves_a_line_of_history_and_learns(self, trained):
        with (trained[0] / HISTORY).open() as file:
            history = list(csv.DictReader(file))
        assert [line["epoch"] for line in history] == ["0", "1", "2"]
        assert {"auc", "loss"} < set(history[0])
        assert float(history[2]["loss"]) < float(history[0]["loss"])
        assert float(history[2]["auc"]) > float(history[0]["auc"])


class TestWarmStart:
    """What is copied is tested in test_warm_start.py."""

    @pytest.fixture(scope="class")
    def train_again(self, analysis, transformed, trained, tmp_path_factory):
        """Trains, given the model that `trained` left; gives the model-run folder and what the next may start from."""

        def run(**training):
            folder = tmp_path_factory.mktemp("again")
            model_run = folder / "run"
            model_run.mkdir()
            run_fn(
                FnArgs(
                    train_files=[str(transformed[0] / "part-[01]*")],
                    eval_files=[str(transformed[0] / "part-2*")],
                    transform_graph_path=str(analysis.graph),
                    model_run_dir=str(model_run),
                    serving_model_dir=str(folder / "model" / "saved"),
                    base_model=str(trained[1]),
                    custom_config={
                        "features": [feature.to_json() for feature in analysis.features],
                        "label": {"name": "late", "task": "binary"},
                        "model": {"architecture": "linear"},
                        "training": {"epochs": 3, "batch_size": 8, "learning_rate": 0.03, "seed": 3} | training,
                    },
                )
            )
            return model_run, {each.name: each.read_bytes() for each in (folder / "model" / FOLDER).iterdir()}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ServedModel, "save", lambda self, path: None)
            yield run

    @pytest.fixture(scope="class")
    def warm(self, train_again):
        return train_again(warm_start=True, warm_epochs=1)

    def test_training_goes_on_where_the_base_model_ended(self, trained, warm):
        model_run, _ = warm
        first, later = (list(csv.DictReader((run / HISTORY).open())) for run in (trained[0], model_run))
        assert len(later) == 1
        assert float(later[0]["loss"]) < float(first[-1]["loss"])
        record = json.loads((model_run / RECORD).read_text())
        assert record["warm"]
        assert record["base_model"] == str(trained[1])

    def test_the_same_seed_and_base_train_the_same_model_byte_for_byte(self, warm, train_again):
        assert train_again(warm_start=True, warm_epochs=1)[1] == warm[1]

    def test_a_base_model_that_is_not_wanted_changes_nothing(self, trained, train_again):
        model_run, left = train_again()
        assert left == {each.name: each.read_bytes() for each in (trained[1].parent / FOLDER).iterdir()}
        for run in (trained[0], model_run):
            assert not json.loads((run / RECORD).read_text())["warm"]


def test_what_keras_writes_may_go_to_an_object_store(train, trained):
    place = new_place()
    train(str(place))
    assert {path.name for path in place.iterdir()} == {HISTORY, RECORD, KERAS_MODEL}
    for one, other in zip(load_keras_model(place).weights, load_keras_model(trained[0]).weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
