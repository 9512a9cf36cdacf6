"""A repository's refs, read without git: enough to see that nothing moved since they were last looked at."""

from __future__ import annotations

from pathlib import Path

from tasks.core.files import canonical_json, sha256_bytes

_PACKED = "packed-refs"


def refs_state(folder: Path, branch: str) -> str:
    """One hash over the branch and all tags; empty where this can't be told (gitrepository-layout(5))."""
    found: dict[str, str] = {}
    try:
        if (folder / _PACKED).exists():
            for line in (folder / _PACKED).read_text(encoding="utf-8").splitlines():
                oid, _, name = line.partition(" ")
                if name.startswith("refs/"):
                    found[name] = oid
        for path in (folder / branch, *(folder / "refs/tags").rglob("*")):
            if path.is_file() and not path.name.endswith(".lock"):
                found[path.relative_to(folder).as_posix()] = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
    ours = {name: oid for name, oid in found.items() if name == branch or name.startswith("refs/tags/")}
    return sha256_bytes(canonical_json(ours)) if branch in ours else ""
