"""What the harness's servers want to see, and what must never be seen elsewhere."""

from __future__ import annotations

import base64

USER, PASSWORD = "robot", "s3cret-canary"
_PAIR = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
BASIC = f"Basic {_PAIR}"
SECRETS = (PASSWORD, _PAIR, "canary-signature")


def no_secrets(*texts: object) -> None:
    for text in texts:
        assert not any(secret in str(text) for secret in SECRETS)
