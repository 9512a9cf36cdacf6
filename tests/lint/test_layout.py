"""Folders by subject: imports go down the list, never up, and no file imports itself through others."""

from __future__ import annotations

import ast
import itertools
import re
from collections import defaultdict

import pytest

from tests.lint.test_lint import ROOT, tracked

# The lowest first; CONTRIBUTING.md says what each is for.
FOLDERS = (
    "base", "formats", "config", "net", "aws", "signing", "registry", "plan", "podman", "boot", "run", "github",
    "packages", "archive", "catalogue", "driver", "cell", "attest", "toolkit", "ledger", "kmm", "release", "site",
    "fleet", "sandbox", "preflight",
)


def imports() -> dict[str, set[str]]:
    """Module → modules of the project that it imports, wherever in the file and for whatever reason."""
    files = {name.removesuffix(".py").replace("/", "."): name for name in tracked("foundry/*.py", "tasks/*.py")}
    found: dict[str, set[str]] = {}
    for module, name in files.items():
        nodes = list(ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))))
        named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: relative import"
                named |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        found[module] = {one for one in named if one in files or one.partition(".")[0] == "doit"} - {module}
    return found


IMPORTS = imports()


def folder_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "foundry" and len(parts) > 1 else parts[0]


def between() -> dict[tuple[str, str], list[str]]:
    """Pair of folders → what of the first imports what of the second."""
    pairs = defaultdict(list)
    for module, others in IMPORTS.items():
        for other in sorted(others):
            if folder_of(module) != folder_of(other):
                pairs[folder_of(module), folder_of(other)].append(f"{module} → {other}")
    return pairs


def test_every_folder_has_its_place() -> None:
    assert {folder_of(module) for module in IMPORTS} - {"__init__"} == {*FOLDERS, "tasks"}


@pytest.mark.parametrize("lower, upper", [
    *itertools.combinations((*FOLDERS, "tasks"), 2), *((folder, "doit") for folder in FOLDERS),
])
def test_imports_go_down(lower: str, upper: str) -> None:
    """Only task modules and commands import doit."""
    assert between().get((lower, upper), []) == []


def test_no_file_imports_itself_through_others() -> None:
    """Also not where a type alone is wanted, or later in a function."""
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " → ".join([*way[way.index(module):], module])
        if module not in done:
            for other in sorted(IMPORTS.get(module, ())):
                visit(other, (*way, module))
            done.add(module)

    for module in IMPORTS:
        visit(module, ())


def test_one_reader_of_archives() -> None:
    """Whatever unpacks or decompresses goes through a budget (foundry/formats/trees); others only write."""
    unpacks = re.compile(r"^\s*(?:import|from) (?:tarfile|zipfile|gzip|bz2|lzma|zlib|zstandard)\b", re.MULTILINE)
    found = {name for name in tracked("foundry/*.py", "tasks/*.py") if unpacks.search((ROOT / name).read_text())}
    assert found == {
        "foundry/formats/trees/decompress.py", "foundry/formats/trees/sourcetar.py", "foundry/formats/images/oci.py",
        "foundry/formats/images/rewrite.py",  # makes headers
        "foundry/packages/openpgp.py",  # a message's packets, with a limit
        "foundry/sandbox/signatures.py",
    }
    assert all('mode="w' in line or ', "w"' in line for name in found
               for line in (ROOT / name).read_text().replace("(\n", "(").splitlines() if "tarfile.open(" in line)


def test_contributors_are_told() -> None:
    """The table in CONTRIBUTING.md has the folders in their order."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `foundry/([a-z]+)/` \|", text, re.MULTILINE)) == FOLDERS


_SYSTEM = {  # what these read belongs to the system or to podman, which put no pipe there
    "foundry/base/process.py", "foundry/podman/emulation.py", "foundry/podman/leftovers.py", "foundry/podman/probe.py",
    "foundry/preflight/checks.py",
}


def test_no_reader_waits_for_a_pipe_in_a_file_s_place() -> None:
    waits = re.compile(r"""\.read_bytes\(\)|\.read_text\(|open\((?:path, )?"rb"\)""")
    found = {name for name in tracked("foundry/*.py", "tasks/*.py") if waits.search((ROOT / name).read_text())}
    assert {name for name in found if not name.startswith("foundry/sandbox/")} == _SYSTEM, "read_file and open_file"
