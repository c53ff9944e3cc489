"""What a serving platform is given: one pushed version, and perhaps a canary beside it.

A folder with versions that a server polls is Docker's and Kubernetes' way. Platforms serve what they were told to, so
each rollout names its version, and a rollback is a rollout of an older one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from schema.errors import UsageError
from serving.deploy.settings import Settings
from serving.versions import candidate, find, rolled_back, versions
from storage.errors import explain
from storage.places import at


@dataclass(frozen=True)
class Served:
    """One version on a platform."""

    version: int
    place: str
    """The folder or URL of its SavedModel. A candidate's is not named by its version."""
    percent: int = 100
    """Of the traffic."""


@dataclass(frozen=True)
class Release:
    """What is rolled out of one model."""

    settings: Settings
    stable: Served
    canary: Served | None = None
    example: str | None = None
    """The body of a request that the stable version answers; None if it brings none."""

    @property
    def served(self) -> tuple[Served, ...]:
        """The stable version, then the canary if there is one."""
        return (self.stable,) if self.canary is None else (self.stable, self.canary)

    def name_of(self, served: Served) -> str:
        """What the version's own resources are called: flights-1764012345."""
        return f"{self.settings.resource_name}-{served.version}"

    @property
    def example_file(self) -> dict[str, str]:
        """`request.json`, if there is an example."""
        return {} if self.example is None else {"request.json": self.example}

    @property
    def example_told(self) -> str:
        """What a guide says about `request.json`."""
        if self.example is not None:
            return "`request.json` is one example that the model was checked with before it was pushed."
        return (
            f"Version {self.stable.version} brings no example: write a `request.json` of the form\n"
            '`{"instances": [{"FEATURE": VALUE, …}]}`; `saved_model_cli show --tag_set serve --signature_def\n'
            "serving_default --dir FOLDER` tells the features and their types."
        )


def choose(push_path: str, version: int | None, canary: int | None, percent: int) -> tuple[Served, Served | None]:
    """The versions to roll out.

    Args:
        push_path: The folder or URL with the versions.
        version: The stable one; None: the newest published one that is not the canary.
        canary: The one beside it: published, or the candidate (`serving.canary`); None for none.
        percent: The canary's share of the traffic, 1 to 99.

    Raises:
        UsageError: Nothing is pushed, or a version is not there or is rolled back.
        StorageError: The bucket cannot be read.
    """
    if not 1 <= percent <= 99:
        raise UsageError("A share is wrong", where="--canary-percent", expected="1 to 99", received=str(percent))
    base = at(push_path)
    with reading(push_path):
        published, trial = versions(base), candidate(base)
        refused = list(rolled_back(base))
    if not published:
        mend = "Run the pipeline first: `headrace run PIPELINE`."
        raise UsageError("Nothing is pushed yet", where=push_path, mend=mend)
    stable = max((each for each in published if each != canary), default=None) if version is None else version
    if stable is None or stable == canary:
        raise UsageError("A canary needs another version beside it", where="--canary", received=str(canary))
    _require_known("--version", stable, published, refused, push_path)
    share = 0 if canary is None else percent
    first = Served(stable, str(find(base, stable)), 100 - share)
    if canary is None:
        return first, None
    _require_known("--canary", canary, [*published, *([trial.version] if trial else [])], refused, push_path)
    return first, Served(canary, str(find(base, canary)), share)


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Around what reads versions: an object store's error is told as the user's.

    Raises:
        StorageError: The bucket cannot be read.
    """
    try:
        yield
    except Exception as error:
        told = explain(error, place)
        if told is None:
            raise
        raise told from None


def require_scheme(release: Release, *schemes: str, mend: str) -> None:
    """Refuses a push path that the platform cannot read.

    Raises:
        UsageError: The path is no URL of one of the schemes.
    """
    if not release.settings.push_path.startswith(schemes):
        raise UsageError(
            "The platform cannot read the push path",
            where="push.path",
            expected=" or ".join(f"{scheme}…" for scheme in schemes),
            received=release.settings.push_path,
            mend=mend,
        )


def _require_known(option: str, version: int, known: list[int], refused: list[int], push_path: str) -> None:
    if version in known:
        return
    is_refused = version in refused
    raise UsageError(
        "This version is rolled back" if is_refused else "This version is not published",
        where=option,
        expected=f"{push_path} holds {', '.join(map(str, known))}",
        received=str(version),
        mend=f"`headrace promote PIPELINE {version}` takes it back." if is_refused else None,
    )
