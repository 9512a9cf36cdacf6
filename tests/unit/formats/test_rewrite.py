"""Layers with new contents: what else would change in them is seen, and sizes are where they are looked for."""

from __future__ import annotations

import io
import tarfile

import pytest

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.images.rewrite import Change, outline, rewrite

PATH, OLD, NEW = "opt/lib/modules/k/a.ko", b"old" * 400, b"new" * 900


def layer(content: bytes = OLD, names: tuple[str, ...] = (PATH, "b"), **facts: object) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            data = content if name == PATH else b"b"
            info.size = len(data)
            for fact, value in facts.items():
                setattr(info, fact, value)
            tar.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def test_as_if_packed_so() -> None:
    made = rewrite(layer(), {PATH: Change(OLD, NEW)})
    assert made.plain[:made.end] == layer(NEW)[:made.end] and made.paths == {PATH}
    assert outline(made.plain, [PATH])[0] == outline(layer(), [PATH])[0]
    assert rewrite(layer(), {PATH: Change(NEW, OLD)}).paths == frozenset()


@pytest.mark.parametrize("changed", [
    {"mode": 0o600}, {"uid": 1}, {"gname": "site"}, {"mtime": 1}, {"mtime": 0.5}, {"names": ("b", PATH)},
    {"names": (PATH,)}, {"names": (PATH, "b", "c")}, {"pax_headers": {"SCHILY.xattr.user.a": "b"}},
])
def test_whatever_else_changes_is_seen(changed: dict[str, object]) -> None:
    assert outline(layer(NEW, **changed), [PATH]) != outline(layer(), [PATH])  # type: ignore[arg-type]


def test_a_size_in_another_header() -> None:
    with pytest.raises(FoundryError) as caught:
        plain = bytearray(layer(pax_headers={"size": str(len(OLD))}))
        at = plain.index(PATH.encode() + b"\0")
        plain[at + 124:at + 136] = b"00000000000\0"
        plain[at + 148:at + 156] = b" " * 8
        plain[at + 148:at + 156] = f"{sum(plain[at:at + 512]):06o}\0 ".encode()
        rewrite(bytes(plain), {PATH: Change(OLD, NEW)})
    assert caught.value.reason == Reason.LAYER_MALFORMED and "its size in a further header" in caught.value.message
