"""KServe's published types, as its SDK has them, and a strict reading of a manifest by them.

Only the SDK's types are imported: the package itself would bring a web framework and a newer protobuf.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import types
from typing import Any

import kubernetes.client.models
import pytest

_PLAIN: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "object": object,
    "ResourceQuantity": (str, int),
    "IntstrIntOrString": (str, int),
    "V1ObjectMeta": dict,
}


def check(kind: str, manifest: Any, where: str = "") -> None:
    """Fails on a key that the type does not have, or on a value of another type."""
    if kind in _PLAIN:
        assert isinstance(manifest, _PLAIN[kind]), f"{where}: {manifest!r} is no {kind}"
        return
    collection = re.fullmatch(r"list\[(.+)\]|dict\(str, (.+)\)", kind)
    if collection:
        is_list = collection[1] is not None
        assert isinstance(manifest, list if is_list else dict), f"{where}: {manifest!r} is no {kind}"
        items = enumerate(manifest) if is_list else manifest.items()
        for key, value in items:
            check(collection[1] or collection[2], value, f"{where}.{key}")
        return
    model = _type(kind)
    fields = {json_name: name for name, json_name in model.attribute_map.items()}
    assert isinstance(manifest, dict), f"{where}: {manifest!r} is no {kind}"
    for key, value in manifest.items():
        assert key in fields, f"{where}: {kind} has no {key}, only {sorted(fields)}"
        check(model.openapi_types[fields[key]], value, f"{where}.{key}")
    model(**{fields[key]: value for key, value in manifest.items()})  # its own checks, of what is required


def _type(kind: str) -> Any:
    found = getattr(_kserve(), kind, None) or getattr(kubernetes.client.models, kind, None)
    assert found is not None, f"There is no type {kind}"
    return found


def _kserve() -> Any:
    if "kserve.models" not in sys.modules:
        spec = importlib.util.find_spec("kserve")
        if spec is None:
            pytest.skip("KServe's SDK is not installed")
        package = types.ModuleType("kserve")
        package.__path__ = list(spec.submodule_search_locations or ())
        sys.modules["kserve"] = package
    return importlib.import_module("kserve.models")
