"""How much may come out of an archive: one budget of bytes and of entries, whatever the archive's form.

A few bytes of an archive can stand for any number of them: by compression, by sparse files, by hard links, by folders
in folders. So what comes out is counted, not what is read: where a decompressor hands bytes over, and where files are
written or kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason


@dataclass
class Budget:
    """What one archive (or all layers of one image) may give, and what it is called where it gives more or is damaged.

    Bytes count twice, each time up to `max_bytes`: decompressed, and written or kept. An entry counts where its header
    is read, and again where something is made for it.
    """

    what: str
    damaged: Reason
    too_large: Reason
    max_bytes: int
    max_entries: int = 1_000_000
    unpacked: int = field(default=0, init=False)
    _kept: int = field(default=0, init=False)
    _entries: int = field(default=0, init=False)

    def unpack(self, size: int) -> None:
        """Count decompressed bytes; FoundryError (`too_large`) where they are too many, as of all these."""
        self.unpacked += size
        if self.unpacked > self.max_bytes:
            raise self.excess(f"holds more than {self.max_bytes} bytes once decompressed")

    def keep(self, size: int) -> None:
        """Count bytes that are about to be written or kept."""
        self._kept += size
        if self._kept > self.max_bytes:
            raise self.excess(f"would become more than {self.max_bytes} bytes")

    def entry(self) -> None:
        """Count a header that was read, or a file, folder or link that is about to be made."""
        self._entries += 1
        if self._entries > self.max_entries:
            raise self.excess(f"has more than {self.max_entries} entries")

    def excess(self, sentence: str) -> FoundryError:
        """The error for an archive that gives too much."""
        return FoundryError(f"{self.what} {sentence}", reason=self.too_large)

    def fault(self, sentence: str) -> FoundryError:
        """The error for an archive that is damaged."""
        return FoundryError(f"{self.what} {sentence}", reason=self.damaged)
