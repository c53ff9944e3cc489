"""Flipped, constant and shuffled labels are told from a world that became harder."""

import pytest

from monitoring.diagnosis import diagnose_labels


@pytest.mark.parametrize(
    ("current_rate", "live_auc", "words"),
    [
        (0.76, (0.25, 0.33), "labels are flipped: the live AUC is 0.29"),
        (0.76, None, "labels are flipped"),
        (0.0, None, "all labels are 0"),
        (1.0, (0.4, 0.6), "all labels are 1"),
        (0.24, (0.47, 0.53), "unrelated to the features"),
    ],
)
def test_faults_are_named(current_rate, live_auc, words):
    found = diagnose_labels(0.24, current_rate, 2_000, 0.7, live_auc)
    assert found.is_fault
    assert words in found.text


@pytest.mark.parametrize(
    ("current_rate", "live_auc", "moved"),
    [(0.24, (0.68, 0.72), False), (0.35, (0.60, 0.66), False), (0.24, (0.47, 0.53), True), (0.76, (0.68, 0.72), False)],
    ids=["as ever", "harder", "the features moved", "a bad day, well predicted"],
)
def test_a_changed_world_is_no_fault(current_rate, live_auc, moved):
    found = diagnose_labels(0.24, current_rate, 2_000, 0.7, live_auc, features_moved=moved)
    assert found is None or not found.is_fault


def test_a_changed_rate_is_told():
    assert diagnose_labels(0.24, 0.35, 2_000).text == "the share of ones rose from 24% to 35%"


def test_few_labels_say_nothing():
    assert diagnose_labels(0.24, 1.0, 20) is None
