"""Before an upgrade: `doit advise` goes by what `doit toolkit` keeps of the release graph, without a request."""

from __future__ import annotations

import json

import yaml

from tests.harness.clone import AccessLogs, Clone

OLD, NEW = "2.16.7.0", "2.22.2.0"
FIRST, LAST = "4.16.30", "4.18.16"
WAY = [FIRST, "4.16.48", "4.17.12", "4.18.15", LAST]


def test_may_i_upgrade(copied: Clone, kernels: list[str], access: AccessLogs) -> None:
    run = copied.doit("advise", NEW, FIRST, LAST)
    assert run.code == 2 and f"no ledger of {NEW}" in run.text, run.text
    assert copied.doit("release").code == 0
    assert copied.doit("toolkit").code == 0
    access.new()
    run = copied.doit("advise", NEW, FIRST, LAST, "--json")
    assert (run.code, run.processes, run.connections, access.new()) == (0, [], [], []), run.text
    said = json.loads(run.out)
    assert said["covered"] and said["recommended"] and [step["release"] for step in said["path"]] == WAY
    module, preflight = yaml.safe_load_all(said["manifests"])
    mapped = {one.get("literal") for one in module["spec"]["moduleLoader"]["container"]["kernelMappings"]}
    assert mapped == {*kernels, None}, "old and new kernels at once"
    assert preflight["spec"]["kernelVersion"] == kernels[2]
    # a shorter way that is not recommended to every cluster is not taken, and told of where it is the only one
    run = copied.doit("advise", NEW, "4.17.12", "4.18.15", "--manifest")
    assert run.code == 0, run.text
    (copied.root / "way.yaml").write_text(run.out)
    assert copied.doit("check", "way.yaml").code == 0
    run = copied.doit("advise", OLD, FIRST, LAST)
    assert run.code == 1 and "No: on every way from" in run.out, run.text
    assert f"{kernels[2]} has no image: the matrix does not want it" in run.out and "LOST" in run.out, run.out
    assert copied.doit("advise", OLD, FIRST, "4.18.15").code == 0


def test_bad_questions(copied: Clone) -> None:
    copied.doit(f"release:{NEW}")
    (copied.build / "upgrades.json").unlink(missing_ok=True)
    run = copied.doit("advise", NEW, FIRST, LAST)
    assert run.code == 2 and "no upgrades are known" in run.text, run.text
    copied.write("build/sandbox/upgrades.json", {"schema": 2})
    run = copied.doit("advise", NEW, FIRST, LAST)
    assert run.code == 2 and "upgrades.json: $" in run.text, run.text
    assert copied.doit("toolkit").code == 0
    for words, code, said in (
        ((NEW, FIRST, "4.99.1"), 2, "4.99.1 is in neither"), ((NEW, LAST, FIRST), 1, "No way leads"),
        (("9.9", FIRST, LAST), 2, "no ledger of 9.9"), ((NEW, FIRST), 2, "advise needs"),
    ):
        run = copied.doit("advise", *words)
        assert run.code == code and said in run.text and "Traceback" not in run.text, run.text
