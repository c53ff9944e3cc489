"""Training reads every example once an epoch, and the same seed makes the same model."""

import csv

import numpy as np
import pytest
import tensorflow as tf

from models.config import TrainingConfig
from models.signatures import ServedModel
from models.trainer import HISTORY, examples_dataset, load_keras_model, model_inputs
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
