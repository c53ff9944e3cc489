"""How dicts become files that people read: YAML and JSON with a first line that says where they come from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from string import Template
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, and repeats a value instead of pointing to it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def to_yaml(documents: Mapping[str, Any] | Iterable[Mapping[str, Any]], command: str) -> str:
    """One document or several, below a comment with the command that wrote them."""
    each = [documents] if isinstance(documents, Mapping) else list(documents)
    text = yaml.dump_all(each, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return f"# {command}\n{text}"


def to_json(document: Mapping[str, Any]) -> str:
    """Indented, as Grafana exports it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def template(file: str, **values: object) -> str:
    """A file of `templates/`, its $names filled in."""
    text = (files("serving.deploy") / "templates" / file).read_text(encoding="utf-8")
    return Template(text).substitute(values) if values else text
