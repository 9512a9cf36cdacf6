"""Our section in a text that people write in: what is theirs stays, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.base.marked_section import BEGIN, END, has_section, outside, with_section

_texts = st.text(st.sampled_from("ab#|`<!-> \n\r\té—")).filter(lambda text: "kmod-foundry" not in text)


@given(_texts, _texts, _texts, _texts, st.booleans())
def test_what_people_wrote_is_kept(before: str, after: str, old: str, new: str, crlf: bool) -> None:
    ours = with_section("", old)
    text = before + (ours.replace("\n", "\r\n") if crlf else ours) + after
    made = with_section(text, new)
    assert made.startswith(before)
    assert made.endswith(after)
    assert made.count(BEGIN) == made.count(END) == 1
    assert outside(made) == before + after
    assert with_section(made, new) == made, "the same section again changes no byte"


@given(_texts, _texts)
def test_the_first_section_comes_after_what_is_there(text: str, section: str) -> None:
    made = with_section(text, section)
    assert made.startswith(text.rstrip())
    assert has_section(made)
    assert with_section(made, section) is made


def test_line_endings_are_no_difference() -> None:
    text = "mine\r\n\r\n" + with_section("", "a\n\nb").replace("\n", "\r\n") + "\r\n"
    assert with_section(text, "a\n\nb") is text
    assert with_section(text, "a\n\nb\n") is text
    assert with_section(text, "a\n\nc") == f"mine\r\n\r\n{BEGIN}\na\n\nc\n{END}\r\n"


@pytest.mark.parametrize("text", [
    BEGIN, END, f"{BEGIN}\nx", f"x\n{END}", f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}", f"{BEGIN}\n{END}\n{END}",
    f"{BEGIN}\n{END}\n{BEGIN}\n{END}",
])
def test_damaged_markers(text: str) -> None:
    with pytest.raises(FoundryError) as raised:
        with_section(text, "new")
    assert raised.value.reason == "markers-damaged"
    assert BEGIN in raised.value.hint and END in raised.value.hint
    with pytest.raises(FoundryError):
        outside(text)


@pytest.mark.parametrize("evil", [BEGIN, END, f"{END}\nafter", f"{BEGIN}{BEGIN}", f"x {END} {BEGIN} y"])
def test_a_section_can_not_end_itself(evil: str) -> None:
    """Text of others in our notes, a compiler's for one, does not damage the markers by them."""
    made = with_section("mine", f"- `{evil}`")
    assert (made.count(BEGIN), made.count(END)) == (1, 1)
    assert with_section(made, f"- `{evil}`") is made
    assert with_section(made, "new") == with_section("mine", "new")
