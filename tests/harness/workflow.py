"""A workflow file played on this machine: its jobs' steps in order, each job in a checkout of its own.

`run:` steps are really run, with the shell and the environment that GitHub
gives them. Of actions those that the build workflow uses are stood in for, by
what their documentation and source say: what of a path an artifact keeps, where
it is unpacked. Expressions in
``${{ }}`` are evaluated; any other action, function or context is an error.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from tests.harness.clone import ROOT, Clone

STEP_SECONDS = 900
SUMMARY = ".github-summary"


class Node(dict[str, Any]):
    """A context of expressions: what it does not have is empty, as in GitHub's."""

    def __getattr__(self, name: str) -> Any:
        found = self.get(name, "")
        return Node(found) if isinstance(found, dict) else Several(found) if isinstance(found, list) else found


class Several(list[Any]):
    """A list of expressions: there is nothing beyond its end."""

    def __getitem__(self, index: Any) -> Any:
        return list.__getitem__(self, index) if index < len(self) else None


@dataclass
class Step:
    """What a step did. Of one that was left out, `code` is None."""

    name: str
    code: int | None
    text: str = ""


@dataclass
class Job:
    """A job that was played in a checkout."""

    clone: Clone
    result: str = "success"
    steps: list[Step] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All that its steps said."""
        return "\n".join(f"-- {step.name}: {step.code}\n{step.text}" for step in self.steps)

    @property
    def summary(self) -> str:
        """What its steps put into its summary."""
        file = self.clone.root / SUMMARY
        return file.read_text() if file.exists() else ""

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


class Workflow:
    """One workflow of the project."""

    def __init__(self, name: str, contexts: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]) -> None:
        text = (ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8")
        self.document: dict[str, Any] = yaml.safe_load(text)
        self.contexts = contexts
        self.environment = dict(environment)


@dataclass
class Play:
    """One run of a workflow; its artifacts go with it."""

    workflow: Workflow
    folder: Path
    number: int
    inputs: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)

    def wanted(self, name: str) -> bool:
        """Whether the job runs at all."""
        condition = self.workflow.document["jobs"][name].get("if")
        needed = [self.results.get(one, "skipped") for one in self._needs(name)]
        return bool(self._value(condition, {})) if condition else all(one == "success" for one in needed)

    def matrix(self, name: str) -> list[dict[str, Any]]:
        """The job's matrix, from what it needs."""
        matrix = self._value(self.workflow.document["jobs"][name]["strategy"]["matrix"], {})
        return [dict(one) for one in matrix.include]

    def play(
        self, name: str, clone: Clone, matrix: Mapping[str, Any] | None = None, *,
        dies: Callable[[], bool] | None = None,
    ) -> Job:
        """All steps of a job; the machine is gone, with all that is on it, as soon as `dies` holds."""
        job = self.jobs[f"{name} {matrix['shard']}" if matrix else name] = Job(clone)
        contexts: dict[str, Any] = {"matrix": Node(matrix or {}), "steps": Node(), "job": job}
        for step in self.workflow.document["jobs"][name]["steps"]:
            code, text = self._step(step, job, contexts, dies)
            job.steps.append(Step(step.get("name") or step.get("run") or step["uses"], code, text))
            if code is not None and code < 0:  # the machine died
                job.result = "failure"
                break
            if code:
                job.result = "failure"
        for output, value in self.workflow.document["jobs"][name].get("outputs", {}).items():
            job.outputs[output] = str(self._value(value, contexts))
        if self.results.get(name) != "failure":
            self.results[name] = job.result
        return job

    def _step(self, step: Mapping[str, Any], job: Job, contexts: Mapping[str, Any], dies: Callable[[], bool] | None,
              ) -> tuple[int | None, str]:
        condition = step.get("if", "success()")
        asks = any(f"{word}()" in condition for word in ("success", "failure", "always", "cancelled"))
        if not self._value(condition, contexts) or (not asks and job.result != "success"):
            return None, ""
        if "run" in step:
            return self._run(step, job.clone, contexts, dies)
        given = {key: self._value(str(value), contexts) for key, value in step.get("with", {}).items()}
        action = step["uses"].partition("@")[0]
        _ACTIONS[action](self, job.clone, given)
        return 0, ""

    def _run(self, step: Mapping[str, Any], clone: Clone, contexts: Mapping[str, Any],
             dies: Callable[[], bool] | None) -> tuple[int, str]:
        output = clone.root / ".github-output"
        output.write_text("")
        env = {key: str(self._value(value, contexts)) for key, value in step.get("env", {}).items()}
        kept = clone.environment(**self.workflow.environment, **env, GITHUB_OUTPUT=str(output),
                                 GITHUB_STEP_SUMMARY=str(clone.root / SUMMARY))
        kept.pop("KMOD_PROFILE")
        assert "${{" not in step["run"], "what an expression holds must not become a program"
        with (clone.root / ".step.log").open("w+") as log:
            process = subprocess.Popen(["bash", "-e", "-c", step["run"]], cwd=clone.root, env=kept, stdout=log,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            until = time.monotonic() + STEP_SECONDS
            try:
                while process.poll() is None and not (dies is not None and dies()):
                    assert time.monotonic() < until, "the step does not end"
                    time.sleep(0.02)
            finally:  # also when these tests are interrupted
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            log.seek(0)
            text = log.read()
        pairs = dict(line.split("=", 1) for line in output.read_text().splitlines())
        if "id" in step:
            contexts["steps"][step["id"]] = {"outputs": pairs}
        return process.returncode, text

    # -- expressions -------------------------------------------------------------

    def _needs(self, name: str) -> list[str]:
        needs = self.workflow.document["jobs"][name].get("needs", [])
        return [needs] if isinstance(needs, str) else list(needs)

    def _value(self, text: str, contexts: Mapping[str, Any]) -> Any:
        """A text with expressions; one that is nothing but an expression keeps its kind."""
        whole = re.fullmatch(r"\s*\$\{\{(.*)\}\}\s*", text) if text.count("${{") == 1 else None
        if whole:
            return self._evaluate(whole[1], contexts)
        if "${{" not in text and re.fullmatch(r"[\w.]+\(\)", text):
            return self._evaluate(text, contexts)  # an `if` needs no braces
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: _shown(self._evaluate(found[1], contexts)), text)

    def _evaluate(self, expression: str, contexts: Mapping[str, Any]) -> Any:
        """By Python, after its operators were put in place of GitHub's."""
        job = contexts.get("job")
        needs = {name: {"result": self.results.get(name, "skipped"),
                        "outputs": self.jobs[name].outputs if name in self.jobs else {}}
                 for name in self.workflow.document["jobs"]}
        names = {
            **{name: Node(value) for name, value in self.workflow.contexts.items()},
            "github": Node({**self.workflow.contexts["github"], "run_id": self.number, "run_attempt": 1}),
            "inputs": Node(self.inputs), "needs": Node(needs), "matrix": contexts.get("matrix", Node()),
            "steps": contexts.get("steps", Node()), "fromJSON": lambda text: Node(json.loads(text)),
            "always": lambda: True, "cancelled": lambda: False,
            "success": lambda: job is None or job.result == "success",
        }
        python = expression.replace("||", " or ").replace("&&", " and ")
        python = re.sub(r"!(?!=)", " not ", python)
        return eval(python.strip(), {"__builtins__": {}}, names)

    # -- actions -----------------------------------------------------------------

    def _checkout(self, clone: Clone, given: Mapping[str, Any]) -> None:
        assert str(given.get("persist-credentials")).lower() == "false"

    def _upload(self, clone: Clone, given: Mapping[str, Any]) -> None:
        """Files without hidden ones, below the folder that the fixed beginnings of all paths have in common."""
        patterns = str(given["path"]).split()
        begins = {_fixed(pattern) for pattern in patterns}
        parts = [begin.parts for begin in begins if not any(other in begin.parents for other in begins)]
        common = Path(*(same[0] for same in takewhile(lambda same: len(set(same)) == 1, zip(*parts, strict=False))))
        found = {path for pattern in patterns for path in clone.root.glob(pattern) if path.is_file()}
        for path in found:
            inside = path.relative_to(clone.root / common)
            if not any(part.startswith(".") for part in inside.parts):
                dest = self.folder / str(given["name"]) / inside
                dest.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, dest)

    def _download(self, clone: Clone, given: Mapping[str, Any]) -> None:
        """Each artifact in a folder of its name; one alone in the folder itself."""
        found = sorted(self.folder.glob(str(given["pattern"]))) if self.folder.is_dir() else []
        for artifact in found:
            dest = clone.root / str(given["path"])
            shutil.copytree(artifact, dest / artifact.name if len(found) > 1 else dest)

    def _upload_pages(self, clone: Clone, given: Mapping[str, Any]) -> None:
        """A whole folder, which has a first page."""
        assert (clone.root / str(given["path"]) / "index.html").is_file()
        shutil.copytree(clone.root / str(given["path"]), self.folder / "github-pages")


_ACTIONS: dict[str, Callable[[Play, Clone, Mapping[str, Any]], None]] = {
    "actions/checkout": Play._checkout, "actions/upload-artifact": Play._upload,
    "actions/download-artifact": Play._download, "actions/upload-pages-artifact": Play._upload_pages,
}


def _fixed(pattern: str) -> Path:
    """The part of a path before the first with a wildcard."""
    parts = []
    for part in Path(pattern).parts:
        if "*" in part:
            break
        parts.append(part)
    return Path(*parts)


def _shown(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
