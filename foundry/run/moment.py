"""Why a stage is done, as of the moment in which it begins, in words for people who watch."""

from __future__ import annotations

from foundry.base.errors import FoundryError
from foundry.plan.changes import PART_NAMES, changed_parts
from foundry.plan.state import States
from foundry.plan.why import FORCED, NOT_FETCHED

_DIGEST = 19  # characters that people tell a digest by


def why_now(states: States, stage: str, subject: str, planned: str) -> str:
    """The reason, where the run may have overtaken the one that was `planned` when it began."""
    if stage == "source" and planned == NOT_FETCHED.text:
        return "not unpacked yet"
    cell = states.plan.by_name.get(subject)
    if cell is None or stage not in ("module", "sign", "image", "boot", "push"):
        return planned
    try:
        state = states.refresh(cell)
    except (FoundryError, OSError):
        return planned  # the stage finds out what is wrong, and says it
    if stage == "push" and (state.adopted or state.row is None):
        return planned
    published = state.row.digest if state.row is not None else ""
    old = state.image.digest if stage == "image" and state.image is not None else published
    parts = state.why.changed
    if stage == "push" and state.row is not None and state.key is not None:
        parts = changed_parts(state.row.key_inputs, state.key.parts)
    because = FORCED.text if states.force else f"{_words(parts)} changed" if parts else state.reason
    return f"replacing {old[:_DIGEST]} because {because}" if old and stage in ("image", "push") and (
        parts or states.force) else because


def _words(parts: tuple[str, ...]) -> str:
    """``the labels``, ``the labels, the base image and the toolkit``."""
    names = [PART_NAMES.get(part, part) for part in parts]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
