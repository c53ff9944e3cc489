"""Which versions are served by label, and which are copied into an image: checked against what is published."""

from __future__ import annotations

from dataclasses import dataclass

from schema.errors import UsageError
from serving.versions import versions
from storage.places import at, is_remote


@dataclass(frozen=True)
class Pins:
    """Versions that are served by name instead of "the newest": clients choose one by its label."""

    stable: int
    canary: int | None = None

    @property
    def labels(self) -> dict[str, int]:
        """Label → version, as in `/v1/models/NAME/labels/stable:predict`."""
        return {"stable": self.stable, **({} if self.canary is None else {"canary": self.canary})}


@dataclass(frozen=True)
class Choice:
    """Which versions a user asked for."""

    stable: int | None = None
    canary: int | None = None
    published: tuple[int, ...] = ()

    @staticmethod
    def of(push_path: str, stable: int | None, canary: int | None) -> Choice:
        """The choice, beside the versions that there are (unknown if the path is remote)."""
        return Choice(stable, canary, () if is_remote(push_path) else tuple(versions(at(push_path))))

    def pins(self, push_path: str) -> Pins | None:
        """The versions to serve by label; None if neither was asked for.

        Without --stable, the stable version is the newest other than the canary.

        Raises:
            UsageError: A version is not in the push path, or nothing is left to be stable.
        """
        if self.stable is None and self.canary is None:
            return None
        if not is_remote(push_path):
            for option, version in (("--stable", self.stable), ("--canary", self.canary)):
                if version is not None and version not in self.published:
                    raise self._unknown(option, version, push_path)
        others = [version for version in self.published if version != self.canary]
        stable = self.stable if self.stable is not None else max(others, default=None)
        if stable is None or stable == self.canary:
            raise UsageError(
                "A canary needs another version beside it",
                where="--stable",
                expected=f"another than {self.canary}; {self._told(push_path)}",
                received=None if self.stable is None else str(self.stable),
            )
        return Pins(stable, self.canary)

    def baked(self, pins: Pins | None, push_path: str) -> tuple[int, ...]:
        """The versions to copy into an image: what is pinned, else the newest.

        Raises:
            UsageError: There are none here to copy.
        """
        if not self.published:
            raise UsageError(
                "There is no version to copy into the image",
                where=push_path,
                mend="A bucket is read by the server itself: leave --bake-model out."
                if is_remote(push_path)
                else "Run the pipeline first.",
            )
        return tuple(sorted(pins.labels.values())) if pins else self.published[-1:]

    def _unknown(self, option: str, version: int, push_path: str) -> UsageError:
        return UsageError(
            "This version is not published", where=option, expected=self._told(push_path), received=str(version)
        )

    def _told(self, push_path: str) -> str:
        if is_remote(push_path):
            return f"the versions in {push_path} are not known here"
        return f"{push_path} holds {', '.join(map(str, self.published)) or 'no version yet'}"
