"""A gate's verdict: findings, the outcome, and what a person accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import Enum

from schema.errors import ExitCode
from schema.strict import Strict
from storage.places import Place

VERDICT_FILE = "verdict.json"


class GateName(str, Enum):
    """The three gates, in the order of the pipeline."""

    DATA = "data"
    INFRA = "infra"
    QUALITY = "quality"

    @property
    def exit_code(self) -> ExitCode:
        """What a run that this gate stops returns."""
        return ExitCode[f"{self.name}_GATE"]


class Outcome(str, Enum):
    """Of a finding or of a whole gate."""

    PASSED = "passed"
    NOTED = "noted"
    """Worth a look, stops nothing."""
    ACCEPTED = "accepted"
    """Failed, and a person accepted it with a reason."""
    FAILED = "failed"


class Finding(Strict):
    """One thing that was checked."""

    check: str
    """What was checked, such as `auc` or `examples`."""
    where: str
    """The feature, slice or signature."""
    bound: str
    value: str
    baseline: str = "-"
    outcome: Outcome
    mend: str = ""
    """For a failed finding: what to do, beside accepting it."""

    @property
    def key(self) -> str:
        """Identifies exactly this finding: another value, or another bound, is another finding."""
        text = "\0".join((self.check, self.where, self.bound, self.value, self.baseline))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Verdict(Strict):
    """What a gate decided, and on what evidence."""

    gate: GateName
    outcome: Outcome
    summary: str
    findings: tuple[Finding, ...]
    accepted: dict[str, str] = {}
    """Keys of the failed findings that a person accepted → the reason given."""

    @property
    def passed(self) -> bool:
        """Whether what is behind the gate may run."""
        return self.outcome is not Outcome.FAILED

    def save(self, folder: Place) -> None:
        """Writes the verdict into an artifact's folder."""
        (folder / VERDICT_FILE).write_text(self.model_dump_json(indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Place) -> Verdict:
        """Reads what `save` wrote."""
        return cls.model_validate_json((folder / VERDICT_FILE).read_text(encoding="utf-8"))


def decide(gate: GateName, findings: Sequence[Finding], accepted: dict[str, str], note: str = "") -> Verdict:
    """The verdict over findings.

    Args:
        gate: Which gate decides.
        findings: Everything that was checked.
        accepted: Keys of findings that a person accepted, with reasons. One that is not found now does not count.
        note: What else the summary should say.
    """
    judged = tuple(
        finding.model_copy(update={"outcome": Outcome.ACCEPTED})
        if finding.outcome is Outcome.FAILED and finding.key in accepted
        else finding
        for finding in findings
    )
    counts = {outcome: sum(finding.outcome is outcome for finding in judged) for outcome in Outcome}
    outcome = next(
        (each for each in (Outcome.FAILED, Outcome.ACCEPTED) if counts[each]),
        Outcome.PASSED,
    )
    told = ", ".join(f"{number} {each.value}" for each, number in counts.items() if number) or "nothing to check"
    used = {finding.key for finding in judged if finding.outcome is Outcome.ACCEPTED}
    return Verdict(
        gate=gate,
        outcome=outcome,
        summary=f"{told}. {note}".strip(),
        findings=judged,
        accepted={key: reason for key, reason in accepted.items() if key in used},
    )
