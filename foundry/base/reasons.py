"""Why something failed or is as it is: one word for machines, in errors, `failure.json` and `doit status --json`.

`docs/troubleshooting.md` says of each what to do; `tests/unit/base/test_reasons.py` holds the two together.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """All reasons. A value is what users see: a change of it goes into the changelog."""

    # Why a cell is in its state; an error has those that keep a cell from being built.
    UP_TO_DATE = "up-to-date"
    PUBLISHED = "published"
    FORCED = "forced"
    NOT_BUILT = "not-built"
    CHANGED = "changed"
    KEY_FORM = "key-form"
    OUTPUT_MISSING = "output-missing"
    NOT_FETCHED = "not-fetched"
    BASE_NOT_LOCKED = "base-not-locked"
    KERNEL_MISMATCH = "kernel-mismatch"
    ARCH_NOT_HERE = "arch-not-here"
    NOT_PROVEN = "not-proven"
    CERTIFICATE_MISSING = "certificate-missing"

    # The command line, the configuration, this machine.
    USAGE = "usage"
    CONFIGURATION = "configuration"
    INTERRUPTED = "interrupted"
    TIMEOUT = "timeout"
    COMMAND_FAILED = "command-failed"
    TOOL_MISSING = "tool-missing"
    CLOCK = "clock"
    NO_SPACE = "no-space"
    DISK = "disk"

    # Compiling a module, and the gate: a reason for each of its rules.
    COMPILE_FAILED = "compile-failed"
    COMPILE_TOO_LARGE = "compile-too-large"
    OUT_OF_MEMORY = "out-of-memory"
    OUT_OF_PROCESSES = "out-of-processes"
    CONTAINER_KILLED = "container-killed"
    PATCH_MISMATCH = "patch-mismatch"
    PATCH_FILE_MISSING = "patch-file-missing"
    GATE_ELF = "gate-elf"
    GATE_ARCH = "gate-arch"
    GATE_VERMAGIC = "gate-vermagic"
    GATE_NAME = "gate-name"
    GATE_SYMBOLS = "gate-symbols"
    GATE_LICENSE = "gate-license"
    GATE_NAMESPACES = "gate-namespaces"
    GATE_CRCS = "gate-crcs"
    SYMVERS_MALFORMED = "symvers-malformed"
    MODULE_UNLISTED = "module-unlisted"
    MODULE_EXCLUDED = "module-excluded"
    MODULE_MISSING = "module-missing"
    MODULE_CHANGED = "module-changed"
    OUTPUT_UNSAFE = "output-unsafe"
    TOOLKIT_WITHOUT_KERNEL = "toolkit-without-kernel"

    # Booting a module: the proof that its own kernel loads it.
    BOOT_FAILED = "boot-failed"
    KERNEL_DOES_NOT_BOOT = "kernel-does-not-boot"
    NO_KERNEL_IMAGE = "no-kernel-image"
    DOES_NOT_LOAD = "does-not-load"
    DOES_NOT_UNLOAD = "does-not-unload"
    SIGNATURES_NOT_ENFORCED = "signatures-not-enforced"

    # podman and images.
    PODMAN_CANNOT_START = "podman-cannot-start"
    PODMAN_FAILED = "podman-failed"
    IMAGE_PULL_FAILED = "image-pull-failed"
    IMAGE_BUILD_FAILED = "image-build-failed"
    IMAGE_WRONG_PLATFORM = "image-wrong-platform"
    LABEL_EMPTY = "label-empty"
    LABEL_WRONG = "label-wrong"
    OCI_DAMAGED = "oci-damaged"
    MAX_DISK = "max-disk"

    # Locks and what was fetched before.
    LOCK_MISMATCH = "lock-mismatch"
    LOCK_UNREADABLE = "lock-unreadable"
    LOCK_CHANGED = "lock-changed"
    SOURCE_MISSING = "source-missing"
    SOURCE_CHANGED = "source-changed"
    RECORD_UNREADABLE = "record-unreadable"

    # HTTP and files.
    HTTP_UNREACHABLE = "http-unreachable"
    HTTP_TIMEOUT = "http-timeout"
    HTTP_TRUNCATED = "http-truncated"
    HTTP_FAILED = "http-failed"
    HTTP_404 = "http-404"
    HTTP_STATUS = "http-status"
    HTTP_REDIRECT = "http-redirect"
    HTTP_RANGE = "http-range"
    HTTP_TOO_LARGE = "http-too-large"
    HTTP_UPLOAD = "http-upload"
    URL_UNSUPPORTED = "url-unsupported"
    FILE_MISSING = "file-missing"
    FILE_UNREADABLE = "file-unreadable"
    DIGEST_MISMATCH = "digest-mismatch"

    # Packages and their repositories.
    REPODATA_MALFORMED = "repodata-malformed"
    REPODATA_TOO_LARGE = "repodata-too-large"
    REPODATA_UNSUPPORTED = "repodata-unsupported"
    CHECKSUM_WEAK = "checksum-weak"
    DRIVER_UNKNOWN = "driver-unknown"
    DRIVER_AMBIGUOUS = "driver-ambiguous"
    PACKAGE_MISLABELLED = "package-mislabelled"
    PACKAGE_UNSAFE_PATH = "package-unsafe-path"
    PACKAGE_UNSAFE_LINK = "package-unsafe-link"
    PACKAGE_UNSAFE_TYPE = "package-unsafe-type"
    RPM_DAMAGED = "rpm-damaged"
    RPM_TOO_LARGE = "rpm-too-large"
    RPM_UNREADABLE = "rpm-unreadable"
    RPM_UNSUPPORTED = "rpm-unsupported"
    DEB_DAMAGED = "deb-damaged"
    TAR_DAMAGED = "tar-damaged"
    TAR_TOO_LARGE = "tar-too-large"
    TARGET_EXISTS = "target-exists"
    DKMS_SHELL = "dkms-shell"
    DKMS_MALFORMED = "dkms-malformed"
    DKMS_UNSUPPORTED = "dkms-unsupported"
    VARIABLE_MISSING = "variable-missing"
    FIRMWARE_MISSING = "firmware-missing"
    FIRMWARE_TWICE = "firmware-twice"

    # Signatures.
    SIGNATURE_MISSING = "signature-missing"
    SIGNATURE_BAD = "signature-bad"
    SIGNATURE_WRONG_KEY = "signature-wrong-key"
    SIGNATURE_EXPIRED = "signature-expired"
    SIGNATURE_KEY_EXPIRED = "signature-key-expired"
    SIGNATURE_KEY_REVOKED = "signature-key-revoked"
    SIGNATURE_WEAK = "signature-weak"
    SIGNATURE_WRONG_KIND = "signature-wrong-kind"
    SIGNATURE_FROM_THE_FUTURE = "signature-from-the-future"
    SIGNATURE_MALFORMED = "signature-malformed"
    SIGNATURE_OTHER_IMAGE = "signature-other-image"
    KEY_WEAK = "key-weak"
    KEY_DAMAGED = "key-damaged"
    KEY_UNREADABLE = "key-unreadable"
    KEY_FINGERPRINT = "key-fingerprint"
    PIN_MISMATCH = "pin-mismatch"

    # Signatures of modules.
    MODULE_SIGNATURE_MISSING = "module-signature-missing"
    MODULE_SIGNATURE_MALFORMED = "module-signature-malformed"
    MODULE_SIGNATURE_TRUNCATED = "module-signature-truncated"
    MODULE_SIGNATURE_WRONG_KEY = "module-signature-wrong-key"
    MODULE_SIGNATURE_BAD = "module-signature-bad"
    MODULE_SIGNATURE_HASH = "module-signature-hash"
    MODULE_SIGNATURE_BESIDE = "module-signature-beside"
    MODULE_COMPRESSED = "module-compressed"

    # The key and the certificate that modules are signed with.
    CERTIFICATE_UNREADABLE = "certificate-unreadable"
    CERTIFICATE_WEAK = "certificate-weak"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_YET_VALID = "certificate-not-yet-valid"
    SIGNING_KEY_MISSING = "signing-key-missing"
    SIGNING_KEY_UNREADABLE = "signing-key-unreadable"
    SIGNING_KEY_LOCKED = "signing-key-locked"
    SIGNING_KEY_MISMATCH = "signing-key-mismatch"
    SIGNING_TOKEN = "signing-token"  # noqa: S105 - a word, not a password

    # Registries.
    REGISTRY_UNAUTHORIZED = "registry-unauthorized"
    REGISTRY_DENIED = "registry-denied"
    REGISTRY_AUTH = "registry-auth"
    REGISTRY_MALFORMED = "registry-malformed"
    CREDENTIALS_UNREADABLE = "credentials-unreadable"
    REPOSITORY_MISSING = "repository-missing"
    IMAGE_MISSING = "image-missing"
    IMAGE_TOO_LARGE = "image-too-large"
    REFERENCE_MALFORMED = "reference-malformed"
    MANIFEST_MALFORMED = "manifest-malformed"
    MANIFEST_UNSUPPORTED = "manifest-unsupported"
    IMAGE_CONFIG_MALFORMED = "image-config-malformed"
    PLATFORM_MISSING = "platform-missing"
    LAYER_MALFORMED = "layer-malformed"
    LAYER_TOO_LARGE = "layer-too-large"
    LAYER_FILE_TOO_LARGE = "layer-file-too-large"
    LAYER_NOT_A_FILE = "layer-not-a-file"
    LAYER_FOREIGN = "layer-foreign"
    TAGS_MALFORMED = "tags-malformed"
    ATTESTATION_MISSING = "attestation-missing"
    OTHER_INPUTS = "other-inputs"
    NOT_REPRODUCED = "not-reproduced"
    LEDGER_UNSIGNED = "ledger-unsigned"
    DOCUMENT_MALFORMED = "document-malformed"
    REFERRERS_REFUSED = "referrers-refused"
    DOCUMENT_TOO_LARGE = "document-too-large"
    DOCUMENT_CHANGED = "document-changed"
    PUSH_MISMATCH = "push-mismatch"
    BLOB_UNKNOWN = "blob-unknown"
    TAG_TAKEN = "tag-taken"

    # AWS.
    AWS_CREDENTIALS = "aws-credentials"
    AWS_DENIED = "aws-denied"
    AWS_REGION = "aws-region"
    AWS_ACCOUNT = "aws-account"
    AWS_UNREACHABLE = "aws-unreachable"
    AWS_FAILED = "aws-failed"
    AWS_MISSING = "aws-missing"
    AWS_EXISTS = "aws-exists"
    REPOSITORY_FOREIGN = "repository-foreign"
    REPOSITORY_NAME = "repository-name"

    # Releases, toolkits, bases: `doit toolkit`.
    RELEASES_EMPTY = "releases-empty"
    RELEASES_MALFORMED = "releases-malformed"
    RELEASES_REPEAT = "releases-repeat"
    RELEASES_FEWER = "releases-fewer"
    RELEASES_LEFT_OUT = "releases-left-out"
    PAYLOAD_MALFORMED = "payload-malformed"
    PAYLOAD_WITHOUT_REFERENCES = "payload-without-references"
    PAYLOAD_WITHOUT_TOOLKIT = "payload-without-toolkit"
    PAYLOAD_OTHER_RELEASE = "payload-other-release"
    PAYLOAD_FOREIGN = "payload-foreign"
    NODE_KERNEL_UNKNOWN = "node-kernel-unknown"
    TOOLKIT_RELEASE_MISSING = "toolkit-release-missing"
    TOOLKIT_RELEASE_MALFORMED = "toolkit-release-malformed"
    TOOLKIT_KERNEL_INVALID = "toolkit-kernel-invalid"
    TOOLKIT_WRONG_ARCH = "toolkit-wrong-arch"
    TOOLKIT_TIMEOUT = "toolkit-timeout"
    BASE_WITHOUT_BUSYBOX = "base-without-busybox"
    BASE_CONTRADICTS = "base-contradicts"
    BASE_CREATED_MISSING = "base-created-missing"

    # Custom toolkits; the recipes' scripts give some of these names.
    KERNEL_MISSING = "kernel-missing"
    KERNEL_FOREIGN = "kernel-foreign"
    PACKAGES_MISSING = "packages-missing"
    REPOSITORIES_UNREACHABLE = "repositories-unreachable"
    RHSM_REFUSED = "rhsm-refused"
    RHSM_MISSING = "rhsm-missing"
    SECRET_MISSING = "secret-missing"  # noqa: S105 - a word, not a password
    BASE_GONE = "base-gone"
    TOOLKIT_BUILD_FAILED = "toolkit-build-failed"
    TOOLKIT_UNUSABLE = "toolkit-unusable"
    TOOLKIT_MISSING = "toolkit-missing"
    TOOLKIT_NOT_PUBLISHED = "toolkit-not-published"

    # Ledgers, notes, releases.
    NOT_PUBLISHED = "not-published"
    LEDGER_MISSING = "ledger-missing"
    SERIES_UNKNOWN = "series-unknown"
    ASSET_MISSING = "asset-missing"
    NOTES_TOO_LONG = "notes-too-long"
    MARKERS_DAMAGED = "markers-damaged"
    BUSYBOX_SOURCE = "busybox-source"
    BUSYBOX_DAMAGED = "busybox-damaged"
    BUSYBOX_TOO_LARGE = "busybox-too-large"
    BUSYBOX_VERSION = "busybox-version"
    BUSYBOX_UNKNOWN = "busybox-unknown"

    # GitHub.
    GITHUB_CREDENTIALS = "github-credentials"
    GITHUB_UNAUTHORIZED = "github-unauthorized"
    GITHUB_DENIED = "github-denied"
    GITHUB_RATE_LIMIT = "github-rate-limit"
    GITHUB_UNREACHABLE = "github-unreachable"
    GITHUB_TIMEOUT = "github-timeout"
    GITHUB_STATUS = "github-status"
    GITHUB_MALFORMED = "github-malformed"
    GITHUB_ASSET_DAMAGED = "github-asset-damaged"
    GITHUB_ASSET_NAME = "github-asset-name"
    BRANCH_TAKEN = "branch-taken"
    PULL_TOO_LONG = "pull-too-long"
    PULL_PATH = "pull-path"

    # The archive.
    ARCHIVE_MISSING = "archive-missing"
    ARCHIVE_BROKEN = "archive-broken"
    ARCHIVE_DIVERGED = "archive-diverged"
    ARCHIVE_DIRTY = "archive-dirty"
    ARCHIVE_LOCKED = "archive-locked"
    ARCHIVE_UNUSABLE = "archive-unusable"
    ARCHIVE_REMOTE = "archive-remote"
    ARCHIVE_DENIED = "archive-denied"
    ARCHIVE_SOURCE = "archive-source"
    ARCHIVE_VERSION = "archive-version"
    GIT_FAILED = "git-failed"

    # The sandbox.
    DEBIAN_UNREACHABLE = "debian-unreachable"
    SANDBOX_IMAGE_FAILED = "sandbox-image-failed"
    SANDBOX_SOURCE = "sandbox-source"
    SERVICE_START = "service-start"
    STANDIN_KEY = "standin-key"
    STANDIN_TEMPLATE = "standin-template"
    STANDIN_VERSION = "standin-version"


# What ends a compile that may go well another time, or with more of a machine: it says nothing of the driver.
MACHINE_FAULTS = frozenset({
    Reason.OUT_OF_MEMORY, Reason.OUT_OF_PROCESSES, Reason.CONTAINER_KILLED, Reason.PODMAN_FAILED, Reason.TIMEOUT,
})
# What a compile or a boot fails of as often as it is done with the same inputs.
INPUT_FAULTS = frozenset({
    Reason.COMPILE_FAILED, Reason.COMPILE_TOO_LARGE, Reason.PATCH_MISMATCH, Reason.PATCH_FILE_MISSING,
    Reason.SYMVERS_MALFORMED, Reason.MODULE_UNLISTED, Reason.MODULE_EXCLUDED, Reason.OUTPUT_UNSAFE,
    Reason.TOOLKIT_WITHOUT_KERNEL, Reason.DOES_NOT_LOAD, Reason.DOES_NOT_UNLOAD,
    *(reason for reason in Reason if reason.startswith("gate-")),
})
