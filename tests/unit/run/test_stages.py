"""The table of stages: which stage and subject a task's name means."""

from __future__ import annotations

import pytest

from foundry.run.stages import stage_of


@pytest.mark.parametrize("task, stage, subject", [
    ("module:2.22.2.0-6.1.0.x86_64", "module", "2.22.2.0-6.1.0.x86_64"),
    ("toolkit", "toolkit", "the catalogue"),
    ("toolkit:pr", "toolkit:pr", "catalogue and locks"),
    ("dtk:5.14.0-427.68.2.el9_4.x86_64", "dtk", "5.14.0-427.68.2.el9_4.x86_64"),
    ("dtk:publish:5.14.0-427.68.2.el9_4.x86_64", "dtk:publish", "5.14.0-427.68.2.el9_4.x86_64"),
    ("dtk:kernels", "dtk:kernels", "kernels"),
    ("archive:neuron", "archive", "neuron"),
    ("archive:verify:neuron", "archive:verify", "neuron"),
    ("github:2.22.2.0", "github", "2.22.2.0"),
])
def test_the_longest_name_that_fits(task: str, stage: str, subject: str) -> None:
    found = stage_of(task)
    assert found is not None
    assert (found[0].name, found[1]) == (stage, subject)


@pytest.mark.parametrize("task", ["build", "build:2.22.2.0", "publish:2.22.2.0", "sandbox:up", "", "mod", "modules:x"])
def test_what_is_no_stage(task: str) -> None:
    assert stage_of(task) is None
