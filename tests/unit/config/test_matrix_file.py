"""An entry is added to a matrix as its user laid it out; nothing else changes."""

from __future__ import annotations

import json

import pytest

from foundry.config.matrix_file import with_entry

ENTRY = {"driver": "2.0", "ocp_versions": ["4.18", "4.19"]}
LINE = '{"driver": "2.0", "ocp_versions": ["4.18", "4.19"]}'


@pytest.mark.parametrize("before, after", [
    ("[]\n", f"[\n  {LINE}\n]\n"), ("[ \n ]", f"[\n  {LINE}\n]"),
    ('[\n  {"driver": "1.0", "ocp_versions": ["4.18"]}\n]\n',
     f'[\n  {{"driver": "1.0", "ocp_versions": ["4.18"]}},\n  {LINE}\n]\n'),
    # columns, blank lines and strange orders stay
    ('[\n\n    {"ocp_versions":["4.1"],  "driver":"1"},\n\n    {"driver":"]"}\n]',
     f'[\n\n    {{"ocp_versions":["4.1"],  "driver":"1"}},\n\n    {{"driver":"]"}},\n\n    {LINE}\n]'),
    ('[{"driver": "1"}, {"driver": "1.5"}]\n', f'[{{"driver": "1"}}, {{"driver": "1.5"}}, {LINE}]\n'),
    ('[{"driver": "1"}]', f'[{{"driver": "1"}},\n  {LINE}]'),
    ('[\r\n  {"driver": "1"}\r\n]\r\n', f'[\r\n  {{"driver": "1"}},\r\n  {LINE}\r\n]\r\n'),
])
def test_in_the_style_of_the_file(before: str, after: str) -> None:
    assert with_entry(before, ENTRY) == after


@pytest.mark.parametrize("indent", ["  ", "    ", "\t"])
def test_a_field_a_line(indent: str) -> None:
    entries = [{"driver": "1", "ocp_versions": ["4.18"]}, {"driver": "1.5", "ocp_versions": ["4.18"]}]
    for some in (entries, entries[:1]):
        assert with_entry(json.dumps(some, indent=indent), ENTRY) == json.dumps([*some, ENTRY], indent=indent)
