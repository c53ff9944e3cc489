"""Says in words what a change of the data looks like, and whether it is a fault or a change of the world.

Whether there is a change is decided elsewhere, by statistics; what is said here is for features that have alarmed.
"""

from __future__ import annotations

from monitoring.diagnosis.categories import diagnose_category
from monitoring.diagnosis.labels import diagnose_labels
from monitoring.diagnosis.numbers import diagnose_number
from monitoring.diagnosis.pairs import diagnose_pairs
from monitoring.diagnosis.summaries import CategoricalSummary, Diagnosis, NumericSummary
from monitoring.diagnosis.times import diagnose_hours, diagnose_times, diagnose_weekdays

__all__ = [
    "CategoricalSummary",
    "Diagnosis",
    "NumericSummary",
    "diagnose_category",
    "diagnose_hours",
    "diagnose_labels",
    "diagnose_number",
    "diagnose_pairs",
    "diagnose_times",
    "diagnose_weekdays",
]
