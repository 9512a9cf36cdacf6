"""Folders of files beside a driver's ledger that follow from it: written whole, known by a record, released packed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foundry.base.files import remove_tree, scratch
from foundry.base.records import input_facts, output_facts, outputs_changed, read_record, write_record
from foundry.ledger.ledgers import ledger_file
from foundry.plan.ledger import ledger_path
from foundry.run.context import Foundry


@dataclass(frozen=True)
class Folder:
    """The folder that a stage leaves; its record lies beside it, and in the release it is a tarball."""

    stage: str
    name: str

    @property
    def record(self) -> str:
        """The name of the record."""
        return f"{self.stage}.json"

    def current(self, foundry: Foundry, driver: str, key: str) -> bool:
        """Whether the files here are whole and were made with the key; no network request."""
        folder = ledger_file(foundry, driver).parent
        record = read_record(folder / self.record, self.stage)
        return record is not None and record.get("key") == key and not outputs_changed(record, folder)

    def write(
        self, foundry: Foundry, driver: str, family: str, key: str, inputs: Sequence[str], files: Mapping[str, bytes]
    ) -> None:
        """Put these files in place of what is there, all or none; without any the folder goes."""
        folder = ledger_file(foundry, driver).parent
        with scratch(folder, self.stage) as work:
            for name, data in files.items():
                path = work / self.name / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            (folder / self.record).unlink(missing_ok=True)
            remove_tree(folder / self.name)
            if files:
                (work / self.name).replace(folder / self.name)
        write_record(folder / self.record, self.stage, {
            "driver": driver, "family": family, "key": key, "inputs": input_facts(foundry.root, inputs),
            "outputs": output_facts(folder, [f"{self.name}/{name}" for name in files]),
        })

    def tarball(self, foundry: Foundry, driver: str, mtime: int) -> bytes:
        """All of it as one file, for the driver's release; empty where there is none. The same each time."""
        from foundry.formats.trees.sourcetar import tree_entries, write_tar_gz

        folder, sink = ledger_file(foundry, driver).with_name(self.name), io.BytesIO()
        if folder.is_dir():
            write_tar_gz(sink, tree_entries(folder), top=self.name, mtime=mtime)
        return sink.getvalue()

    def record_path(self, foundry: Foundry, driver: str) -> str:
        """The record, relative to the root."""
        return str(ledger_path(foundry.config.build, driver).with_name(self.record))
