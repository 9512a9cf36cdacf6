"""Files that are not as they were left: cut, changed, in another's place."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Mutation = Callable[[Path, random.Random], None]


def _flip(path: Path, dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    place = dice.randrange(len(data))
    data[place] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def _folder(path: Path, dice: random.Random) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("x")


def _link(path: Path, dice: random.Random) -> None:
    path.unlink()
    path.symlink_to(dice.choice(("nowhere", path.name, "/dev/null")))


def _pipe(path: Path, dice: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _other(path: Path, dice: random.Random) -> None:
    """A sibling's content, or of the same file of another cell or driver."""
    others = sorted(one for one in (*path.parent.iterdir(), *path.parent.parent.glob(f"*/{path.name}"))
                    if one.is_file() and one != path)
    if others:
        shutil.copyfile(dice.choice(others), path)
    else:
        path.write_bytes(b"other\n")


def _newer(path: Path, dice: random.Random) -> None:
    """As a later version of the tool may write it; what is no such document gets another end."""
    try:
        document = json.loads(path.read_bytes())
        document["schema"] += 1
    except (ValueError, KeyError, TypeError):
        with path.open("ab") as stream:
            stream.write(b"\x00more")
    else:
        path.write_text(json.dumps(document))


def _nested(path: Path, dice: random.Random) -> None:
    """Well-formed, and of another shape."""
    path.write_text(dice.choice(("[]", "{}", "null", '"x"', "[" * 100_000, '{"schema": 1}', "12")))


MUTATIONS: dict[str, Mutation] = {
    "cut": lambda path, dice: os.truncate(path, dice.randrange(max(1, path.stat().st_size))),
    "emptied": lambda path, dice: os.truncate(path, 0),
    "zeroed": lambda path, dice: _keep(path.write_bytes(bytes(path.stat().st_size))),
    "flipped": _flip,
    "removed": lambda path, dice: path.unlink(),
    "folder": _folder,
    "link": _link,
    "pipe": _pipe,
    "other": _other,
    "newer": _newer,
    "shape": _nested,
}


def _keep(_: object) -> None:
    return


def mutate(path: Path, name: str, dice: random.Random) -> None:
    """Do it, whatever the file's rights; an empty file that is to be flipped becomes one byte."""
    for one in (path.parent, path):
        one.chmod(one.stat().st_mode | 0o200)
    if not path.stat().st_size and name in ("flipped", "zeroed", "cut", "emptied"):
        path.write_bytes(b"x")
        return
    MUTATIONS[name](path, dice)
