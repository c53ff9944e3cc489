"""A root in an object store is one metadata store's."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.config import PipelineConfig, find_config, load_config
from pipeline.metadata import METADATA_FILE
from pipeline.runners.claim import claim_root
from schema.errors import MetadataError
from storage.places import at


def on_machine(folder: Path, root: str) -> PipelineConfig:
    config = load_config(find_config("flights")).model_copy(update={"root": root})
    config._project = folder
    config.home.mkdir(parents=True, exist_ok=True)
    return config


def test_a_second_machine_with_records_of_its_own_is_refused(tmp_path: Path) -> None:
    root = f"memory://{tmp_path.name}/headrace"
    first, second = on_machine(tmp_path / "first", root), on_machine(tmp_path / "second", root)
    claim_root(first)
    claim_root(first)
    with pytest.raises(MetadataError, match="belongs to another metadata store") as caught:
        claim_root(second)
    assert caught.value.where == f"{root}/flights/owner.json"


def test_of_machines_that_start_together_one_gets_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"memory://{tmp_path.name}/headrace"
    machines = [on_machine(tmp_path / name, root) for name in ("first", "second")]
    together = threading.Barrier(2, timeout=60)
    write = MemoryFileSystem.pipe_file

    def write_together(store: MemoryFileSystem, path: str, value: bytes, mode: str = "overwrite") -> None:
        together.wait()
        write(store, path, value, mode)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", write_together)
    refused: list[MetadataError] = []

    def claim(config: PipelineConfig) -> None:
        try:
            claim_root(config)
        except MetadataError as error:
            refused.append(error)

    claiming = [threading.Thread(target=claim, args=(config,)) for config in machines]
    for each in claiming:
        each.start()
    for each in claiming:
        each.join()
    assert len(refused) == 1
    assert json.loads((at(f"{root}/flights") / "owner.json").read_text())["store"] in str(refused[0].received)


def test_records_that_begin_anew_do_not_get_the_old_root(tmp_path: Path) -> None:
    config = on_machine(tmp_path, f"memory://{tmp_path.name}/headrace")
    claim_root(config)
    (config.home / METADATA_FILE).unlink()
    with pytest.raises(MetadataError, match="belongs to another metadata store"):
        claim_root(config)


def test_records_that_move_to_another_machine_take_the_root_along(tmp_path: Path) -> None:
    root = f"memory://{tmp_path.name}/headrace"
    first, second = on_machine(tmp_path / "first", root), on_machine(tmp_path / "second", root)
    claim_root(first)
    (first.home / METADATA_FILE).rename(second.home / METADATA_FILE)
    claim_root(second)


def test_a_folder_is_not_claimed(tmp_path: Path) -> None:
    config = on_machine(tmp_path, str(tmp_path / "root"))
    claim_root(config)
    assert not at(config.shared).exists() or not list(at(config.shared).glob("owner*"))
