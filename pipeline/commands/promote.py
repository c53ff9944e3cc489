"""`headrace promote`: the candidate gets all the traffic, or a version that was rolled back is restored."""

from __future__ import annotations

from rich.console import Console

from pipeline.commands.canary import promote_candidate, update_labels
from pipeline.config import PipelineConfig
from schema.errors import ExitCode, UsageError
from serving.rollback import restore
from serving.versions import candidate, rolled_back, versions
from storage.places import Place, at


def promote(console: Console, config: PipelineConfig, version: int | None = None) -> ExitCode:
    """Promotes the candidate that is being tried; without one, restores a version that was rolled back.

    Args:
        console: Where to print.
        config: The pipeline.
        version: Which; may be left out for a candidate.

    Raises:
        UsageError: There is no such version, or nothing to promote.
    """
    base_path = at(config.push.path)
    trial = candidate(base_path)
    if trial is not None and version in (None, trial.version):
        promote_candidate(console, config, trial.version)
        return ExitCode.OK
    if version is None:
        known = ", ".join(map(str, rolled_back(base_path)))
        raise UsageError(
            "There is nothing to promote: no version is being tried",
            where=str(base_path),
            mend=f"To restore a version that was rolled back, name it: {known}." if known else None,
        )
    if version in versions(base_path):
        return _already(console, config, base_path, version)
    restore(base_path, version)
    update_labels(config, base_path)
    newest = versions(base_path)[-1]
    if newest == version:
        console.print(
            f"Restored version {version} of {config.name}: it is the newest, and servers answer from it once they "
            "have looked again and loaded it.",
            soft_wrap=True,
        )
    else:
        console.print(
            f"Restored version {version} of {config.name}, but version {newest} is newer and goes on answering. "
            f"To answer from the restored one: headrace rollback {config.argument} --to {version}.",
            soft_wrap=True,
        )
    return ExitCode.OK


def _already(console: Console, config: PipelineConfig, base_path: Place, version: int) -> ExitCode:
    newest = versions(base_path)[-1]
    if newest != version:
        raise UsageError(
            f"Version {version} is published, but version {newest} is newer and answers",
            where=str(base_path),
            mend=f"To answer from the older one: headrace rollback {config.argument} --to {version}.",
        )
    update_labels(config, base_path)
    console.print(f"Version {version} of {config.name} is the newest already; nothing was changed.", soft_wrap=True)
    return ExitCode.OK
