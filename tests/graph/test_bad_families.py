"""Family files with faults, through the command line: all faults at once, exit code 2, nothing made."""

from __future__ import annotations

import pytest
import yaml

from tests.graph.test_bad_configuration import refused
from tests.harness.project import Project

FILE = "config/drivers/thing.yaml"
GOOD = {
    "title": "Thing", "signature": "none", "source": {"dkms": True}, "sha256": {"1.0": "a" * 64},
    "download": {"url": "https://example.org/thing-{driver}.tar.gz", "license": "GPL-2.0"},
}


def family(project: Project, **changes: object) -> None:
    whole = {**GOOD, **changes}
    project.write(FILE, yaml.safe_dump({name: value for name, value in whole.items() if value is not None}))


def test_the_smallest_family(project: Project) -> None:
    """Five entries: it is known, and there is nothing more to be said before its package is fetched."""
    family(project)
    assert project.doit("list").code == 0


@pytest.mark.parametrize("changes, path, words", [
    ({"variables": {"sha": {"file": "dkms.conf", "pattern": "^SHA=(["}}}, "$.variables.sha.pattern",
     "is no regular expression: unterminated character set"),
    ({"variables": {"sha": {"file": "dkms.conf", "pattern": "^SHA="}}}, "$.variables.sha.pattern", "has 0 groups"),
    ({"variables": {"sha": {"file": "dkms.conf", "pattern": "(a)(b)"}}}, "$.variables.sha.pattern", "has 2 groups"),
    ({"variables": {"kernel": {"file": "dkms.conf", "pattern": "(a)"}}}, "$.variables.kernel", "is a field already"),
    ({"variables": {"sha": {"pattern": "(a)"}}}, "$.variables.sha", "'file' is a required property"),
    ({"variables": {"sha": {"file": "/etc/passwd", "pattern": "(a)"}}}, "$.variables.sha.file", "'/etc/passwd'"),
    ({"title": None}, "$", "'title' is a required property"),
    ({"source": None}, "$", "'source' is a required property"),
    ({"source": {}}, "$.source", "'root' is a required property"),
    ({"source": {"root": "x"}}, "$", "'modules' is a required property"),
    ({"download": None}, "$", "`repository` or `download`"),
    ({"repository": {"url": "https://example.org", "packages": ["x"]}}, "$", "`repository` or `download`"),
    ({"signature": None}, "$", "`signing`, or `signature: none`"),
    ({"signature": "maybe"}, "$.signature", "'none' was expected"),
    ({"download": {"url": "https://example.org/thing.zip", "license": "x"}}, "$.download.url", "ends neither in .rpm"),
    ({"download": {"url": "https://example.org/thing.tar"}}, "$.download", "'license' is a required property"),
    ({"signature": None, "signing": {"key_url": "https://e.org/k", "fingerprint": "A" * 40}}, "$.signing",
     "only RPMs are signed"),
    ({"sha256": {"1.0": "short"}}, "$.sha256.1.0", "'short'"),
    ({"firmware": [{"package": "blobs", "from": "lib", "to": "x"}]}, "$.firmware[0].package",
     "no further package 'blobs'; known: none"),
    ({"firmware": [{"from": "../lib", "to": "x"}]}, "$.firmware[0].from", "must not contain '..'"),
    ({"further_packages": {"blobs": {}}}, "$.further_packages.blobs", "`repository` or `download`"),
    ({"make": {"arguments": ["SHA={shaa}"]}}, "$.make.arguments[0]", "unknown field {shaa}"),
    ({"labels": {"x": "{shaa}"}}, "$.labels['x']", "unknown field {shaa}"),
    ({"modules": [{"name": "a", "file": "a.ko"}], "loading_order": ["a", "b"]}, "$.loading_order[1]", "no module 'b'"),
    ({"kmm": {"selector": {}}}, "$.kmm.selector", "{}"),
    ({"kmm": {"selector": {"a b": "c"}}}, "$.kmm.selector", "'a b'"),
    ({"kmm": {"selector": {"a": "c d"}}}, "$.kmm.selector.a", "'c d'"),
    ({"kmm": {"tolerations": [{"operator": "Exists", "value": "x"}]}}, "$.kmm.tolerations[0].value", "'x'"),
    ({"kmm": {"tolerations": [{"value": "x"}]}}, "$.kmm.tolerations[0]", "'key' is a required property"),
    ({"licenses": ["container/licenses/none.txt"]}, "$.licenses", "container/licenses/none.txt does not exist"),
])
def test_a_fault_is_shown_with_its_place(
    changes: dict[str, object], path: str, words: str, project: Project
) -> None:
    family(project, **changes)
    done = refused(project, "build")
    assert any(line.startswith(f"  {FILE}: {path}: ") and words in line for line in done.err.splitlines()), done.err


def test_all_faults_at_once(project: Project) -> None:
    family(project, signature=None, variables={"sha": {"file": "x", "pattern": "("}}, labels={"a": "{b}"})
    assert "3 faults" in refused(project, "build").err


def test_two_families_of_one_name(project: Project) -> None:
    """In two folders; and two families that claim one driver version."""
    family(project)
    project.edit("config/defaults.yaml", "drivers: [config/drivers]", "drivers: [config/drivers, config/more]")
    project.write("config/more/thing.yaml", (project.root / FILE).read_text())
    done = refused(project, "build")
    assert f"config/more/thing.yaml: the family thing is already described by {FILE}" in done.err
    (project.root / "config/more/thing.yaml").unlink()
    project.write("build-matrix.json", [
        {"driver": "2.22.2.0", "ocp_versions": ["4.16"]},
        {"driver": "2.22.2.0", "family": "thing", "ocp_versions": ["4.16"]},
    ])
    assert "build-matrix.json: $[1].driver: 2.22.2.0 is already of family neuron" in refused(project, "build").err


def test_a_profile_takes_away_what_a_family_needs(project: Project) -> None:
    family(project)
    project.edit("config/profiles/local.yaml", "publish",
                 "families: {thing: {signature: none, repository: {url: 'https://e.org', packages: [x]}}}\n"
                 "publish")
    assert "`repository` or `download`" in refused(project, "build").err
