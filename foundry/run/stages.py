"""The stages of a run, a row each: what doit's backend, the progress and the job's summary know of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One kind of task. Its tasks are called `name`, or ``name:subject``.

    `verb` is said while one works, `done` of one that has worked. `folder` is where below
    ``build/<profile>`` records with hashes of input files are, as ``<folder>/<subject>/<name>.json``;
    empty where there are none. `whole` is what a task without a subject works on. `group` is the task that runs
    all of them, where there is one.
    """

    name: str
    verb: str
    done: str
    folder: str = ""
    whole: str = ""
    group: str = ""


_STAGES = {stage.name: stage for stage in (
    Stage("toolkit", "refreshing", "catalogue refreshed", whole="the catalogue"),
    Stage("toolkit:pr", "proposing", "proposed", whole="catalogue and locks"),
    Stage("sync", "mirroring", "mirrored", whole="toolkits"),
    Stage("fetch", "fetching", "fetched", folder="sources", group="build"),
    Stage("source", "unpacking", "unpacked", folder="sources", group="build"),
    Stage("module", "compiling", "compiled", folder="cells", group="build"),
    Stage("sign", "signing", "signed", folder="cells", group="build"),
    Stage("image", "imaging", "built", folder="cells", group="build"),
    Stage("boot", "booting", "proven", folder="cells", group="build"),
    Stage("push", "pushing", "published", group="publish"),
    Stage("assets", "packing", "sources packed", group="release"),
    Stage("ledger", "keeping", "ledger kept", group="release"),
    Stage("attest", "gathering", "keys and statements gathered", folder="release", group="release"),
    Stage("bundle", "bundling", "manifests written", folder="release", group="release"),
    Stage("day1", "tagging", "tagged by kernel", folder="release", group="release"),
    Stage("notes", "writing", "notes written", folder="release", group="release"),
    Stage("github", "releasing", "released", group="release"),
    Stage("kit", "gathering", "kit gathered", folder="release"),
    Stage("site", "writing", "site written", whole="the site"),
    Stage("rebuild", "building anew", "built anew"),
    Stage("archive", "archiving", "archived"),
    Stage("archive:verify", "proving", "proven"),
    Stage("dtk", "building toolkit", "toolkit built", folder="dtk"),
    Stage("dtk:publish", "pushing toolkit", "toolkit published"),
    Stage("dtk:kernels", "listing", "kernels listed", whole="kernels"),
    Stage("dtk:ledger", "keeping", "ledger of toolkits kept", whole="the ledger of toolkits"),
)}


def of_groups(*groups: str) -> frozenset[str]:
    """The groups and the stages that they run."""
    return frozenset(groups) | {stage.name for stage in _STAGES.values() if stage.group in groups}


def stage_of(task: str) -> tuple[Stage, str] | None:
    """The stage of a task and its subject, by the task's name; None for groups and other tasks."""
    name, subject = task, ""
    while name:
        if name in _STAGES:
            stage = _STAGES[name]
            return stage, subject or stage.whole or name
        name, _, last = name.rpartition(":")
        subject = f"{last}:{subject}" if subject else last
    return None
