"""The models that are served: versions are loaded, looked up, drained and unloaded, and never take one another down.

All of it lives in the event loop's thread, but for the loading itself. The order of states and the messages are
TensorFlow Serving's (`core/aspired_versions_manager.cc`, `model_servers/server_core.cc`): a new version is available
before an old one goes; one that cannot be loaded is tried again, and the old one stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.server.model_config import platform_of, validate
from serving.server.servable import Servable
from serving.server.sources import aspired_versions
from serving.server.status import Code, StatusError, invalid_argument

log = logging.getLogger(__name__)

State = get_model_status_pb2.ModelVersionStatus.State
START, LOADING, AVAILABLE, UNLOADING, END = (
    get_model_status_pb2.ModelVersionStatus.State.Value(name)
    for name in ("START", "LOADING", "AVAILABLE", "UNLOADING", "END")
)
_DRAIN_POLL_SECONDS = 0.01

Load = Callable[[str, int, str], Servable]
"""Name, version, path → a warm servable. Runs in a thread."""


@dataclass
class Version:
    """One version of a model, from when it was first aspired to; it stays listed after its end."""

    number: int
    path: str
    state: int = START
    error: StatusError | None = None
    servable: Servable | None = None
    task: asyncio.Task[None] | None = None


@dataclass
class _Model:
    config: model_server_config_pb2.ModelConfig
    versions: dict[int, Version] = field(default_factory=dict)
    aspired: set[int] = field(default_factory=set)
    latest: Servable | None = None
    complaint: str = ""
    """What was wrong with the base path when it was last looked at."""


class Repository:
    """The models of one server.

    Args:
        load: Makes a servable.
        on_unload: Is told of each servable before it is closed.
        retries: How often loading is tried again.
        retry_seconds: The pause before each retry.
        allow_unavailable_labels: Whether a new label may be given to a version that is not available yet.
        load_threads: How many versions load at once.
    """

    def __init__(
        self,
        load: Load,
        *,
        on_unload: Callable[[Servable], None] = lambda servable: None,
        retries: int = 5,
        retry_seconds: float = 60.0,
        allow_unavailable_labels: bool = False,
        load_threads: int = 1,
    ) -> None:
        self._load = load
        self._on_unload = on_unload
        self._retries = retries
        self._retry_seconds = max(retry_seconds, 0.0)
        self._allow_unavailable_labels = allow_unavailable_labels
        self._threads = ThreadPoolExecutor(load_threads, thread_name_prefix="load")
        self._models: dict[str, _Model] = {}
        self._gone: dict[str, _Model] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._reload_lock = asyncio.Lock()
        self._changed = asyncio.Condition()

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """The servable that answers for a model, a version of it, or a label; without either the newest.

        Raises:
            StatusError: There is none.
        """
        model = self._models.get(name)
        if version is None and label is None:
            if model is not None and model.latest is not None:
                return model.latest
            if not name:
                raise invalid_argument("ModelSpec has no name specified.")
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: Latest({name})")
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        if version is None:
            known = self._labels.get(name, {})
            if label not in known:
                raise invalid_argument(f"Unrecognized servable version label: {label}")
            version = known[label]
        found = model.versions.get(version) if model else None
        if found is None or found.state != AVAILABLE or found.servable is None:
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: Specific({name}, {version})")
        return found.servable

    def versions(self, name: str, version: int | None = None) -> list[Version]:
        """What is known of a model's versions, newest first.

        Raises:
            StatusError: Nothing is.
        """
        known = {
            number: each
            for models in (self._gone, self._models)
            if name in models
            for number, each in models[name].versions.items()
        }
        if version is not None:
            if version not in known:
                raise StatusError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
            return [known[version]]
        if not known:
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return [known[number] for number in sorted(known, reverse=True)]

    async def reload(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        accept: Callable[[model_server_config_pb2.ModelServerConfig], None] = lambda config: None,
        waits: bool = True,
    ) -> None:
        """Serves exactly the models of a configuration, and waits until the new ones are available.

        Another configuration may replace this one meanwhile: one wrong path must not block what mends it.

        Args:
            config: Replaces the one before.
            waits: Whether to wait at all.
            accept: Is told of a configuration that is right, before it is applied; may refuse it with StatusError.

        Raises:
            StatusError: The configuration is wrong (then the one before stays), a label points to a version that is
                not available, or a new model did not become available.
        """
        async with self._reload_lock:
            if config.WhichOneof("config") is None:
                return
            listed = validate(config)
            for each in listed:
                self._refuse_change_of_platform(each)
            labels = self._new_labels(listed)
            accept(config)
            self._labels = labels
            new = [each.name for each in listed if each.name not in self._models]
            for name in set(self._models) - {each.name for each in listed}:
                self._remove(name)
            for each in listed:
                if each.name in self._models:
                    self._models[each.name].config = each
                else:
                    self._models[each.name] = _Model(each)
            self.poll()
            await self._notify()
        if waits:
            await self._wait_until_available(new)

    def poll(self) -> None:
        """Looks for versions that came or went, and starts loading or unloading them."""
        for model in list(self._models.values()):
            found, complaint = aspired_versions(model.config)
            if complaint and complaint != model.complaint:
                log.warning("%s", complaint)
            model.complaint = complaint
            if found is None:
                continue
            before, model.aspired = model.aspired, set(found)
            for number, path in sorted(found.items(), reverse=True):
                known = model.versions.get(number)
                if known is None or (known.state == END and (known.error is None or number not in before)):
                    self._start_loading(model, Version(number, path))
            self._unload_unaspired(model)

    async def close(self) -> None:
        """Unloads everything."""
        for name in list(self._models):
            self._remove(name)
        for model in self._gone.values():
            for version in model.versions.values():
                if version.state == LOADING and version.task is not None:
                    version.task.cancel()
        tasks = [version.task for model in self._gone.values() for version in model.versions.values() if version.task]
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _refuse_change_of_platform(self, config: model_server_config_pb2.ModelConfig) -> None:
        known = self._models.get(config.name)
        if known is not None and platform_of(known.config) != platform_of(config):
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {config.name} platform was "
                f"{platform_of(known.config)} and new platform requested is {platform_of(config)}"
            )

    def _new_labels(self, listed: list[model_server_config_pb2.ModelConfig]) -> dict[str, dict[str, int]]:
        labels: dict[str, dict[str, int]] = {}
        for config in listed:
            before = self._labels.get(config.name, {})
            for label, version in config.version_labels.items():
                is_unused = before.get(label, version) == version
                if not (self._allow_unavailable_labels and is_unused) and not self._is_available(config.name, version):
                    raise StatusError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {config.name}, which is not currently "
                        "available for inference",
                    )
                labels.setdefault(config.name, {})[label] = version
        return labels

    def _is_available(self, name: str, version: int) -> bool:
        model = self._models.get(name)
        known = model.versions.get(version) if model else None
        return known is not None and known.state == AVAILABLE

    def _start_loading(self, model: _Model, version: Version) -> None:
        model.versions[version.number] = version
        version.state = LOADING
        version.task = asyncio.get_running_loop().create_task(self._load_version(model, version))

    async def _load_version(self, model: _Model, version: Version) -> None:
        name, loop = model.config.name, asyncio.get_running_loop()
        for attempt in range(self._retries + 1):
            if version.number not in model.aspired:
                break
            try:
                servable = await loop.run_in_executor(self._threads, self._load, name, version.number, version.path)
            except Exception as error:  # whatever a folder holds, the other versions must be served
                version.error = _as_status(error)
                log.error("Loading %s version %d failed: %s", name, version.number, version.error)
                if attempt < self._retries:
                    log.info(
                        "It will be tried again in %g s (%d of %d)", self._retry_seconds, attempt + 1, self._retries
                    )
                    await asyncio.sleep(self._retry_seconds)
                continue
            version.servable, version.error, version.state = servable, None, AVAILABLE
            self._choose_latest(model)
            log.info("Serving %s version %d from %s", name, version.number, version.path)
            break
        else:
            log.error("Giving up on %s version %d", name, version.number)
        if version.state != AVAILABLE:
            version.state = END
        self._unload_unaspired(model)
        await self._notify()

    def _unload_unaspired(self, model: _Model) -> None:
        """Old versions go, but for the newest of them: it stays until a wanted one is available, or none is wanted.

        As `core/availability_preserving_policy.cc`.
        """
        available = {number for number, each in model.versions.items() if each.state == AVAILABLE}
        old = sorted(available - model.aspired)
        if model.aspired and not available & model.aspired:
            del old[-1:]
        for number in old:
            self._start_unloading(model, model.versions[number])

    def _start_unloading(self, model: _Model, version: Version) -> None:
        version.state = UNLOADING
        self._choose_latest(model)
        version.task = asyncio.get_running_loop().create_task(self._unload(model, version))

    async def _unload(self, model: _Model, version: Version) -> None:
        servable = version.servable
        if servable is not None:
            while servable.in_flight:
                await asyncio.sleep(_DRAIN_POLL_SECONDS)
            self._on_unload(servable)
            version.servable = None
            await asyncio.get_running_loop().run_in_executor(self._threads, servable.close)
        version.state = END
        log.info("Unloaded %s version %d", model.config.name, version.number)

    def _remove(self, name: str) -> None:
        model = self._models.pop(name)
        model.aspired = set()
        if name in self._gone:  # it was served, removed and added again
            model.versions = {**self._gone[name].versions, **model.versions}
        self._gone[name] = model
        self._unload_unaspired(model)

    def _choose_latest(self, model: _Model) -> None:
        available = [number for number, each in model.versions.items() if each.state == AVAILABLE]
        model.latest = model.versions[max(available)].servable if available else None

    async def _wait_until_available(self, names: list[str]) -> None:
        def decided() -> bool:
            return all(name not in self._models or self._is_decided(self._models[name]) for name in names)

        async with self._changed:
            await self._changed.wait_for(decided)
        failed = [
            f"{{{{name: {name} version: {version.number}}} due to error: {version.error}}}, "
            for name in names
            if name in self._models and self._models[name].latest is None
            for version in self._models[name].versions.values()
            if version.state == END
        ]
        if failed:
            raise StatusError(Code.UNKNOWN, f"{len(failed)} model(s) did not become available: {{{''.join(failed)}}}")

    @staticmethod
    def _is_decided(model: _Model) -> bool:
        """Whether a version is available, or all that were found have failed."""
        versions = model.versions.values()
        return model.latest is not None or (bool(versions) and all(each.state == END for each in versions))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _as_status(error: Exception) -> StatusError:
    if isinstance(error, StatusError):
        return error
    if isinstance(error, tf.errors.OpError):
        return StatusError(Code(error.error_code), error.message)
    if isinstance(error, FileNotFoundError):
        return StatusError(Code.NOT_FOUND, str(error))
    return StatusError(Code.INTERNAL, str(error) or type(error).__name__)
