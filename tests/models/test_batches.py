"""Training reads every example once an epoch, shuffled, in an order that the seed decides."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from models import batches
from models.batches import examples_dataset
from models.config import TrainingConfig
from schema.errors import DataError

ROWS = 40
SHARDS = 3


@pytest.fixture
def epoch(analysis, transformed):
    """The numbers of the examples in the order in which an epoch reads them, for one or more epochs."""
    folder, inputs = transformed
    numbers = {value: number for number, value in enumerate(inputs["fixed"].tolist())}

    def read(epochs=1, *, shuffle=True, **training):
        config = TrainingConfig(**{"newest_last": False, **training})
        dataset = examples_dataset([str(folder / "part-*")], analysis.transform, "late", config, shuffle=shuffle)
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
            for name, value in {"_OPEN_FILES": most, "_TAKEN_IN_TURN": 1, "BLOCK_ROWS": 1}.items():
                monkeypatch.setattr(f"models.batches.{name}", value)

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
        orders = {seed: [files_read(order) for order in epoch(2, seed=seed, shuffle_rows=1)] for seed in range(3)}
        assert orders == {seed: [files_read(order) for order in epoch(2, seed=seed, shuffle_rows=1)] for seed in orders}
        assert all(sorted(files) == [0, 1, 2] for found in orders.values() for files in found)
        assert len({tuple(first) for first, _ in orders.values()}) > 1
        assert any(first != second for first, second in orders.values())

    def test_fewer_files_are_read_in_their_own_order(self, epoch, one_by_one):
        one_by_one(SHARDS)
        (order,) = epoch(seed=1, shuffle_rows=1)
        assert files_read(order[:SHARDS]) == [0, 1, 2]
        assert epoch(seed=2, shuffle_rows=1) == [order]

    def test_the_newest_may_come_last(self, epoch):
        (order,) = epoch(shuffle_rows=1, newest_last=True)
        assert order == list(range(ROWS))
        first, second = epoch(2, shuffle_rows=20, newest_last=True)
        assert first != second
        assert np.mean(first[: ROWS // 2]) < np.mean(first[ROWS // 2 :])

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


class TestMemory:
    """What is kept for the next epoch. Here a block is two rows and a mebibyte is a block."""

    @pytest.fixture
    def read(self, analysis, transformed, monkeypatch):
        """Reads for some epochs; gives the values read in each, and how many blocks were parsed for it."""
        parse, parsed = batches.Columns.parse, []

        def parse_and_count(columns, examples):
            with tf.control_dependencies([tf.numpy_function(lambda: parsed.append(1), [], [])]):
                return parse(columns, tf.identity(examples))

        row_bytes = batches.Columns(analysis.transform.transformed_feature_spec()).row_bytes
        for name, value in {"BLOCK_ROWS": 2, "_TAKEN_IN_TURN": 2, "_MEBIBYTE": 2 * row_bytes}.items():
            monkeypatch.setattr(batches, name, value)
        monkeypatch.setattr(batches.Columns, "parse", parse_and_count)

        def run(cache_mib, epochs=3, **training):
            config = TrainingConfig(epochs=epochs, seed=3, cache_mib=cache_mib, **training)
            dataset = examples_dataset([str(transformed[0] / "*")], analysis.transform, "late", config, shuffle=True)
            orders, counts = [], []
            for _ in range(epochs):
                parsed.clear()
                orders.append([value for batch, _ in dataset for value in batch["fixed"].numpy().tolist()])
                counts.append(len(parsed))
            return orders, counts

        return run

    @pytest.mark.parametrize("kept", [0, 1, 7, 19, 20, 21, 1000])
    def test_as_much_as_was_allowed_is_parsed_once(self, read, kept):
        _, counts = read(kept)
        blocks = ROWS // 2
        assert counts == [blocks, *[max(0, blocks - kept)] * 2]

    @pytest.mark.parametrize("rows", [1, 7, 40, 1000])
    def test_keeping_changes_no_order(self, read, rows):
        orders = [read(kept, shuffle_rows=rows)[0] for kept in (0, 1, 7, 20, 1000)]
        assert all(order == orders[0] for order in orders)
        assert all(len(set(epoch)) == len(epoch) == ROWS for epoch in orders[0])

    def test_what_fits_is_not_read_from_the_files_again(self, analysis, transformed, tmp_path):
        files = tmp_path / "files"
        shutil.copytree(transformed[0], files)
        config = TrainingConfig(epochs=2, seed=3)
        dataset = examples_dataset([str(files / "*")], analysis.transform, "late", config, shuffle=True)
        first = [len(label) for _, label in dataset]
        shutil.rmtree(files)
        assert [len(label) for _, label in dataset] == first


def places(dataset):
    """How far each row of an order comes from where it was."""
    order = np.concatenate([block[0].numpy()[:, 0] for block in dataset])
    assert sorted(order) == list(range(len(order)))
    return np.arange(len(order)) - order


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_come_as_far_as_with_a_buffer_of_single_rows(seed):
    numbers, buffer = tf.data.Dataset.range(30_000), 3_000
    blocks = numbers.batch(100).map(lambda block: (block[:, tf.newaxis],))
    singly = numbers.shuffle(buffer, seed=seed).batch(100).map(lambda block: (block[:, tf.newaxis],))
    ours, theirs = places(batches._shuffled(blocks, buffer * 6 // 5, seed)), places(singly)
    assert np.abs(ours).mean() > 0.97 * np.abs(theirs).mean()
    assert ours.std() > 0.97 * theirs.std()
    together = np.abs(np.diff(np.arange(len(ours)) - ours))
    assert np.median(together) > buffer / 3
