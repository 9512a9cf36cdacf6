"""``dkms.conf``: read without a shell, and nothing in it is ever run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.formats.packages import bash
from foundry.formats.packages.bash import TooMuch, read_script
from foundry.formats.packages.dkms import MAX_BYTES, DkmsModule, parse
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
    assert conf.make == ("KERNELRELEASE={kernel}", "-C", "{kernel_build}", "M=/foundry/work", "modules")
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
    ("", ("KERNELRELEASE={kernel}", "-C", "{kernel_build}", "M=/foundry/work")),
    ('MAKE="make all KDIR=$kernel_source_dir"', ("KERNELRELEASE={kernel}", "all", "KDIR={kernel_build}")),
    # dkms(8): quoted, it gets no KERNELRELEASE
    ("MAKE[0]=\"'make' KVER=$kernelver\"", ("KVER={kernel}",)),
    ('MAKE="CC=clang make V=1"', ("KERNELRELEASE={kernel}", "CC=clang", "V=1")),
    ('MAKE="make A=\\"b c\\""', ("KERNELRELEASE={kernel}", "A=b c")),
    ('X="-C $source_tree/$module-$module_version"\nMAKE="make $X"', ("KERNELRELEASE={kernel}", "-C", "/foundry/work")),
    ('MAKE="make one"\nMAKE+=" two"', ("KERNELRELEASE={kernel}", "one", "two")),
    ('MAKE="make ${NONE:-other}"', ("KERNELRELEASE={kernel}", "other")),
    ('MAKE="make \\\n  lines"', ("KERNELRELEASE={kernel}", "lines")),
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
    """Packages switch themselves off like this where a kernel lacks something: said, not done."""
    conf = parse(f"""{ONE}
if ! grep -q "^CONFIG_I2C=[ym]$" "$kernel_source_dir/.config" 2>/dev/null ; then
  echo "I2C disabled in this kernel" >&2
  BUILD_EXCLUSIVE_ARCH="^do_not_build$"
fi
CLEAN="rm -f *.o; make clean"
POST_INSTALL="$(which udevadm)"
echo done
""".encode())
    assert conf.exclusive == {}
    assert [remark.split(" of ")[0] for remark in conf.remarks] == ["line 6", "line 12", "line 11"]


@pytest.mark.parametrize("text, reason", [
    ("", "dkms-malformed"), ("PACKAGE_NAME=x\n", "dkms-malformed"), (HEAD, "dkms-malformed"),
    (f'{HEAD}BUILT_MODULE_NAME="../x"\nDEST_MODULE_LOCATION=/extra\n', "dkms-malformed"),
    (f'{HEAD}BUILT_MODULE_NAME="x"\nDEST_MODULE_LOCATION=/../etc\n', "dkms-malformed"),
    (f'{HEAD}BUILT_MODULE_NAME="x y"\n', "dkms-malformed"),
    (f"{HEAD}BUILT_MODULE_NAME[0]=x\nBUILT_MODULE_NAME[1]=x\n", "dkms-malformed"),
    (f'{ONE}MAKE="make \'x"\n', "dkms-malformed"),
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
    with pytest.raises(FoundryError, match="depends on it"):
        parse((ONE + f"for x in a; do BUILT_MODULE_NAME[{' ' * 300}0]=$x; done\n").encode())


@examples(100)
@given(st.text(alphabet=st.sampled_from('AKM_[]()="\'$`{}|;&<>#\\ \n\tmakexif01+-/.'), max_size=200))
@example("A=$A" * 50)
def test_whatever_it_says_only_our_errors_come_out(text: str) -> None:
    try:
        parse((ONE + text).encode())
    except FoundryError as error:
        assert error.reason.startswith("dkms-")
