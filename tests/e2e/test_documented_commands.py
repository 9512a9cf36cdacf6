"""Every command of README and docs is run here as it stands there, or by the test that is named."""

from __future__ import annotations

import re
import shlex

from tests.harness.checkout import ROOT
from tests.harness.clone import Clone

_COMMAND = re.compile(r"(?:[A-Z_]+=\S* )*(?:doit|make) [^`]*")
_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)

# What needs an account, GitHub, a sandbox of its own or minutes: the test that runs it, and the words to find there.
ELSEWHERE = {
    r"doit advise\b.*": ("e2e/test_advise.py", '"advise"'),
    r"doit check\b.*": ("e2e/test_bundles.py", '"check"'),
    r"doit kit:load\b.*": ("e2e/test_kits.py", '"kit:load"'),
    r"doit day1\b.*": ("e2e/test_bundles.py", "day1:"),
    r"doit archive\b.*": ("e2e/test_archive.py", '"archive'),
    r"doit dtk\b.*": ("e2e/test_dtk.py", '"dtk'),
    r"doit collect": ("e2e/test_workflow.py", '"collect"'),
    r"doit new\b.*": ("graph/test_new.py", '"new"'),
    r"doit signing:new --name.*": ("e2e/test_signed.py", '"signing:new", "--name"'),
    r"doit sign:image\b.*": ("integration/test_sign_image.py", '"sign:image"'),
    r"doit plan --since.*": ("graph/test_plan.py", "--since"),
    r"doit sync": ("e2e/test_sync.py", '"sync"'),
    r"doit sandbox:families": ("e2e/test_real_families.py", "sandbox:families"),
    r"doit sandbox:down": ("harness/sandbox.py", '("up", "down")'),
    r".*doit toolkit:pr": ("e2e/test_toolkit_pr.py", "toolkit:pr"),
    r"doit toolkit.*": ("e2e/test_kernels.py", '"toolkit"'),
    r"doit verify --offline.*": ("e2e/test_anew_and_offline.py", "--offline="),
    r"FORCE_BUILD=true .*": ("e2e/test_incremental.py", "FORCE_BUILD"),
}
NOT_HERE = {
    r"make (test|lint|setup)": "what runs this", r"make (demo|runtime|PYTHON=.*)": "make environments of their own",
    r"make (bench|drill|fuzz)": "up to hours", r"make requirements": "asks the package index for new versions",
    r"make boots": "installs packages and changes the machine's rules of devices",
    r"make clean": "removes the environment that the tests run in",
}
_FORMS = {
    "DRIVER": "2.22.2.0", "VERSION": "2.22.2.0", "RELEASE": "4.18.15", "profile NAME": "profile local",
    "NAME": "status",
}


def commands() -> list[str]:
    """The commands of shell blocks and of inline code, each once."""
    found: dict[str, None] = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text()
        lines = [line.strip() for kind, block in _FENCED.findall(text) if kind == "sh" for line in block.splitlines()]
        lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", _FENCED.sub("", text))]
        found |= {line: None for each in lines if _COMMAND.fullmatch(line := re.sub(r"\s+#.*", "", each))}
    return list(found)


def played(command: str, cell: str) -> str:
    """The command, without a pipe behind it, with names that the sandbox has in place of the forms."""
    text = re.sub(r" \\?\|.*| ?\[[^]]*\]|(?<= )…", "", command).replace("CELL", cell)
    for form, name in _FORMS.items():
        text = re.sub(rf"\b{form}\b", name, text)
    kernel = cell.partition("-")[2]
    text = re.sub(r"(module|sign|image|boot|push):…", rf"\1:{cell}", text).replace("…", "2.22.2.0")
    text = f"{text} module:{cell}" if text == "doit info" else text
    return re.sub(r"\b(2\.29\.1\.0|1\.2\.2-2\.1)\b", "2.22.2.0", text.replace("*-6.1.0-56-*", f"*{kernel}")).strip()


def test_commands(copied: Clone) -> None:
    copied.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16.30", "4.18.15", "4.19.3"]}])
    copied.prove("wanted")
    cell = next(iter(copied.status()))
    rest = [command for command in commands() if not any(re.fullmatch(form, command) for form in ELSEWHERE | NOT_HERE)]
    assert len(rest) > 40
    # the choice of a profile comes last
    texts = sorted(dict.fromkeys(played(command, cell) for command in rest), key=lambda one: "profile " in one)
    failed = [f"{text}\n{done.text}" for text in texts if (done := copied.doit(*shlex.split(text)[1:])).code != 0]
    assert not failed, "\n".join(failed)


def test_the_rest_is_run_by_others() -> None:
    for form, (name, words) in ELSEWHERE.items():
        assert any(re.fullmatch(form, command) for command in commands()), f"no page has {form}"
        assert words in (ROOT / "tests" / name).read_text(), f"{name} runs no {form}"
