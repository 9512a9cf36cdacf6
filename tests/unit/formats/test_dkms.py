"""``dkms.conf``: read without a shell, and nothing in it is ever run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.formats.packages import bash
from foundry.formats.packages.bash import TooMuch, read_script
from foundry.formats.packages.dkms import IGNORED, MAX_BYTES, DkmsModule, parse
from foundry.formats.packages.dkms_conditions import meets
from tests.harness.fuzz import examples

HEAD = 'PACKAGE_NAME="thing"\nPACKAGE_VERSION="1.2"\n'
ONE = f'{HEAD}BUILT_MODULE_NAME[0]="thing"\nDEST_MODULE_LOCATION[0]="/extra"\n'


def made(text: str) -> tuple[str, ...]:
    return parse(text.encode()).make


def test_the_vendors_kind() -> None:
    conf = parse(f"""\
{HEAD}BUILT_MODULE_NAME[0]="neuron"
DEST_MODULE_LOCATION[0]="/kernel/drivers/neuron/"
MAKE[0]="make -C ${{kernel_source_dir}} M=${{dkms_tree}}/${{PACKAGE_NAME}}/${{PACKAGE_VERSION}}/build modules"
PRE_INSTALL=./preinstall
AUTOINSTALL="yes"
""".encode())
    assert (conf.name, conf.version) == ("thing", "1.2")
    assert conf.modules == (DkmsModule("neuron.ko", "kernel/drivers/neuron"),)
    assert conf.make == ("make", "KERNELRELEASE={kernel}", "-C", "{kernel_build}", "M=/foundry/work", "modules")
    assert conf.hooks == {"PRE_INSTALL": "./preinstall"}
    assert conf.remarks == ()


def test_several_modules_in_folders() -> None:
    conf = parse(f"""\
{HEAD}BUILT_MODULE_NAME[1]=two-b
BUILT_MODULE_LOCATION[1]=sub/two/
DEST_MODULE_LOCATION[1]='/updates'
BUILT_MODULE_NAME[0]=$PACKAGE_NAME   # the first
DEST_MODULE_LOCATION[0]=/extra
""".encode())
    assert conf.modules == (DkmsModule("thing.ko", "extra"), DkmsModule("sub/two/two-b.ko", "updates"))


def test_arrays_in_one_go() -> None:
    conf = parse(f"""{HEAD}BUILT_MODULE_NAME=(one
  two) DEST_MODULE_LOCATION=( /extra "/kernel/drivers/x" )\n""".encode())
    assert [(one.file, one.destination) for one in conf.modules] == [
        ("one.ko", "extra"), ("two.ko", "kernel/drivers/x"),
    ]


@pytest.mark.parametrize("text, words", [
    ("", ("make", "KERNELRELEASE={kernel}", "-C", "{kernel_build}", "M=/foundry/work")),
    ('MAKE="make all KDIR=$kernel_source_dir"', ("make", "KERNELRELEASE={kernel}", "all", "KDIR={kernel_build}")),
    # dkms(8): quoted, it gets no KERNELRELEASE
    ("MAKE[0]=\"'make' KVER=$kernelver\"", ("make", "KVER={kernel}")),
    ('MAKE="CC=clang make V=1"', ("CC=clang", "make", "V=1")),
    ('MAKE="make A=\\"b\\""', ("make", "KERNELRELEASE={kernel}", "A=b")),
    ('MAKE="make A=\'b c\'"', ("make", "KERNELRELEASE={kernel}", "A=b c")),
    ('X="-C $source_tree/$module-$module_version"\nMAKE="make $X"',
     ("make", "KERNELRELEASE={kernel}", "-C", "/foundry/work")),
    ('MAKE="make one"\nMAKE+=" two"', ("make", "KERNELRELEASE={kernel}", "one", "two")),
    ('MAKE="make ${NONE:-other}"', ("make", "KERNELRELEASE={kernel}", "other")),
    ('MAKE="make \\\n  lines"', ("make", "KERNELRELEASE={kernel}", "lines")),
])
def test_make(text: str, words: tuple[str, ...]) -> None:
    assert made(f"{ONE}{text}\n") == words


@pytest.mark.parametrize("text", [
    'MAKE="make; touch {mark}"', 'MAKE="make && touch {mark}"', 'MAKE="make | tee {mark}"', 'MAKE="make > {mark}"',
    'MAKE="make X=$(touch {mark})"', "MAKE=`touch {mark}`", 'MAKE="make X=`touch {mark}`"',
    'MAKE="(make; touch {mark})"',
    'MAKE="sh -c make"', "MAKE='make $(touch {mark})'", 'MAKE="make *.c"', 'MAKE="make $((1+1))"',
    "BUILT_MODULE_NAME[0]=$(touch {mark})", 'DEST_MODULE_LOCATION[0]="/$(touch {mark})"',
    'if true; then\n  MAKE="make one"\nfi', 'for i in 1 2; do\n  BUILT_MODULE_NAME[$i]=x\ndone',
    'case $kernelver in\n  5.*) PACKAGE_VERSION=2 ;;\nesac', ". ./more.conf", "source ./more.conf", "eval MAKE=make",
    "PRE_BUILD='./configure; touch {mark}'", 'f() {{\n  MAKE="make"\n}}', 'PACKAGE_VERSION=$(touch {mark})',
])
def test_shell_code_is_an_error_with_its_line(text: str, tmp_path: Path) -> None:
    """And it does nothing."""
    mark = tmp_path / "mark"
    with pytest.raises(FoundryError) as raised:
        parse((ONE + "\n" + text.format(mark=mark) + "\n").encode())
    assert raised.value.reason == "dkms-shell"
    assert raised.value.message.startswith("line 6 of the package's dkms.conf is shell code, which is never run")
    assert not mark.exists()


def test_shell_code_that_the_build_does_not_depend_on() -> None:
    """It is said, not done."""
    conf = parse(f"""{ONE}
if ! grep -q udev /etc/passwd 2>/dev/null ; then
  echo "no udev" >&2
  NOTE="^do_not_load$"
fi
CLEAN="rm -f *.o; make clean"
POST_INSTALL="$(which udevadm)"
echo done
""".encode())
    assert [remark.split(" of ")[0] for remark in conf.remarks] == ["line 6", "line 12", "line 11"]
    assert conf.hooks == {}


CONDITION = 'if ! grep -q "^CONFIG_I2C=[ym]$" "$kernel_source_dir/.config"; then\n  BUILD_EXCLUSIVE_ARCH="^none$"\nfi\n'


def test_a_condition_that_is_not_read_refuses_the_package() -> None:
    """A package that switches itself off: the error has the line, and the setting that overrides it."""
    error = refused(ONE + CONDITION)
    assert error.reason == "dkms-shell"
    assert error.message.startswith("line 5 of the package's dkms.conf is shell code")
    assert "BUILD_EXCLUSIVE_ARCH depends on it" in error.message
    assert error.hint == ("say it in the family file instead: `source: {dkms: true, ignore: [BUILD_EXCLUSIVE_ARCH]}`"
                          " (docs/families.md)")
    assert parse((ONE + CONDITION).encode(), overridden=frozenset({"BUILD_EXCLUSIVE_ARCH"})).exclusive == {}


def refused(text: str) -> FoundryError:
    with pytest.raises(FoundryError) as raised:
        parse(text.encode())
    return raised.value


@pytest.mark.parametrize("code", [
    "case $kernelver in\n  6.1.*) FLAVOUR=six ;;\nesac", "if true; then FLAVOUR=x; else FLAVOUR=y; fi",
    "[[ $kernelver =~ ^6 ]] && FLAVOUR=x", "[ -f x ] ||\n  FLAVOUR=x", "(\nFLAVOUR=x\n)", "unset FLAVOUR",
    "read FLAVOUR < /etc/hostname", "printf -v FLAVOUR %s x", "let FLAVOUR=3", "declare FLAVOUR=x", "local FLAVOUR=x",
    "typeset -u FLAVOUR", "readonly FLAVOUR", "f() { FLAVOUR=x; }\nf", "f()\n{\nFLAVOUR=x\n}", "eval x=y", ". ./more",
    "source more", "mapfile FLAVOUR < x", "getopts a FLAVOUR", ": ${FLAVOUR:=x}", ": $((FLAVOUR=3))", "((FLAVOUR=3))",
    "for FLAVOUR in a b; do :; done", "while true; do FLAVOUR=x; break; done", "true && FLAVOUR+=x",
    "unknown_function", 'n=FLAVOUR\nprintf -v "$n" x', "trap 'FLAVOUR=x' DEBUG", "shopt -s extglob", "set -e",
    "exit 1", "[ -f x ] && return 0", "FLAVOUR=$(echo x)", "FLAVOUR=`echo x`", "FLAVOUR=${kernelver%%-*}",
    "FLAVOUR=$RANDOM", "FLAVOUR=$HOME", "kernel_source_dir=.\n. $kernel_source_dir/.config", "FLAVOUR=$'a'",
    "FLAVOUR=~/x", "true;\\\nFLAVOUR=x", "FLA\\\nVOUR=x",
])
def test_what_code_touched_decides_nothing(code: str) -> None:
    """A variable is not what it was before."""
    error = refused(f'{ONE}FLAVOUR=generic\n{code}\nMAKE="make FLAVOUR=$FLAVOUR"\n')
    assert error.reason == "dkms-shell"
    assert "MAKE" in error.message
    assert error.message.startswith(("line 6 of the package's dkms.conf", "line 7 of the package's dkms.conf"))


@pytest.mark.parametrize("code", [
    "if true; then OTHER=x; fi", "case x in\n(x) OTHER=1 ;;\nesac", "echo `echo FLA`", "# FLAVOUR=x \\",
    "printf 'x\\n'", "if [ -f $kernel_source_dir/.config ]; then . $kernel_source_dir/.config; fi",
    "pushd `dirname x` > /dev/null\npopd", "case x in x) FLAVOUR=no ;; esac; true\nFLAVOUR=generic",
    "FLAVOUR=generic # ${FLAVOUR:=x}", "echo $FLAVOUR",
])
def test_what_code_did_not_touch_is_known(code: str) -> None:
    assert made(f'{ONE}FLAVOUR=generic\n{code}\nMAKE="make F=$FLAVOUR"\n')[2:] == ("F=generic",)


def test_all_that_code_could_have_touched_can_be_overridden() -> None:
    text = f"{ONE}. ./more.conf\n"
    error = refused(text)
    assert "`modules`, `make.command`, `source: {dkms: true, ignore: [PATCH, PRE_BUILD, BUILD_EXCL" in error.hint
    names = {"MAKE", "MAKE_MATCH", "BUILT_MODULE_NAME", "BUILT_MODULE_LOCATION", "DEST_MODULE_LOCATION", *IGNORED}
    conf = parse(text.encode(), overridden=frozenset(names))
    assert (conf.modules, conf.make, conf.pre_build, conf.exclusive) == ((), (), (), {})


@pytest.mark.parametrize("value, kernel_text", [
    ('"^5\\.14\\..*el9.*$"', "^5\\.14\\..*el9.*$"), ('"^4.4.*grsec$"', "^4.4.*grsec$"), ("'^6$'", "^6$"),
    ("^6$", "^6$"),
    ('"a$ b"', "a$ b"), ('"(5|6)$"', "(5|6)$"), ('"[[:digit:]]+"', "[[:digit:]]+"), ("'\\\\.'", "\\."),
])
def test_a_dollar_is_a_dollar(value: str, kernel_text: str) -> None:
    assert parse(f"{ONE}BUILD_EXCLUSIVE_KERNEL={value}\n".encode()).exclusive == {"BUILD_EXCLUSIVE_KERNEL": kernel_text}


@pytest.mark.parametrize("text, make", [
    ('MAKE="KERNEL_TREE=$kernel_source_dir make"', ("KERNEL_TREE={kernel_build}", "make")),
    ("MAKE=\"A=1 B='x y' make all\"", ("A=1", "B=x y", "make", "all")),
    ("MAKE=\"PEERS=${PEERS:-64} 'make' -j32 KVER=${kernelver:-$(uname -r)}\"",
     ("PEERS=64", "make", "-j32", "KVER={kernel}")),
    ('MAKE=" make"', ("make",)), ('MAKE="make\t a"', ("make", "KERNELRELEASE={kernel}", "a")),
    ('X=known\nMAKE="make ${N:-$X}/${N:-/p/$X}"', ("make", "KERNELRELEASE={kernel}", "known//p/known")),
    ('X=\nMAKE="make ${X-a}b${X:-c}${X+d}${X:+e}"', ("make", "KERNELRELEASE={kernel}", "bcd")),
    ('MAKE[0]=""', ("make", "KERNELRELEASE={kernel}", "-C", "{kernel_build}", "M=/foundry/work")),
    # DKMS reads a value twice, the second time in double quotes
    ("MAKE='make K=$kernelver'", ("make", "KERNELRELEASE={kernel}", "K={kernel}")),
    ('MAKE="make A=\\"b\\""', ("make", "KERNELRELEASE={kernel}", "A=b")),
    ("MAKE=#MODULE_VERSION#\nMAKE=make", ("make", "KERNELRELEASE={kernel}")),
    # a dollar before a blank or an end is one
    ('MAKE="make A=^6$ B=\'x$ y\' C=c$"', ("make", "KERNELRELEASE={kernel}", "A=^6$", "B=x$ y", "C=c$")),
])
def test_make_as_dkms_runs_it(text: str, make: tuple[str, ...]) -> None:
    assert made(f"{ONE}{text}\n") == make


@pytest.mark.parametrize("text", [
    'MAKE="make A=\\"b c\\""',  # the quotes end where DKMS writes it down: make is not run at all
    "MAKE='make X=$UNKNOWN'", 'MAKE="make # x"', 'MAKE="make {kernel}"', 'MAKE="env A=b make"', 'MAKE="A=b"',
    'MAKE="make $(error x)"', "MAKE='make A=$\\'a\\''", 'MAKE="make \\$X"',
])
def test_make_that_only_a_shell_understands(text: str) -> None:
    assert refused(f"{ONE}{text}\n").reason == "dkms-shell"


def test_arrays_in_every_form() -> None:
    conf = parse(f"""{HEAD}BUILT_MODULE_NAME=(old older)
BUILT_MODULE_NAME=()
BUILT_MODULE_NAME=( a  # the first
  [2]=c )
BUILT_MODULE_NAME[1]=b
BUILT_MODULE_NAME+=(d)
BUILT_MODULE_NAME[3]+=2
DEST_MODULE_LOCATION=(/extra /kernel/../updates/ /updates/x/../y /kernel//a/./b)
""".encode())
    assert [(one.file, one.destination) for one in conf.modules] == [
        ("a.ko", "extra"), ("b.ko", "updates"), ("c.ko", "updates/y"), ("d2.ko", "kernel/a/b")]


def test_a_version_that_debian_fills_in_and_comments_in_any_encoding() -> None:
    conf = parse(b"# caf\xe9 \xff\nPACKAGE_NAME=thing\nPACKAGE_VERSION=#MODULE_VERSION#\nBUILT_MODULE_NAME=thing\n"
                 b"DEST_MODULE_LOCATION=/extra\nMAKE=\"make M=/var/lib/dkms/thing/#MODULE_VERSION#/build\"\n")
    assert conf.version == "#MODULE_VERSION#"
    assert conf.make[2:] == ("M=/foundry/work",)


def test_lines_of_windows_end_as_in_unix() -> None:
    conf = parse((ONE + 'MAKE="make all"\n').replace("\n", "\r\n").encode())
    assert conf == parse((ONE + 'MAKE="make all"\n').encode())


def test_what_dkms_would_do_besides() -> None:
    conf = parse(f"{ONE}BUILD_DEPENDS=(spl zfs)\nSTRIP[0]=no\nDEST_MODULE_NAME[0]=other\n".encode())
    assert [word for word in ("spl", "zfs", "STRIP", "other.ko") if not any(word in one for one in conf.remarks)] == []


def test_a_bound_by_another_name() -> None:
    assert parse(f"{ONE}OBSOLETE_BY=6.2\n".encode()).exclusive == {"OBSOLETE_BY": "6.2"}
    both = parse(f"{ONE}OBSOLETE_BY=6.2\nBUILD_EXCLUSIVE_KERNEL_MAX=6.5\n".encode())
    assert both.exclusive == {"BUILD_EXCLUSIVE_KERNEL_MAX": "6.5"}


KERNEL = "6.1.0-55-amd64"
CONFIG = "CONFIG_PCI=y\nCONFIG_I2C=m\n# CONFIG_PREEMPT_RT is not set\nCONFIG_TEXT=\"y\"\n"


@pytest.mark.parametrize("name, wanted, met", [
    ("BUILD_EXCLUSIVE_KERNEL_MIN", "6.1.0-40", True), ("BUILD_EXCLUSIVE_KERNEL_MIN", "6.1.0-56", False),
    ("BUILD_EXCLUSIVE_KERNEL_MIN", KERNEL, True), ("BUILD_EXCLUSIVE_KERNEL_MIN", "6.1", True),
    ("BUILD_EXCLUSIVE_KERNEL_MIN", "6.10", False), ("BUILD_EXCLUSIVE_KERNEL_MAX", KERNEL, True),
    ("BUILD_EXCLUSIVE_KERNEL_MAX", "6.1", False), ("BUILD_EXCLUSIVE_KERNEL_MAX", "6.1.0-100", True),
    ("OBSOLETE_BY", "6.2", True), ("OBSOLETE_BY", "5.19", False),
    ("BUILD_EXCLUSIVE_KERNEL", "^6\\.[[:digit:]]+", True), ("BUILD_EXCLUSIVE_KERNEL", "grsec$", False),
    ("BUILD_EXCLUSIVE_ARCH", "^(x86_64|aarch64)$", True), ("BUILD_EXCLUSIVE_ARCH", "arm", False),
    ("BUILD_EXCLUSIVE_CONFIG", "CONFIG_PCI !CONFIG_PREEMPT_RT", True), ("BUILD_EXCLUSIVE_CONFIG", "CONFIG_I2C", True),
    ("BUILD_EXCLUSIVE_CONFIG", "!CONFIG_PCI", False), ("BUILD_EXCLUSIVE_CONFIG", "CONFIG_PCI CONFIG_USB", False),
    ("BUILD_EXCLUSIVE_CONFIG", "CONFIG_TEXT", False),
])
def test_conditions_on_kernels(name: str, wanted: str, met: bool) -> None:
    assert meets(name, wanted, kernel=KERNEL, arch="x86_64", config=CONFIG) is met


@pytest.mark.parametrize("text", [
    f"{HEAD}BUILT_MODULE_NAME=a/$kernelver\n", f"{ONE}DEST_MODULE_LOCATION=$kernelver\n", f"{ONE}PATCH=x-$kernelver\n",
    f"{ONE}BUILT_MODULE_LOCATION=../$kernelver\n", f"{ONE}BUILD_EXCLUSIVE_KERNEL=$kernelver\n",
    f"PACKAGE_NAME=$kernelver\n{ONE.removeprefix(HEAD)}PACKAGE_VERSION=1\n",
])
def test_what_differs_from_cell_to_cell_has_its_name_in_errors(text: str) -> None:
    assert "{kernel}" in refused(text).message
    more = f"{ONE}BUILD_DEPENDS=spl-$kernelver\nDEST_MODULE_NAME=t-$kernelver\n"
    assert all("{kernel}" in remark for remark in parse(more.encode()).remarks)


@pytest.mark.parametrize("text, reason", [
    ("", "dkms-malformed"), ("PACKAGE_NAME=x\n", "dkms-malformed"), (HEAD, "dkms-malformed"),
    (f'{HEAD}BUILT_MODULE_NAME="../x"\nDEST_MODULE_LOCATION=/extra\n', "dkms-malformed"),
    (f'{HEAD}BUILT_MODULE_NAME="x"\nDEST_MODULE_LOCATION=/../etc\n', "dkms-malformed"),
    (f'{HEAD}BUILT_MODULE_NAME="x y"\n', "dkms-malformed"),
    (f"{HEAD}BUILT_MODULE_NAME[0]=x\nBUILT_MODULE_NAME[1]=x\n", "dkms-malformed"),
    (f'{ONE}MAKE="make \'x"\n', "dkms-malformed"),
    (f'{HEAD}BUILT_MODULE_NAME="x"\n', "dkms-malformed"),
    (f"{ONE}DEST_MODULE_LOCATION=/kernel/../../etc\n", "dkms-malformed"),
    (f"{ONE}BUILT_MODULE_LOCATION=/usr/src\n", "dkms-malformed"), (f"{ONE}BUILT_MODULE_NAME[2]=y\n", "dkms-malformed"),
    (f"{ONE}BUILD_EXCLUSIVE_CONFIG='CONFIG_(A|B)'\n", "dkms-unsupported"), (f"{ONE}IFS=x\n", "dkms-unsupported"),
    (f"{ONE}DKMS_DIRECTIVE_1=MAKE=x\n", "dkms-unsupported"), (f"{ONE}\0", "dkms-malformed"),
    (f"{ONE}PRE_BUILD=' ./x'\n", "dkms-shell"), (f"{ONE}PRE_BUILD=../x\n", "dkms-malformed"),
    (f"{ONE}PATCH[0]=fix.patch\n", "dkms-unsupported"),
    (f'{ONE}MAKE[1]="make x"\nMAKE_MATCH[1]="^6"\n', "dkms-unsupported"),
])
def test_what_can_not_be_used(text: str, reason: str) -> None:
    with pytest.raises(FoundryError) as raised:
        parse(text.encode())
    assert raised.value.reason == reason
    assert raised.value.hint


def test_a_program_that_runs_before() -> None:
    conf = parse(f'{ONE}PRE_BUILD="./configure $kernelver --with=$source_tree/$module-$module_version"\n'.encode())
    assert conf.pre_build == ("./configure", "{kernel}", "--with=/foundry/work")


def test_what_the_family_file_says_is_not_looked_at() -> None:
    text = f'{HEAD}MAKE="make; rm x"\nPATCH[0]=x\nfor x in a; do BUILT_MODULE_NAME[0]=$x; done\n'.encode()
    names = frozenset({"MAKE", "PATCH", "BUILT_MODULE_NAME", "DEST_MODULE_LOCATION"})
    assert parse(text, overridden=names).modules == ()


def nested(depth: int) -> str:
    """Each value holds the one before it several times."""
    return "a=xxxxxxxxxxxxxxxx\n" + "".join(
        f"{chr(98 + n)}={f'${chr(97 + n)}' * 8}\n" for n in range(depth))


@pytest.mark.parametrize("text", [
    nested(9), "a=x\n" + "a+=$a$a\n" * 40, "a=(" + "x " * 20 + ")\n" + "a=$a$a$a$a\n" * 20,
    "PACKAGE_NAME=" + "x" * 60_000 + "\nMAKE=" + "$PACKAGE_NAME" * 60, "x=" + "y" * 200_000 + "\n" + "z=$x\n" * 9,
], ids=range(5))
def test_values_that_grow_without_end(text: str) -> None:
    """382 bytes were 1 GiB."""
    for data in (text + ONE, ONE + text):
        with pytest.raises(FoundryError, match="grow beyond") as raised:
            parse(data.encode())
        assert raised.value.reason == "dkms-malformed"


def steps_of(text: str) -> int:
    """Characters that the reader asks for; it sees the script through this alone."""
    seen = 0

    class Text(str):
        __slots__ = ()

        def __getitem__(self, at: object) -> str:
            nonlocal seen
            found = str.__getitem__(self, at)  # type: ignore[index]
            seen += len(found)
            return found

    reader = bash._Reader(Text(text), {})
    try:
        reader.read()
    except TooMuch:
        return 0
    return seen


@pytest.mark.parametrize("line", [
    "if x\n", "if x; then\n", "f() {\n", "case x in\n", "echo ${x\n", "A=1 ", "A=1\n", "A=(1) ", "x[ ", "a[1 ;",
    "\\\n ", "A=`x` ", "A=$(x) ", "then " * 9 + "\n", "# x\n", "A=x x\n", '"', "A=( x\n", "export A=1\n", "A=${A} ",
    "A=$x\n",
])
def test_reading_takes_steps_as_the_script_grows(line: str) -> None:
    """40 kB of `if` took a minute. Counted are characters, so that no machine's speed has a part in it."""
    few, more = (steps_of(line * count) for count in (500, 2000))
    assert 0 < more <= 5 * few + 5000


@pytest.mark.parametrize("text", [
    "A=(\n" * 60_000 + ") x", "A=$(\n" * 50_000, 'A="\n' * 60_000, "A=( `\n" * 40_000 + ")",
], ids=range(4))
def test_reading_has_an_end(text: str) -> None:
    """Lines that must be looked at once more, each to the end of the script."""
    try:
        read_script(text[:MAX_BYTES], {})
    except TooMuch as error:
        assert "takes more than" in str(error)


def test_what_is_kept_has_a_limit() -> None:
    """Locks hold lines of 1,000 characters."""
    for text in (
        f"MAKE='make {'x' * 1001}'", f"MAKE='make {'x ' * 9000}'", f"BUILD_EXCLUSIVE_KERNEL='{'x' * 1001}'",
        f"POST_INSTALL='{'x' * 1001}'", f"BUILT_MODULE_NAME[1]={'x' * 101}", f"DEST_MODULE_LOCATION='{'x' * 1001}'",
        f"BUILT_MODULE_NAME=({' '.join(f'm{n}' for n in range(101))})",
    ):
        with pytest.raises(FoundryError) as raised:
            parse((ONE + text).encode())
        assert raised.value.reason == "dkms-malformed"
        assert len(raised.value.message) < 400
    conf = parse((ONE + "echo x\n" * 5000 + f"DEST_MODULE_NAME[0]={'y' * 900}\n").encode())
    assert len(conf.remarks) == 101
    assert conf.remarks[-1] == "4901 more remarks on dkms.conf"
    assert max(map(len, conf.remarks)) < 1000


def test_a_long_index_in_shell_code_counts_as_an_assignment() -> None:
    with pytest.raises(FoundryError, match="BUILT_MODULE_NAME"):
        parse((ONE + f"for x in a; do BUILT_MODULE_NAME[{' ' * 300}0]=$x; done\n").encode())


@examples(100)
@given(st.text(alphabet=st.sampled_from('AKM_[]()="\'$`{}|;&<>#\\ \n\tmakexif01+-/.'), max_size=200))
@example("A=$A" * 50)
def test_whatever_it_says_only_our_errors_come_out(text: str) -> None:
    try:
        parse((ONE + text).encode())
    except FoundryError as error:
        assert error.reason.startswith("dkms-")


def test_names_of_variables_are_ascii() -> None:
    """As in bash, whatever the locale: what follows is text."""
    with pytest.raises(FoundryError) as raised:
        parse(f"{HEAD}BUILT_MODULE_NAME=one\nDEST_MODULE_LOCATION=/extra\nBUILT_MODULE_LOCATION=\"$arché/x\"\n".encode())
    assert "{arch}é/x/one.ko" in raised.value.message
