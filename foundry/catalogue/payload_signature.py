"""The signatures of release images, as OpenShift publishes them beside its registries.

``URL/sha256=<hex>/signature-<n>``, each a signed message, from 1 on as long as there is one
(openshift/cluster-update-keys, README.md).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import write_atomic
from foundry.base.parallel import Pen
from foundry.base.reasons import Reason
from foundry.base.references import Reference
from foundry.formats.openshift.release_signature import MAX_BYTES, require_same_image
from foundry.net.transport import RetryPolicy
from foundry.packages.signing import pinned_fingerprint
from foundry.run.context import Foundry

_MOST = 9  # signatures of one image, as many as clusters look at
_LARGEST = 64 << 10  # bytes of one
_LARGEST_KEY = 1 << 20
_HINT = "`releases.signatures` says who must have signed, `releases.exclude` leaves a release out"


@dataclass
class PayloadSignatures:
    """Of one run: `url` and `key_url` as they are served, the full `fingerprint` of the key that must have signed.

    Safe to use from several threads.
    """

    url: str
    key_url: str
    fingerprint: str
    policy: RetryPolicy
    pen: Pen
    log: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _key: Path | None = None

    def require(self, payload: Reference) -> None:
        """Find a good signature of a release image, which is named by digest.

        Raises FoundryError ``signature-…``, ``key-…``; OutsideError without gpgv, and for what can't be had.
        """
        first: FoundryError | None = None
        for number in range(1, _MOST + 1):
            try:
                message = self._get(f"{self.url}/{payload.digest.replace(':', '=')}/signature-{number}", _LARGEST)
            except OutsideError as error:
                if error.reason in (Reason.HTTP_404, Reason.FILE_MISSING):
                    break
                raise
            try:
                return self._check(message, payload)
            except OutsideError:
                raise
            except FoundryError as error:
                first = first or error
        first = first or FoundryError("it has no signature", reason=Reason.SIGNATURE_MISSING)
        raise FoundryError(f"{payload}: {first.message}", reason=first.reason, hint=_HINT, log=self.log) from first

    def _check(self, message: bytes, payload: Reference) -> None:
        from foundry.packages.gpg import signed_content

        key = self._key_file()
        require_same_image(
            signed_content(message, key, self.fingerprint, max_bytes=MAX_BYTES, log=self.log), payload)

    def _key_file(self) -> Path:
        """The public key, fetched once a run: the fingerprint says whether it is the right one."""
        with self._lock:
            if self._key is None:
                file, data = self.log.with_name("release-key.asc"), self._get(self.key_url, _LARGEST_KEY)
                with self.pen.writing():
                    write_atomic(file, data)
                self._key = file
            return self._key

    def _get(self, url: str, most: int) -> bytes:
        from foundry.net.http import get

        left = self.policy.until - time.monotonic()
        return get(url, max_bytes=most, total=min(self.policy.total, left), retries=self.policy.retries, log=self.log)


def signatures_of(foundry: Foundry, policy: RetryPolicy, pen: Pen, log: Path) -> PayloadSignatures | None:
    """By the setting; None where it is absent. ConfigError without the file that has the fingerprint."""
    setting = foundry.settings.releases.signatures
    if not setting:
        return None
    file = f"config/profiles/{foundry.config.profile.name}.yaml"
    fingerprint = pinned_fingerprint(foundry.root, setting, file, "$.releases.signatures")
    url, key_url = (foundry.addresses.resolve(setting[name]) for name in ("url", "key_url"))
    return PayloadSignatures(url.rstrip("/"), key_url, fingerprint, policy, pen, log)
