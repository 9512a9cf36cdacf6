"""Release notes: frozen in golden files, the same for any order of rows, and nobody's words become markup."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from foundry.base.errors import FoundryError
from foundry.base.marked_section import with_section
from foundry.base.names import image_tag
from foundry.github.releases import LONGEST_BODY
from foundry.plan.ledger import Ledger
from foundry.plan.rows import Replaced, Row
from foundry.release.notes_text import Facts, Unbuilt, make_notes
from tests.harness.checkout import ROOT
from tests.harness.fuzz import examples

GOLDEN = ROOT / "tests/unit/golden"
DRIVER = "2.22.2.0"
EL94, EL96, EL10 = "5.14.0-427.68.2.el9_4.x86_64", "5.14.0-570.12.1.el9_6.x86_64", "6.12.0-55.9.1.el10_0.x86_64"
PLUS = "6.12.43+deb13-cloud-amd64"
PUBLIC, GHCR = "public.ecr.aws/q5p6u7h8/neuron-openshift/neuron-kernel-module", "ghcr.io/awslabs/kmod/neuron-driver"
SOURCES = ("aws-neuronx-dkms-2.22.2.0-modified-source.tar.gz", "busybox-1.37.0.tar.bz2")
EVIL = [
    "neuron_cdev.c:10: error: expected `;' before `}' token",
    "``` two fences `` and one ` and ```` four",
    "| a | cell |\n|---|---|\n| x | y |",
    "<script>alert(1)</script> <img src=x onerror=1> <!-- hidden",
    "<!-- kmod-foundry: end -->",
    "first line\r\n\r\n# A heading\n\n- an item\u2028> a quote",
    "[a link](https://evil.invalid) ![x](https://evil.invalid/x.png) @somebody #1 https://evil.invalid",
    "\x1b[31mred\x1b[0m \u202eright to left\u2066 \x00 zero",
    "`", "``", "\\", "\\`", "` `", "trailing `", "` leading", "", "   ", "::error::x", "*bold* _under_ ~~gone~~",
    "w" * 5000,
]


def row(kernel: str, number: int, *releases: str, **more: Any) -> Row:
    return Row(kernel, "x86_64", f"{number:064x}", {}, f"sha256:{number:064x}", (image_tag(DRIVER, kernel),),
               (GHCR, PUBLIC), releases, f"quay.io/toolkit@sha256:{number:064x}", "2" * 64, **more)


SIGNED = {"signer": "kmod-foundry modules", "certificate": "a" * 64, "hash": "sha256"}


def proof(outcome: str = "proven", checks: tuple[tuple[str, str], ...] = (
    ("kernel", "5.14"), ("loads", "neuron: yes"), ("lives", "neuron: live"), ("unloads", "neuron: yes"),
), **more: Any) -> dict[str, Any]:
    """As a ledger keeps what a boot showed."""
    return {"outcome": outcome, "key": "b" * 64, "modules": {"neuron.ko": "c" * 64}, **more,
            "checks": [{"name": name, "ok": True, "detail": detail} for name, detail in checks]}


def ledger_of(rows: list[Row]) -> Ledger:
    return Ledger(DRIVER, "neuron", {(one.kernel, one.arch): one for one in rows})


def three_revisions() -> Ledger:
    """First two kernels, then two more; the last revision rebuilt one, and another is for more releases."""
    first = ledger_of([row(EL94, 1, "4.16.30", "4.16.9"), row(EL96, 2, "4.18.15")]).with_revision()
    second = first.with_row(row(PLUS, 3, "4.17.12", signature=SIGNED | {"certificate": "d" * 64}, proof=proof(
        "unproven", (), fault="the toolkit has no image of that kernel (vmlinuz)")), []).with_revision()
    again = row(EL94, 4, "4.16.9", "4.16.30", replaces=Replaced(
        f"sha256:{1:064x}", f"{1:064x}", "changed: the build script, the toolkit"), signature=SIGNED, proof=proof())
    third = second.with_row(again, []).with_row(row(
        EL96, 2, "4.18.15", "4.18.16", "4.18.9", signature=SIGNED, proof=proof(warnings=["WARNING: at init"])), [])
    return third.with_row(row(EL10, 5, "4.20.1"), []).with_revision()


FACTS = Facts(
    title="AWS Neuron driver", modules=("neuron",), registries=(PUBLIC, GHCR),
    package="aws-neuronx-dkms-2.22.2.0.noarch.rpm",
    package_url="https://yum.repos.neuron.amazonaws.com/aws-neuronx-dkms-2.22.2.0.noarch.rpm",
    package_license="GPL-2.0", content_sha256="2" * 64, fingerprint="5749CAD8646D9185",
    base="public.ecr.aws/docker/library/busybox:stable-musl@sha256:" + "e" * 64, busybox="1.37.0", sources=SOURCES,
    unbuilt=(Unbuilt("6.17.0-1.el10_1.x86_64", ("4.21.0", "4.21.1"), EVIL[0], False),
             Unbuilt(EL10, ("4.20.1",), EVIL[2], True)),
    unproven=(Unbuilt("6.17.0-2.el10_1.x86_64", ("4.21.2",), "does not load: neuron: Unknown symbol x", False),),
    certificate="a" * 64, manifest="kind: Module\nspec:\n  moduleLoader: {}\n",
)


def frozen(name: str, text: str) -> None:
    """A change of the golden file changes the notes of every release that there is."""
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def test_notes_are_as_they_were() -> None:
    made = make_notes(three_revisions(), FACTS, LONGEST_BODY)
    assert made.tables == ""
    frozen("notes.md", made.text)


def test_long_notes_are_as_they_were() -> None:
    made = make_notes(three_revisions(), FACTS, 3000)
    frozen("notes-short.md", made.text)
    frozen("notes-tables.md", made.tables)


def test_a_profile_without_registries() -> None:
    """What was built here and pushed nowhere is named by its image file."""
    rows = [replace(row(EL94, 1, "4.16.30"), registries=())]
    text = make_notes(ledger_of(rows).with_revision(), replace(FACTS, registries=(), manifest=""), LONGEST_BODY).text
    assert "How to use" not in text
    assert f"- `image.oci.tar@sha256:{1:064x}`" in text


def test_nothing_yet() -> None:
    text = make_notes(ledger_of([]), replace(FACTS, unbuilt=(), sources=()), LONGEST_BODY).text
    assert "0 images for 0 kernels of 0 releases" in text
    assert "None yet." in text
    assert "What is new" not in text


@given(st.randoms())
@examples(20)
def test_any_order_of_rows_gives_the_same_bytes(chance: random.Random) -> None:
    one = three_revisions()
    rows = list(one.rows.items())
    chance.shuffle(rows)
    mixed = replace(one, rows={place: replace(
        found, releases=tuple(chance.sample(found.releases, len(found.releases)))) for place, found in rows})
    assert make_notes(mixed, FACTS, LONGEST_BODY) == make_notes(one, FACTS, LONGEST_BODY)


def many(count: int) -> Ledger:
    return ledger_of([
        row(f"5.14.0-{400 + number}.{number % 90}.1.el9_4.x86_64", number + 1, f"4.{12 + number % 8}.{number // 8}")
        for number in range(count)
    ]).with_revision()


def test_too_many_images_for_one_page() -> None:
    """The tables become a file of their own, whole; the text stays valid and fits, with the markers around it."""
    one = many(400)
    made = make_notes(one, FACTS, LONGEST_BODY - len(with_section("", "")))
    assert len(with_section("", made.text)) <= LONGEST_BODY
    assert len(make_notes(one, FACTS, 10_000_000).text) > LONGEST_BODY
    assert "`images.md`" in made.text and "## Sources and proofs" in made.text and "```yaml" in made.text
    counted = [cells(line) for line in made.text.splitlines() if line.startswith("| 4.")]
    assert counted == [[f"4.{minor}", "50"] for minor in range(12, 20)]
    for found in one.rows.values():
        assert found.digest in made.tables
        assert f"| {found.releases[0]} | `{found.kernel}` |" in made.tables
    assert "Known not to build" in made.tables
    with pytest.raises(FoundryError) as raised:
        make_notes(one, FACTS, 500)
    assert raised.value.reason == "notes-too-long"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@given(st.integers(3200, 12000))
@examples(20)
def test_notes_fit_whatever_room_there_is(room: int) -> None:
    made = make_notes(three_revisions(), FACTS, room)
    assert len(made.text) <= room
    assert tokens(made.text)


# -- what a reader sees ----------------------------------------------------------


def tokens(text: str) -> list[Token]:
    """The text as GitHub reads it, flat; HTML is allowed, so that it would be seen."""
    found: list[Token] = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        found += [token, *(token.children or ())]
    return found


def shape(text: str) -> list[tuple[str, str]]:
    """The markup without the words."""
    return [(token.type, token.tag) for token in tokens(text)]


def unbuilt_with(why: str) -> str:
    return make_notes(three_revisions(), replace(FACTS, unbuilt=(Unbuilt(EL10, ("4.20.1",), why, False),)), 10**6).text


def shown(text: str) -> str:
    """The last word of what is not built."""
    section = text.partition("## Known not to build")[2].partition("\n## ")[0]
    return [token for token in tokens(section) if token.type == "code_inline"][-1].content


PLAIN = shape(unbuilt_with("an error"))


@pytest.mark.parametrize("why", EVIL)
def test_a_compiler_writes_no_markup(why: str) -> None:
    text = unbuilt_with(why)
    assert shape(text) == PLAIN
    assert shape(with_section("mine", text)) == shape(with_section("mine", unbuilt_with("an error")))
    assert with_section(with_section("mine", text), "") == with_section("mine", "")
    assert len(text) < len(unbuilt_with("")) + 400, "a page of errors is not quoted whole"
    assert not set(text) & set("\x1b\x00\u202e\u2066\u2028\r")


@given(st.text())
@examples(50)
def test_no_text_is_markup(why: str) -> None:
    text = unbuilt_with(why)
    assert shape(text) == PLAIN
    assert shown(text).rstrip("…") in " ".join(
        "".join(char if char.isprintable() else " " for char in why).split()) or shown(text) == "?"


@pytest.mark.parametrize("why", EVIL)
def test_facts_of_others_write_no_markup(why: str) -> None:
    """A package's licence, name and address, a registry, a tag, a reason in somebody's ledger."""
    def text_of(word: str) -> str:
        unloaded = (Unbuilt(EL10, ("4.20.1",), word, False),)
        facts = replace(FACTS, unproven=unloaded, package=word, package_license=word, busybox=word, base=word,
                        package_url=f"https://x.invalid/{word}")
        rows = [row(EL94, 1, "4.16.30"), row(EL96, 2, "4.18.15")]
        first = ledger_of(rows).with_revision()
        replaced = Replaced(f"sha256:{1:064x}", "", word or "x")
        changed = replace(
            row(EL94, 9, "4.16.30", replaces=replaced, signature=SIGNED | {"signer": word},
                proof=proof(warnings=[word], checks=(("loads", f"{word}: refused"),))),
            registries=(f"{word}/x",), tags=(word or "x",))
        unproven = row(PLUS, 3, "4.17.12", proof=proof("unproven", (), fault=word), signature=SIGNED | {
            "signer": word, "certificate": "d" * 64})
        first = first.with_row(unproven, [])
        return make_notes(first.with_row(changed, []).with_revision(), facts, 10**6).text

    assert kinds(text_of(why)) == kinds(text_of("a"))


def kinds(text: str) -> list[str]:
    """The markup, with code and words taken for the same."""
    return [token.type for token in tokens(text) if token.type not in ("text", "code_inline")]


def test_a_release_with_several_kernels_has_a_line_for_each() -> None:
    """Real-time kernels, a second stream: said once, and the tag of `+` is the image's."""
    rt = f"{EL94}+rt"
    text = make_notes(ledger_of([row(EL94, 1, "5.0.1"), row(rt, 2, "5.0.1"), row(EL10, 3, "5.0.1")]), FACTS, 10**6).text
    table = [line for line in text.splitlines() if line.startswith("| 5.0.1 ")]
    assert [line.split("`")[1] for line in table] == [EL94, rt, EL10]
    assert f":{DRIVER}-{EL94}_rt`" in table[1]
    assert text.count("A release with several kernels has a line for each") == 1
    apart = ledger_of([row(EL94, 1, "4.16.9"), row(EL10, 2, "4.20.1")])
    assert "several kernels" not in make_notes(apart, FACTS, 10**6).text


def about(facts: Facts, *rows: Row) -> str:
    return make_notes(ledger_of(list(rows)).with_revision(), facts, 10**6).text


def test_what_all_images_share_is_said_once() -> None:
    """Booted and signed: a line each for the release, none by image."""
    rows = [row(kernel, number, "4.16.30", proof=proof(secure_boot=True), signature=SIGNED)
            for number, kernel in enumerate((EL94, EL96), 1)]
    text = about(FACTS, *rows)
    assert text.count("booted") == text.count("no device was probed") == text.count("kmod-foundry modules") == 1
    assert "in a virtual machine with UEFI Secure Boot and loaded and unloaded the very modules that are in it" in text
    assert "certificate is `module-signing.der` here and `/licenses/module-signing.der` in the images" in text
    assert "a" * 64 in text
    assert "`module-signing.der` here" not in about(replace(FACTS, certificate=""), *rows), "it is not beside it"


def test_a_driver_that_stays_is_not_said_to_unload() -> None:
    checks = (("loads", "neuron: yes"), ("lives", "neuron: live"))
    text = about(FACTS, row(EL94, 1, "4.16.30", proof=proof(checks=checks)))
    assert "That shows that they load, with their symbols." in text


def test_an_init_that_refuses_without_hardware_is_told() -> None:
    checks = (("loads", "acpi-call: refused with ENODEV, its symbols were found"), ("loads", "b: yes"),
              ("lives", "b: live"), ("unloads", "b: yes"))
    text = about(FACTS, row(EL94, 1, "4.16.30", proof=proof(checks=checks)), row(EL96, 2, "4.18", proof=proof(
        checks=checks)))
    assert text.count("In that machine an init refused: `acpi-call: refused with ENODEV, its symbols were found`.") == 1
    assert "`b: yes`" not in text


def test_nothing_is_said_to_be_booted_or_signed_that_is_not() -> None:
    text = about(replace(FACTS, unproven=(), certificate=""), row(EL94, 1, "4.16.30"))
    assert "No image's kernel was booted" in text
    assert "not booted" not in text and "signed by" not in text and "not signed" not in text


def test_an_image_that_its_kernel_refused_later_is_in_no_list() -> None:
    """It was published before proofs were wanted."""
    bad, good = row(EL94, 1, "4.16.30", proof=None), row(EL96, 2, "4.18.15", proof=proof())
    withdrawn = Unbuilt(EL94, ("4.16.30",), "does not load: neuron: Unknown symbol x", False, bad.digest)
    text = about(replace(FACTS, unproven=(withdrawn,)), bad, good)
    assert "1 image for 1 kernel of 1 release" in text
    assert [line for line in text.splitlines() if EL94 in line] == [
        f"- `{EL94}` (4.16.30): `does not load: neuron: Unknown symbol x`; the image `{bad.digest}` was published"
        " before that was known"]
    assert "but for those" not in text, "of the images that are listed"
