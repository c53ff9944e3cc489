"""The same seed makes the same model, and what it leaves says how it was trained."""

import csv
import json

import numpy as np
import pytest
from memory_places import new_place
from tfx.components.trainer.fn_args_utils import FnArgs

from models.input_bound import INPUT_BOUND
from models.signatures import ServedModel
from models.trainer import HISTORY, KERAS_MODEL, load_keras_model, model_inputs, run_fn
from models.warm_start import FOLDER, RECORD


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
        assert all(0 < float(line[INPUT_BOUND]) < 1 for line in history)


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
