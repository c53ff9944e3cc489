"""What a categorical feature's change looks like."""

from __future__ import annotations

import math

from monitoring.diagnosis.missing import diagnose_missing
from monitoring.diagnosis.spellings import find_spelling
from monitoring.diagnosis.summaries import MOST_TEXTS, CategoricalSummary, Diagnosis
from monitoring.diagnosis.words import percent, value, values

_FEWEST_ROWS = 50
_FEWEST_OF_VALUE = 5
_STUCK = 0.995
_LEAST_RENAMED = 0.008
_PLACEHOLDERS = frozenset(
    (
        b"nan",
        b"none",
        b"null",
        b"nil",
        b"na",
        b"n/a",
        b"#n/a",
        b"nat",
        b"-",
        b"?",
        b".",
        b"other",
        b"others",
        b"unknown",
        b"unk",
        b"<unk>",
        b"undefined",
        b"default",
        b"missing",
        b"-1",
        b"tbd",
        b"not available",
        b"unspecified",
        b"(null)",
        b"\\n",
    )
)
"""What programs write for a value that they do not have, in lower case."""


def diagnose_category(reference: CategoricalSummary, current: CategoricalSummary) -> Diagnosis | None:
    """Tells what a feature that has alarmed looks like, against training.

    Returns:
        None if there are too few rows to say, or nothing to be told.
    """
    if min(reference.rows, current.rows) < _FEWEST_ROWS:
        return None
    missing = diagnose_missing(reference.missing, current.missing, current.rows)
    if missing and missing.is_fault:
        return missing
    if not reference.shares or not current.shares:
        return missing
    for find in (_stuck, _placeholder, _respelled, _renamed, _exchanged, _vanished, _new):
        found = find(reference, current)
        if found:
            return found
    return missing or _moved(reference, current)


def _unseen(reference: CategoricalSummary, current: CategoricalSummary) -> dict[bytes, float]:
    """The shares of values that training did not have."""
    return {each: share for each, share in current.shares.items() if each not in reference.shares}


def _gone(reference: CategoricalSummary, current: CategoricalSummary, fewest: float) -> dict[bytes, float]:
    """The shares in training of values of which so many rows were expected, and none came."""
    return {
        each: share
        for each, share in reference.shares.items()
        if each not in current.shares and share * current.present >= fewest
    }


def _stuck(reference: CategoricalSummary, current: CategoricalSummary) -> Diagnosis | None:
    stuck, share = next(iter(current.shares.items()))
    before = reference.shares.get(stuck, 0.0)
    if share < _STUCK or before > 0.5:
        return None
    how_many = "all values are" if share == 1 else f"{percent(share)} of values are"
    return Diagnosis(f"stuck: {how_many} {value(stuck)}, {percent(before)} in training", is_fault=True)


def _placeholder(reference: CategoricalSummary, current: CategoricalSummary) -> Diagnosis | None:
    """A word for `no value` has taken a share."""
    for each, share in current.shares.items():
        before = reference.shares.get(each, 0.0)
        if each.strip().lower() not in _PLACEHOLDERS and each.strip():
            continue
        significant = share - before > 5 * math.sqrt(max(before, 0.002) / current.present)
        if share >= max(0.02, 3 * before) and significant and share * current.present >= _FEWEST_OF_VALUE:
            text = f"{percent(share)} of values are {value(each)}, {percent(before)} in training"
            return Diagnosis(f"{text}: missing values filled in?", is_fault=True)
    return None


def _respelled(reference: CategoricalSummary, current: CategoricalSummary) -> Diagnosis | None:
    """Unseen values are known ones, written otherwise."""
    unseen = _unseen(reference, current)
    mass = sum(unseen.values())
    if mass < 0.01 or mass * current.present < _FEWEST_OF_VALUE:
        return None
    found = find_spelling(reference.shares, unseen)
    if found is None:
        return None
    new, known = next(iter(found.mapping.items()))
    where = "" if found.share > 0.95 else f" in {percent(found.share)} of rows"
    return Diagnosis(f"{found.name}{where}: {value(known)} became {value(new)}", is_fault=True)


def _renamed(reference: CategoricalSummary, current: CategoricalSummary) -> Diagnosis | None:
    """Known values are gone and unseen ones have their shares, or all are unseen."""
    unseen = {
        each: share
        for each, share in _unseen(reference, current).items()
        if share * current.present >= _FEWEST_OF_VALUE
    }
    mass = sum(_unseen(reference, current).values())
    if mass > 0.5 and len(reference.shares) < MOST_TEXTS:
        how_many = "all values are" if mass > 0.995 else f"{percent(mass)} of values are"
        return Diagnosis(
            f"{how_many} unknown to training ({values(list(current.shares))}): renamed, or coded otherwise?",
            is_fault=True,
        )
    pairs = []
    for old, before in _gone(reference, current, fewest=8).items():
        if before < _LEAST_RENAMED:  # of many rare values some always come and go
            continue
        heirs = [each for each in unseen if _is_about(unseen[each], before, current.present)]
        if heirs:
            new = min(heirs, key=lambda each: abs(math.log(unseen[each] / before)))
            pairs.append((old, new, unseen.pop(new)))
    if not pairs:
        return None
    if len(pairs) == 1:
        old, new, share = pairs[0]
        return Diagnosis(
            f"{value(old)} is gone and {value(new)} has its share ({percent(share)}): renamed?", is_fault=True
        )
    olds, news = values([each[0] for each in pairs]), values([each[1] for each in pairs])
    share = sum(each[2] for each in pairs)
    return Diagnosis(f"{olds} are gone and {news} have their shares ({percent(share)}): renamed?", is_fault=True)


def _is_about(share: float, before: float, rows: int) -> bool:
    """Whether two shares are alike as one month's and the next are."""
    return abs(share - before) < 0.3 * before + 3 * math.sqrt(before / rows)


def _exchanged(reference: CategoricalSummary, current: CategoricalSummary) -> Diagnosis | None:
    """Two values have each other's share, and the others have kept theirs."""
    names = [each for each in list(reference.shares)[:30] if each in current.shares]
    log = {each: math.log(current.shares[each] / reference.shares[each]) for each in names}
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            large, small = reference.shares[one], reference.shares[other]
            expected = math.log(large / small)
            error = 3 * math.sqrt(2 / (small * current.present))
            if expected < max(math.log(1.4), 1.5 * error):
                continue
            misfit = abs(log[one] + expected) + abs(log[other] - expected)
            rest = [
                abs(log[each]) for each in names if each not in (one, other) and reference.shares[each] >= small / 2
            ]
            calm = not rest or max(rest) < 0.6 * expected + error / 3
            if misfit < 0.35 * expected and calm:
                now = f"{percent(current.shares[one])} and {percent(current.shares[other])}"
                text = f"{value(one)} and {value(other)} have exchanged their shares (now {now})"
                return Diagnosis(f"{text}: confused with each other?", is_fault=True)
    return None


def _vanished(reference: CategoricalSummary, current: CategoricalSummary) -> Diagnosis | None:
    """A frequent value does not come any more."""
    gone = {each: share for each, share in _gone(reference, current, fewest=40).items() if share >= 0.03}
    if not gone:
        return None
    verb = "is" if len(gone) == 1 else "are"
    text = f"{values(list(gone))} {verb} gone ({percent(sum(gone.values()))} of rows in training): is a source missing?"
    return Diagnosis(text, is_fault=True)


def _new(reference: CategoricalSummary, current: CategoricalSummary) -> Diagnosis | None:
    """Values that training did not have: news, if they can be read."""
    unseen = {each: share for each, share in _unseen(reference, current).items() if share * current.present >= 2}
    mass = sum(unseen.values())
    if mass < 0.005 or mass * current.present < _FEWEST_OF_VALUE or len(reference.shares) >= MOST_TEXTS:
        return None
    damaged = [each for each in unseen if _is_damaged(each)]
    if sum(unseen[each] for each in damaged) > mass / 2 and not any(map(_is_damaged, reference.shares)):
        return Diagnosis(
            f"{percent(mass)} of values are not readable text ({values(damaged)}): encoding damaged?", is_fault=True
        )
    if len(unseen) == 1:
        return Diagnosis(f"a new value {value(next(iter(unseen)))} in {percent(mass)} of rows", is_fault=False)
    return Diagnosis(f"new values {values(list(unseen))} in {percent(mass)} of rows", is_fault=False)


def _is_damaged(raw: bytes) -> bool:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return True
    return "\ufffd" in text or any(ord(each) < 32 for each in text)


def _moved(reference: CategoricalSummary, current: CategoricalSummary) -> Diagnosis | None:
    """The values that gained and lost most."""
    changes = {
        each: current.shares.get(each, 0.0) - reference.shares.get(each, 0.0)
        for each in sorted({*list(reference.shares)[:1000], *list(current.shares)[:1000]})
    }
    gained, lost = max(changes, key=lambda each: changes[each]), min(changes, key=lambda each: changes[each])
    if max(changes[gained], -changes[lost]) < 0.001:
        return None

    def words(each: bytes, verb: str) -> str:
        before, now = (percent(summary.shares.get(each, 0.0)) for summary in (reference, current))
        return f"{value(each)} {verb} from {before} to {now}"

    return Diagnosis(f"{words(gained, 'rose')}, {words(lost, 'fell')}", is_fault=False)
