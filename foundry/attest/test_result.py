"""What was found out about an image's modules (in-toto: test-result v0.1): the gate's checks, and those of the boot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foundry.base.records import Record

TYPE = "https://in-toto.io/attestation/test-result/v0.1"
_MACHINE = ("accelerator", "qemu", "secure_boot")


def predicate(module: Record, proof: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The predicate, from the record of the module and the proof that a ledger keeps; none: it was not booted.

    A boot that proved nothing, where the profile wants no more, is one of `warnedTests`.
    """
    passed = [f"gate {name}: {one['id']}: {one['detail']}"
              for name, report in sorted(module["gate"].items()) for one in report["findings"] if one["ok"]]
    failed = [f"gate {name}: {one['id']}: {one['detail']}"
              for name, report in sorted(module["gate"].items()) for one in report["findings"] if not one["ok"]]
    warned = []
    configuration = [{"name": "Module.symvers", "digest": {"sha256": module["symvers_sha256"]}}]
    if proof is not None:
        for check in proof.get("checks", ()):
            (passed if check["ok"] else failed).append(f"boot: {check['name']}: {check['detail']}")
        if proof["outcome"] == "unproven":
            warned.append(f"boot: {proof.get('fault', 'it proved nothing')}")
        warned += [f"boot: the kernel warned: {text}" for text in proof.get("warnings", ())]
        if "kernel_sha256" in proof:
            facts = {name: str(proof[name]).partition(" (")[0] for name in _MACHINE if name in proof}
            configuration.append({"name": "vmlinuz", "digest": {"sha256": proof["kernel_sha256"]},
                                  "annotations": facts})
    return {
        "result": "FAILED" if failed else "WARNED" if warned else "PASSED", "configuration": configuration,
        "passedTests": passed, "warnedTests": warned, "failedTests": failed,
    }
