"""What users verify a driver's images with: the public key, policies for the programs that they have, and commands.

Formats: containers-policy.json(5) and containers-registries.d(5) of containers/image; OpenShift's ClusterImagePolicy
(config.openshift.io/v1, v1alpha1); Kyverno's ClusterPolicy (kyverno.io/v1); sigstore's trusted root.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from foundry.attest.statements import KINDS
from foundry.base.files import pretty_json
from foundry.base.names import ATTESTATIONS_FILE
from foundry.base.yaml_text import yaml_documents
from foundry.signing.image_key import PublicKey

PUBLIC_KEY = "image.pub"
_ROOT = {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}
_COSIGN_TYPES = {"provenance": "slsaprovenance1", "sbom": "cyclonedx"}


def files(name: str, repositories: Sequence[str], keys: Sequence[PublicKey], example: str) -> dict[str, bytes]:
    """The files by name. `name` is that of the objects that are made in a cluster, `repositories` are
    ``host/repository``, the current key is the first, `example` is the digest of an image.
    """
    current, *older = keys
    return {
        PUBLIC_KEY: current.pem,
        **{f"image-{key.fingerprint[:12]}.pub": key.pem for key in older},
        "policy.json": pretty_json(_policy(repositories, current)),
        f"registries.d/{name}.yaml": _yaml({"docker": {one: {"use-sigstore-attachments": True}
                                                       for one in repositories}}),
        "cluster-image-policy.yaml": _yaml(_image_policy("v1", name, repositories, current)),
        "cluster-image-policy-v1alpha1.yaml": _yaml(_image_policy("v1alpha1", name, repositories, current)),
        "kyverno.yaml": _yaml(_kyverno(name, repositories, current)),
        "trusted_root.json": pretty_json(_ROOT),
        "README.md": _readme(name, repositories[0], example).encode(),
    }


def _policy(repositories: Sequence[str], key: PublicKey) -> Mapping[str, Any]:
    """With the repository's name alone: an image has several tags, and its signature names one."""
    rule = {"type": "sigstoreSigned", "keyData": _base64(key.pem), "signedIdentity": {"type": "matchRepository"}}
    return {"default": [{"type": "insecureAcceptAnything"}],
            "transports": {"docker": {one: [rule] for one in repositories}}}


def _image_policy(version: str, name: str, repositories: Sequence[str], key: PublicKey) -> Mapping[str, Any]:
    return {
        "apiVersion": f"config.openshift.io/{version}", "kind": "ClusterImagePolicy", "metadata": {"name": name},
        "spec": {"scopes": list(repositories), "policy": {
            "rootOfTrust": {"policyType": "PublicKey", "publicKey": {"keyData": _base64(key.pem)}},
            "signedIdentity": {"matchPolicy": "MatchRepository"},
        }},
    }


def _kyverno(name: str, repositories: Sequence[str], key: PublicKey) -> Mapping[str, Any]:
    """The classic signature, and a bundle with provenance: each by the key, neither in a public log."""
    references = [f"{one}{end}" for one in repositories for end in (":*", "@*")]
    attestors = [{"entries": [{"keys": {
        "publicKeys": key.pem.decode(), "signatureAlgorithm": "sha256", "rekor": {"ignoreTlog": True},
        "ctlog": {"ignoreSCT": True},
    }}]}]
    match = {"any": [{"resources": {"kinds": ["Pod"]}}]}
    images = {"imageReferences": references, "failureAction": "Enforce", "mutateDigest": False,
              "verifyDigest": False}
    return {
        "apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": name},
        "spec": {"background": False, "webhookConfiguration": {"timeoutSeconds": 30}, "rules": [
            {"name": "signed", "match": match, "verifyImages": [{**images, "attestors": attestors}]},
            {"name": "provenance", "match": match, "verifyImages": [{
                **images, "type": "SigstoreBundle",
                "attestations": [{"type": KINDS["provenance"], "attestors": attestors}]}]},
        ]},
    }


def _readme(name: str, repository: str, digest: str) -> str:
    image = f"{repository}@{digest}"
    quiet = "--insecure-ignore-tlog=true"  # the images' names are in no public log
    attested = "\n".join(
        f"cosign verify-attestation --new-bundle-format --key {PUBLIC_KEY} {quiet} \\\n"
        f"    --trusted-root trusted_root.json --type {_COSIGN_TYPES.get(kind, uri)} \\\n    {image}"
        for kind, uri in KINDS.items())
    return f"""# Verifying the images of {repository}

Each image is signed with the key `{PUBLIC_KEY}`, and signed statements lie beside it: where it comes from (SLSA
provenance), what is in it (CycloneDX), and what its modules were tested for. Have the key from where you trust it, not
from the registry that has the images.

No public log has the signatures: it would list the names of all images. That is what `{quiet}` says, and
why `trusted_root.json` is empty: the key alone vouches.

## cosign

```sh
cosign verify --key {PUBLIC_KEY} {quiet} \\
    {image}
{attested}
cosign verify-blob --new-bundle-format --key {PUBLIC_KEY} {quiet} \\
    --trusted-root trusted_root.json --bundle images.json.sigstore.json images.json
```

## podman, skopeo, CRI-O

`policy.json` is for `/etc/containers/policy.json` (take its entry into yours), `registries.d/{name}.yaml` for
`/etc/containers/registries.d/`. Or, for one copy:

```sh
skopeo --policy policy.json --registries.d registries.d copy \\
    docker://{image} dir:copied
```

## OpenShift

```sh
oc apply -f cluster-image-policy.yaml            # 4.20 and later
oc apply -f cluster-image-policy-v1alpha1.yaml   # 4.18 and 4.19, as a technology preview
```

From a mirror, signatures name the repository that they were made for: copy them along, and have `signedIdentity`
translate the name (`matchPolicy: RemapIdentity`; in `policy.json` `remapIdentity`).

## Kyverno

```sh
kubectl apply -f kyverno.yaml   # 1.13 and later
```

## Without a network

`{ATTESTATIONS_FILE}` has the statements of all images of this release, one Sigstore bundle a line.
"""


def _yaml(document: Mapping[str, Any]) -> bytes:
    return yaml_documents([document])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
