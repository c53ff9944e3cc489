"""What a served version is compared with: it travels with the version, below `assets.extra/headrace/reference/`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from monitoring.calibration import Calibration
from monitoring.profile import Profile
from monitoring.quality import BinaryCounts, RegressionCounts
from monitoring.slicing import ALL_EXAMPLES, QualityBySlice
from schema.errors import DataError
from storage.places import Place

REFERENCE = "reference"
"""The folder's name beside the rest of what a version came from."""

PREDICTIONS = "predictions"
"""The subject of the checks on the model's answers, and their name in the profile."""

_QUALITY_FILE = "quality.json"


@dataclass(frozen=True)
class Reference:
    """See the module."""

    task: Literal["binary", "regression"]
    label: str
    profile: Profile
    """Of the training window and the evaluation span; the model's answers are counted in it as `PREDICTIONS`."""
    quality: QualityBySlice
    """On the evaluation span, by slice (`origin=JFK`), and of `ALL_EXAMPLES`."""
    importances: dict[str, float] = field(default_factory=dict)
    """Each feature's share of what the model's quality rests on; they sum to 1."""

    @property
    def counts_type(self) -> type[BinaryCounts] | type[RegressionCounts]:
        """What this task's quality is counted in."""
        return BinaryCounts if self.task == "binary" else RegressionCounts

    def calibration(self) -> Calibration | None:
        """How often the scores came true on the evaluation span; None for a regression."""
        counts = self.quality[ALL_EXAMPLES]
        is_labelled = isinstance(counts, BinaryCounts) and (counts.positives + counts.negatives).any()
        return Calibration.fit(counts) if is_labelled and isinstance(counts, BinaryCounts) else None

    def save(self, folder: Place) -> None:
        """Writes `profile.json`, `counts.npz` and `quality.json`."""
        self.profile.save(folder)
        described = {
            "task": self.task,
            "label": self.label,
            "quality": {name: counts.to_json() for name, counts in self.quality.items()},
            "importances": self.importances,
        }
        (folder / _QUALITY_FILE).write_text(json.dumps(described), encoding="utf-8")

    @classmethod
    def load(cls, folder: Place) -> Reference:
        """Reads what `save` wrote.

        Raises:
            DataError: It is not there, or is damaged.
        """
        try:
            profile = Profile.load(folder)
            raw: dict[str, Any] = json.loads((folder / _QUALITY_FILE).read_text(encoding="utf-8"))
            counts_type = BinaryCounts if raw["task"] == "binary" else RegressionCounts
            quality = {name: counts_type.from_json(each) for name, each in raw["quality"].items()}
            return cls(raw["task"], raw["label"], profile, quality, raw["importances"])
        except FileNotFoundError:
            raise DataError(
                "The version has no reference to be compared with",
                where=str(folder),
                mend="It was pushed by an earlier Headrace, or by hand. Run the pipeline again to push one that has.",
            ) from None
        except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
            raise DataError("The version's reference cannot be read", where=str(folder), received=str(error)) from None
