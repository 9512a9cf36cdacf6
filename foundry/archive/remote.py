"""The other end of a repository: asked, fetched from and pushed to, again where that can help.

Here, unlike in `foundry.archive.git`, the user's configuration counts: it has the credentials, the
proxy, the way to a host. It can't change what is sent. No password is asked for.
"""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry.archive.git import CALLERS, SECONDS, Git
from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import append_to
from foundry.base.plain_text import keep_login_secret
from foundry.base.process import Completed, run
from foundry.base.reasons import Reason

TOKEN_VARIABLE = "KMOD_ARCHIVE_TOKEN"  # noqa: S105 - a variable's name
_USER = "x-access-token"
_WAITS = (1.0, 3.0, 9.0)  # seconds before each further attempt
_REFUSED = re.compile(r"\[rejected\]|\[remote rejected\]|non-fast-forward|fetch first|stale info", re.IGNORECASE)
_DENIED = re.compile(
    r"authentication failed|permission .*denied|could not read (username|password)|error: 40[13]\b|access denied"
    r"|publickey|host key verification", re.IGNORECASE,
)


@dataclass(frozen=True)
class Remote:
    """A repository elsewhere, by git's URL or a path."""

    git: Git
    url: str
    log: Path

    @property
    def shown(self) -> str:
        """The URL without what may be secret in it."""
        return re.sub(r"//[^/@]*@", "//", self.url)

    def refs(self, *patterns: str) -> dict[str, str]:
        """Ids by name; what a tag points to is not asked."""
        lines = self._run("ls-remote", "--refs", "--quiet", self.url, *patterns).output.decode().splitlines()
        return {name: oid for oid, _, name in (line.partition("\t") for line in lines)}

    def fetch(self, refspecs: Sequence[str]) -> None:
        """Have the refs here; what arrives is checked by git."""
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-gc")
        self._run("-c", "fetch.fsckObjects=true", "fetch", *options, self.url, *refspecs)

    def push(self, names: Sequence[str]) -> None:
        """Have the refs there, all or none.

        Raises FoundryError ``archive-diverged`` where they are something else there, OutsideError ``archive-remote``.
        """
        self._run("push", "--quiet", "--atomic", self.url, *(f"{name}:{name}" for name in names))

    def _run(self, *arguments: str) -> Completed:
        argv = [*self.git.command(), *arguments]
        words = _credentials(self.url)
        environment = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "LC_ALL": "C", "TZ": "UTC", **words}
        note = append_to(self.log)
        verb = next(word for word in arguments if word in ("ls-remote", "fetch", "push"))
        for number, wait in enumerate((*_WAITS, 0.0)):
            done = run(argv, env=environment, unset=CALLERS, check=False, binary=True, timeout=SECONDS)
            if done.returncode == 0:
                return done
            note(f"git {verb} {self.shown}: exit code {done.returncode}\n{done.stderr.replace(self.url, self.shown)}")
            if _REFUSED.search(done.stderr):
                raise FoundryError(
                    f"{self.shown} does not take the archive: {_last(done.stderr)}", reason=Reason.ARCHIVE_DIVERGED,
                    log=self.log,
                    hint="somebody else writes there, or its branch and tags are protected; nothing changed there",
                )
            if _DENIED.search(done.stderr):
                raise OutsideError(
                    f"{self.shown} refuses us: {_last(done.stderr)}", reason=Reason.ARCHIVE_DENIED, log=self.log,
                    hint=f"git needs credentials for it that ask nobody (`git push` shows), or set {TOKEN_VARIABLE}",
                )
            if number < len(_WAITS):
                time.sleep(wait)
        raise OutsideError(
            f"{self.shown} can't be reached: {_last(done.stderr)}",
            reason=Reason.ARCHIVE_REMOTE, log=self.log, retry=True,
            hint="the archive here is whole and is pushed by the next `doit archive`",
        )


def _credentials(url: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that give git the token for an https URL."""
    token = environ.get(TOKEN_VARIABLE, "")
    if not token or not url.startswith("https://"):
        return {}
    keep_login_secret(_USER, token)
    basic = base64.b64encode(f"{_USER}:{token}".encode()).decode()
    count = int(environ.get("GIT_CONFIG_COUNT", "0") or 0)
    return {
        "GIT_CONFIG_COUNT": str(count + 1), f"GIT_CONFIG_KEY_{count}": f"http.{url}.extraHeader",
        f"GIT_CONFIG_VALUE_{count}": f"Authorization: Basic {basic}",
    }


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("fatal:", "!", "error:", "remote:"))]
    return re.sub(r"//[^/@\s]*@", "//", (said or lines or ["git says nothing"])[0])[:300]
