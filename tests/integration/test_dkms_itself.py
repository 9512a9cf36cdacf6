"""DKMS itself is the judge: what is read in a ``dkms.conf`` is what the DKMS of Debian 12 and 13 reads, or refused.

The confs are those of Debian's packages, and made ones.
"""

from __future__ import annotations

import os
import posixpath
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.base.files import scratch
from foundry.formats.packages.dkms import WORK, DkmsConf, parse
from foundry.formats.packages.dkms_conditions import meets
from tests.harness.dkms_judge import ARCH, CONFIG, KERNEL, PACKAGES, SUITES, Judged, fetched, judged, kernel_folder
from tests.harness.fuzz import examples
from tests.harness.github_openapi import CACHE

HEAD = 'PACKAGE_NAME="thing"\nPACKAGE_VERSION="1.2"\nBUILT_MODULE_NAME[0]="thing"\nDEST_MODULE_LOCATION[0]="/extra"\n'
# Conditions that the DKMS of Debian 12 does not know.
NEWER = ("BUILD_EXCLUSIVE_KERNEL_MIN", "BUILD_EXCLUSIVE_KERNEL_MAX", "OBSOLETE_BY")


def filled(words: Sequence[str], kernel_build: str) -> tuple[str, ...]:
    facts = (("{kernel}", KERNEL), ("{kernel_build}", kernel_build), ("{arch}", ARCH))
    done = []
    for word in words:
        for name, value in facts:
            word = word.replace(name, value)  # noqa: PLW2901
        done.append(word)
    return tuple(done)


def differences(ours: DkmsConf, theirs: Judged | None, kernel_build: str, suite: str) -> list[str]:
    """What is not the same, in words."""
    if theirs is None:
        return ["DKMS refuses it"]
    tree = {f"/var/lib/dkms/{theirs.name}/{theirs.version}/build": WORK,
            f"/usr/src/{theirs.name}-{theirs.version}": WORK}

    def moved(text: str) -> str:
        for path, place in tree.items():
            text = text.replace(path, place)
        return text

    place = ours.make.index("make")
    environment, arguments = filled(ours.make[:place], kernel_build), filled(ours.make[place + 1:], kernel_build)
    given_ = tuple(moved(word) for word in theirs.make or () if word != "-j7")
    modules = tuple((posixpath.normpath(file), posixpath.normpath(f"/{where}").strip("/"))
                    for file, where in theirs.modules)
    program, *words = theirs.pre_build.split() or [""]  # it is looked for in the build folder, whatever it is called
    exclusive = {name: value for name, value in ours.exclusive.items() if suite != SUITES[0] or name not in NEWER}
    pairs = {
        "name": ((ours.name, ours.version), (theirs.name, theirs.version)),
        "modules": (tuple((one.file, one.destination) for one in ours.modules), modules),
        "arguments": (arguments, given_),
        "environment": ({*environment} - {moved(one) for one in theirs.environment}, set()),
        "pre_build": (filled(ours.pre_build, kernel_build),
                      (f"./{posixpath.normpath(program.lstrip('/'))}", *map(moved, words)) if program else ()),
        "excluded": (not all(meets(name, wanted, kernel=KERNEL, arch=ARCH, config=CONFIG)
                             for name, wanted in exclusive.items()), theirs.excluded),
        "patch": ("", theirs.patch),
    }
    return [f"{what}: {mine} is {dkms} for DKMS" for what, (mine, dkms) in pairs.items() if mine != dkms]


def compare(confs: Sequence[bytes], work: Path) -> tuple[list[str], list[FoundryError | None]]:
    """All differences, and of each conf the error with which it is refused here."""
    read: list[DkmsConf] = []
    errors: list[FoundryError | None] = []
    taken = []
    for conf in confs:
        try:
            read.append(parse(conf))
        except FoundryError as error:
            errors.append(error)
        else:
            errors.append(None)
            taken.append(conf)
    found = []
    for suite in SUITES:
        folder = work / suite
        for conf, ours, theirs in zip(taken, read, judged(suite, taken, folder), strict=True):
            if suite == SUITES[0] and b"\r" in conf:
                continue  # it has ends of lines of Windows, which the DKMS of Debian 12 does not know
            for one in differences(ours, theirs, kernel_folder(folder), suite):
                found.append(f"{suite}: {one}\n{conf.decode(errors='replace')}")
    return found, errors


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def test_the_confs_of_debians_packages(work: Path) -> None:
    confs = [(fetched() / "confs" / name / "dkms.conf").read_bytes() for name in PACKAGES]
    found, errors = compare(confs, work)
    assert found == []
    refused = {name: error.reason for name, error in zip(PACKAGES, errors, strict=True) if error is not None}
    print(f"{len(confs)} confs, {len(confs) - len(refused)} equal, refused: {refused}")
    # They run more than make, or code decides on what is built.
    assert set(refused) <= {f"{name}-dkms" for name in (
        "dahdi", "ddcci", "digimend", "jool", "lttng-modules", "openafs-modules", "v4l2loopback", "west-chamber",
        "xtables-addons")}
    assert set(refused.values()) == {"dkms-shell"}


NAMES = (
    "MAKE", "X", "Y", "PRE_BUILD", "PACKAGE_VERSION", "BUILT_MODULE_NAME", "DEST_MODULE_LOCATION",
    "BUILD_EXCLUSIVE_KERNEL", "BUILD_EXCLUSIVE_KERNEL_MAX", "BUILD_EXCLUSIVE_KERNEL_MIN", "OBSOLETE_BY",
    "BUILD_EXCLUSIVE_CONFIG", "BUILT_MODULE_LOCATION",
)
WORDS = (
    "make", "'make'", "make all", "a", "b", "A=b", "X=1", "/extra", "/kernel/../updates/", "/updates//x/./y", "6.1",
    "6.1.0-40", "6.1.0-55-amd64", "10", "^6\\.1", "[[:digit:]]+-amd64$", "^5", "CONFIG_PCI", "!CONFIG_PCI",
    "CONFIG_I2C", "./pre", "sub", "-j1", "", " ", "  ", "\t", "\\", "\\\\", '\\"', "\\$X", "$", "$X", "${X}",
    "${Y:-d}", "${X:-$(uname)}", "${kernelver:-$(uname -r)}", "${Y-e}", "${X:+f}", "${Y:-$X/${kernelver}}",
    "${kernelver}", "$kernel_source_dir", "$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build", "$MAKE", "${MAKE[0]}",
    "$arch", "'", "''", "\\'", "#c", " #c", "~", "*", "\\\n", "\n", "{a,b}", ";", "é",
)
QUOTED = ('"%s"', '"%s"', '"%s"', "'%s'", "%s")
FORMS = ("{}={}", "{}={}", "{}[0]={}", "{}+={}", "{}=({})", "{}+=({})", "{}[1]={}", "{}=()", "{}=([0]={})", "{}= #{}")
CODE = (
    "if true; then\n  %s\nfi", "if false; then %s; fi", "case x in\n  a|b) %s ;;\n  x)\n%s ;;\nesac",
    "for i in 1 2; do %s; done", "[ -n x ] && %s", "[[ $kernelver =~ ^6\\. ]] && %s", "false ||\n%s", "( %s )",
    "{ %s; }", "unset X", "unset MAKE", "read X < /dev/null", "printf -v X y", "printf 'x\\n'", "let X=1",
    "declare X=1", "local X=1", "f() {\n%s\n}", "f() { %s; }\nf", "eval %s", "X=1 true", "X=$((1+1))", ": ${Y:=g}",
    ': "$((Y=3))"', "export %s", "true # %s", "# %s \\", "cat <<E\n%s\nE", 'echo "\n%s\n"', "echo '%s'",
    "while false; do\n%s\ndone", "X+=(%s)", "true | %s", "Y=$(echo z)", "echo `echo %s`",
    'if [ "x" = \'fi\' ]; then echo fi; %s; fi', "%s &", "! %s", "X=$'a\\tb'", "${Z:?}", "true; %s",
    "if true\nthen\n%s\nelif false; then :\nelse\n%s\nfi",
)


@st.composite
def assignments(draw: st.DrawFn) -> str:
    value = "".join(
        draw(st.sampled_from(QUOTED)) % draw(st.sampled_from(("", " "))).join(
            draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))) for _ in range(draw(st.integers(1, 2))))
    return draw(st.sampled_from(FORMS)).format(draw(st.sampled_from(NAMES)), value)


@st.composite
def confs(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(assignments(), min_size=1, max_size=4))
    if not draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(lines) - 1))
        lines[place] = draw(st.sampled_from(CODE)).replace("%s", lines[place])
    text = HEAD + "\n".join(lines) + "\n"
    return (text if draw(st.integers(0, 9)) else text.replace("\n", "\r\n")).encode()


@settings(examples(8), phases=[Phase.generate])
@given(st.lists(confs(), min_size=20, max_size=20))
def test_made_confs(made: list[bytes]) -> None:
    """Many at once, for a start of the program takes longer than a conf."""
    with scratch(CACHE, "dkms-made") as work:
        found, errors = compare(list(dict.fromkeys(made)), work / "work")
    assert not found, found[0]
    event("equal", sum(error is None for error in errors))


PLAIN = """\
X=${X:-3}
MAKE="A=$X 'make' K=$kernelver"
PRE_BUILD="./pre $kernelver"
CLEAN=true
"""
PROGRAM = """\
#!/bin/sh
echo "${0##*/} ${A:-} $*" >> "$RAN"
: > thing.ko
"""


@pytest.mark.parametrize("suite", SUITES)
def test_a_build_from_its_start(suite: str, work: Path) -> None:
    """The whole of ``dkms build``, with a program in place of make: it runs what is read here, no more."""
    files = {"src/thing-1.2/dkms.conf": HEAD + PLAIN, "src/thing-1.2/pre": PROGRAM, "bin/make": PROGRAM,
             "bin/strip": "#!/bin/sh\n", "kernel/.config": CONFIG, "kernel/include/x": "", "tree/x": ""}
    for name, text in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
        (work / name).chmod(0o755)
    subprocess.run(
        ["bash", fetched() / suite / "dkms", "build", "-m", "thing", "-v", "1.2", "-k", KERNEL, "-a", ARCH, "-j", "7",
         "--dkmstree", work / "tree", "--sourcetree", work / "src", "--kernelsourcedir", work / "kernel"],
        env={"PATH": f"{work}/bin:{os.environ['PATH']}", "LC_ALL": "C", "RAN": str(work / "ran")}, check=True,
    )
    ours = parse((HEAD + PLAIN).encode())
    assert ours.make == ("A=3", "make", "K={kernel}")
    assert ours.pre_build == ("./pre", "{kernel}")
    assert (work / "ran").read_text() == f"pre  {KERNEL}\nmake 3 K={KERNEL}\n"
