"""How a number goes with the other numbers of its row: what no season changes, and a fault in one column breaks.

Each number is predicted from a few others by least squares; what the prediction leaves is counted in bins like a number
(`monitoring.bins`). Temperatures of a December are as cold as those of any winter in °F, whatever their unit; but the
dew point that goes with them tells it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.features import Feature, Role

Columns = Mapping[str, np.ndarray]
"""By feature: float64 [rows], NaN where missing; times in seconds since 1970."""

_MOST_INPUTS = 3
_FIT_ROWS = 10_000
_FEWEST_ROWS = 500
_ENOUGH = 0.5
"""Of the variance, that a relation explains of rows that it was not fitted on."""
_LEAST_GAIN = 0.05
"""Of the explained share, for another input."""
_RIDGE = 1e-3
"""Of the rows, added to the diagonal: keeps the weights of two columns that are the same finite."""
_HOUR, _DAY = 3600.0, 24


@dataclass(frozen=True)
class Relation:
    """A linear prediction of a feature from others; plain values."""

    feature: str
    inputs: tuple[str, ...]
    times: tuple[str, ...]
    """The inputs that are times: what counts is the hour of the day."""
    means: tuple[float, ...]
    scales: tuple[float, ...]
    """Of the inputs."""
    weights: tuple[float, ...]
    """Of the standardised inputs, in standard deviations of the feature."""
    mean: float
    scale: float
    """Of the feature."""

    def predicted(self, columns: Columns) -> np.ndarray:
        """What the inputs say, in the feature's units: float64 [rows], NaN where an input is missing."""
        with np.errstate(invalid="ignore", over="ignore"):
            parts = (
                weight * ((_of_day(columns[name]) if name in self.times else columns[name]) - mean) / scale
                for name, mean, scale, weight in zip(self.inputs, self.means, self.scales, self.weights, strict=True)
            )
            return np.asarray(self.mean + self.scale * sum(parts))

    def residuals(self, columns: Columns) -> np.ndarray:
        """What the prediction leaves, in standard deviations of the feature: float64 [rows], NaN where one is missing.

        (A value that is filled in for a missing input would say of the input what is only said of the row.)
        """
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray((columns[self.feature] - self.predicted(columns)) / self.scale)

    @property
    def columns(self) -> tuple[str, ...]:
        """The feature and its inputs."""
        return (self.feature, *self.inputs)

    def to_json(self) -> dict[str, Any]:
        """As JSON; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Relation:
        """What `to_json` gave."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()
        }
        return cls(**plain)


def fit_relations(features: Sequence[Feature], numbers: Columns, label: str) -> list[Relation]:
    """The relations that hold in training.

    Args:
        features: What is watched.
        numbers: A sample of the training rows.
        label: Is in no relation: requests do not carry it.
    """
    usable = [each for each in features if each.name != label and each.role in (Role.NUMERIC, Role.TIME)]
    times = {each.name for each in usable if each.role is Role.TIME}
    rows = len(next(iter(numbers.values()))) if numbers else 0
    order = np.random.default_rng(0).permutation(rows)[:_FIT_ROWS]
    table = {
        each.name: _of_day(numbers[each.name][order]) if each.name in times else numbers[each.name][order]
        for each in usable
    }
    found = (_relation(each.name, table, times) for each in usable if each.name not in times)
    return [each for each in found if each is not None]


def _relation(feature: str, table: Columns, times: set[str]) -> Relation | None:
    """Inputs are added one by one, the one that explains most first."""
    inputs: tuple[str, ...] = ()
    while len(inputs) < _MOST_INPUTS:
        gains = {name: _gain(feature, inputs, name, table) for name in table if name not in (feature, *inputs)}
        best = max(gains, key=lambda name: gains[name], default="")
        if gains.get(best, 0.0) < _LEAST_GAIN:
            break
        inputs = (*inputs, best)
    rows = _complete(table, (feature, *inputs))
    if not inputs or _explained(rows) < _ENOUGH:
        return None
    means, scales = rows.mean(axis=1), rows.std(axis=1)
    return Relation(
        feature,
        inputs,
        tuple(name for name in inputs if name in times),
        tuple(means[1:].tolist()),
        tuple(scales[1:].tolist()),
        tuple(_weights(_covariance(rows)).tolist()),
        float(means[0]),
        float(scales[0]),
    )


def _gain(feature: str, inputs: tuple[str, ...], name: str, table: Columns) -> float:
    """By what share more is explained of the same rows."""
    rows = _complete(table, (feature, *inputs, name))
    return _explained(rows) - (_explained(rows[:-1]) if inputs else 0.0)


def _explained(rows: np.ndarray) -> float:
    """The share of the first name's variance that the others explain, of rows that were not fitted."""
    if rows.shape[1] < _FEWEST_ROWS:
        return 0.0
    half = rows.shape[1] // 2
    fitted, held_out = _covariance(rows[:, :half]), _covariance(rows[:, half:])
    if not (fitted.diagonal() > 0).all() or not (held_out.diagonal() > 0).all():
        return 0.0
    scales = np.sqrt(fitted.diagonal())
    left = np.append(1.0, -_weights(fitted) * scales[0] / scales[1:])
    return float(1 - left @ held_out @ left / held_out[0, 0])


def _covariance(rows: np.ndarray) -> np.ndarray:
    """Float64 [names, names]. All that least squares need to know of rows: so many sets of inputs are tried."""
    return np.asarray(np.cov(rows, bias=True))


def _weights(covariance: np.ndarray) -> np.ndarray:
    """Ridge regression of the first name on the others, all of them standardised."""
    scales = np.sqrt(covariance.diagonal())
    standard = covariance / np.outer(scales, scales)
    return np.asarray(np.linalg.solve(standard[1:, 1:] + _RIDGE * np.eye(len(standard) - 1), standard[1:, 0]))


def _complete(table: Columns, names: Sequence[str]) -> np.ndarray:
    """The rows that have all of these: float64 [names, rows], since what is computed runs along the rows."""
    rows = np.stack([table[name] for name in names])
    return np.asarray(rows[:, (np.abs(rows) < 1e30).all(axis=0)])


def _of_day(seconds: np.ndarray) -> np.ndarray:
    """Hours since midnight."""
    with np.errstate(invalid="ignore"):
        return np.asarray(seconds / _HOUR % _DAY)
