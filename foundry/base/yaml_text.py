"""YAML for people: everything where it stands, texts of several lines as such."""

from __future__ import annotations

from collections.abc import Iterable

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def yaml_documents(documents: Iterable[object]) -> bytes:
    """The documents in their order, each with its keys as they are."""
    text: str = yaml.dump_all(list(documents), Dumper=_Dumper, sort_keys=False, width=1000, explicit_start=False)
    return text.encode()
