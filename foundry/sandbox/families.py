"""The sandbox's further families, made when they are asked for: packages of a vendor's layout, bases, a matrix file.

What is made of each stands in the profile (`sandbox.families`). Sources are Debian's own kernel
sources; the packages are not signed, as the vendor's are not, so what vouches for them is in the
sandbox's locks before anybody fetches them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from foundry.base.filelock import locked
from foundry.base.files import pretty_json, read_json, remove_tree, scratch, sha256_file, write_atomic
from foundry.base.process import run
from foundry.base.versions import in_range, kernel_version, version_key
from foundry.config.locks import Base, Lock, MainPackage
from foundry.formats.packages import rpm
from foundry.plan.locks import merged_base
from foundry.sandbox import linux_source
from foundry.sandbox.daemons import REGISTRY
from foundry.sandbox.localstore import LocalStore
from foundry.sandbox.make import Sandbox

MATRIX = "matrix.json"
_CODE = Path("foundry/sandbox")
_DATE = 1_700_000_000  # of everything that is packed: the same input gives the same bytes
_SECONDS = 600.0


def make_families(sandbox: Sandbox, wanted: Mapping[str, Mapping[str, Any]], log: Path) -> None:
    """Have the sandbox up, and the further families that the profile describes."""
    sandbox.up(log)
    with locked(sandbox.folder / "lock"):
        known = sandbox.results()
        base = Base.from_document(known["archive"]["base"])
        Families(sandbox, wanted).make(base, known["releases"]["catalogue"], log.absolute())


class Families:
    """Makes what `wanted` (the setting `sandbox.families`) describes, beside a sandbox that is up."""

    def __init__(self, sandbox: Sandbox, wanted: Mapping[str, Mapping[str, Any]]) -> None:
        self.sandbox, self.wanted = sandbox, wanted
        self.folder = sandbox.folder / "families"

    def make(self, base: Base, catalogue: list[Mapping[str, Any]], log: Path) -> None:
        """Make what is missing; write the families' locks and the matrix file below the sandbox's output.

        `base` is the sandbox's own. Raises OutsideError and FoundryError.
        """
        matrix = []
        for name, want in self.wanted.items():
            found = self._packages(name, want, log) if "sources" in want else {}
            own = self._base(want["base"], base, log) if "base" in want else base
            self._lock(name, want["version"], own, found)
            releases = [one["version"] for one in catalogue if in_range(kernel_version(one["kernel"]), want["kernels"])]
            if releases:
                matrix.append({"driver": want["version"], "family": name,
                               "ocp_versions": sorted(set(releases), key=version_key)})
        write_atomic(self.sandbox.output / MATRIX, pretty_json(matrix))

    # -- packages --------------------------------------------------------------

    def _packages(self, name: str, want: Mapping[str, Any], log: Path) -> dict[str, Any]:
        """The family's RPMs in a repository that the sandbox serves; entries of a lock by package name."""
        made, recipe = self.sandbox.made, self.sandbox.project / want["recipe"]
        code = sha256_file(self.sandbox.project / _CODE / "linux_source.py")
        wanted = want["sources"]
        source = made.part(f"{name} sources", [code, wanted], lambda: self._sources(name, wanted, log))
        inputs = [sha256_file(self.sandbox.project / _CODE / "families.py"), source["sha256"], dict(want),
                  {path.name: sha256_file(path) for path in sorted(recipe.iterdir())}]
        result = made.part(f"{name} packages", inputs, lambda: self._pack(name, want, recipe, source, log))
        packages: dict[str, Any] = result["packages"]
        return packages

    def _sources(self, name: str, want: Mapping[str, str], log: Path) -> dict[str, Any]:
        dest = self.folder / name
        with scratch(self.folder, name) as work:
            package = linux_source.find_package(want["package"], work, log)
            linux_source.extract(package, (want["folder"],), work / "tree", log)
            write_atomic(work / "tree/PACKAGE", f"{package.name} {package.version} {package.sha256}\n".encode())
            remove_tree(dest)
            os.replace(work / "tree", dest)
        return {"sha256": package.sha256, "version": package.version, "files": [f"families/{name}/PACKAGE"]}

    def _pack(
        self, name: str, want: Mapping[str, Any], recipe: Path, source: Mapping[str, Any], log: Path
    ) -> dict[str, Any]:
        version, _, release = want["version"].partition("-")
        facts = {
            "VERSION": want["version"], "RPM_VERSION": version, "RPM_RELEASE": f"{release}.el8",
            "GIT_SHA": source["sha256"][:12], "ARCH": self.sandbox.arch,
        }
        dest = self.sandbox.daemons.web_root / want["repository"]
        dest.parent.mkdir(parents=True, exist_ok=True)
        with scratch(self.folder, "pack") as work:
            shutil.copytree(self.folder / name / want["sources"]["folder"], work / "tree")
            for path in sorted(recipe.iterdir()):
                spec = path.suffix == ".spec"
                target = work / path.name if spec else work / "tree" / path.name
                target.write_text(_filled(path.read_text(encoding="utf-8"), facts), encoding="utf-8")
                target.chmod(0o755 if os.access(path, os.X_OK) else 0o644)
            (work / "firmware").mkdir()
            for file in want.get("firmware", ()):
                (work / "firmware" / file).write_text(f"no firmware: a stand-in for {file} {want['version']}\n")
            folder = work / "repository"
            folder.mkdir()
            self._rpmbuild(work, folder, log)
            run(["createrepo_c", "--checksum=sha256", "--compress-type=gz", "--general-compress-type=gz",
                 f"--revision={_DATE}", "--set-timestamp-to-revision", str(folder)], log=log, timeout=_SECONDS)
            packages = {}
            for file in sorted(folder.glob("*.rpm")):
                package = rpm.read_package(file)
                packages[package.name] = {
                    "name": package.name, "href": file.name, "content_sha256": package.content_sha256,
                    "url": f"http://web.sandbox.internal/{want['repository']}/{file.name}",
                    "build_time": package.build_time, "license": package.license,
                }
            remove_tree(dest)
            os.replace(folder, dest)
        dest.chmod(0o755)
        listed = dest.relative_to(self.sandbox.folder) / "repodata/repomd.xml"
        return {"packages": packages, "files": [str(listed)]}

    @staticmethod
    def _rpmbuild(work: Path, folder: Path, log: Path) -> None:
        macros = {
            "_topdir": work / "rpmbuild", "_sourcedir": work, "_rpmdir": folder, "_dbpath": work / "rpmdb",
            "_rpmfilename": "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm", "_buildhost": "sandbox",
            "_binary_payload": "w2.xzdio", "use_source_date_epoch_as_buildtime": "1",
            "clamp_mtime_to_source_date_epoch": "1", "source_date_epoch_from_changelog": "0",
        }
        defines = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
        for spec in sorted(work.glob("*.spec")):
            run(["rpmbuild", "-bb", *defines, str(spec)], log=log, timeout=_SECONDS, cwd=work,
                env={"SOURCE_DATE_EPOCH": str(_DATE), "HOME": str(work), "LC_ALL": "C.UTF-8", "TZ": "UTC"})

    # -- bases and locks -------------------------------------------------------

    def _base(self, name: str, base: Base, log: Path) -> Base:
        """A base of the family's own, made of the sandbox's, without BusyBox's facts."""
        recipe = self.sandbox.project / "container/sandbox/Containerfile.minimal"
        result = self.sandbox.made.part(
            f"base {name}", [sha256_file(recipe), base.digest], lambda: self._build_base(name, base, recipe, log))
        return Base.from_document(result["base"])

    def _build_base(self, name: str, base: Base, recipe: Path, log: Path) -> dict[str, Any]:
        sandbox = self.sandbox
        reference = f"{base.name.rpartition(':')[0]}@{base.digest}"
        with self._store() as store, scratch(sandbox.work, "base") as context:
            if not store.engine.has_image(reference):
                store.engine.pull(reference, log=log)
            store.build(
                "own-base", recipe, context, log=log, created=_DATE,
                arguments={"BASE": reference, "NAME": name.partition(":")[0]},
            )
            pushed = store.push("own-base", name, log=log)
        return {
            "base": {"name": f"{REGISTRY}/{name}", "digest": pushed.partition("@")[2], "created": base.created},
            "images": [pushed],
        }

    @contextmanager
    def _store(self) -> Iterator[LocalStore]:
        store = LocalStore(self.sandbox.engine(), self.sandbox.work)
        try:
            with store.cleaned():
                yield store
        finally:
            remove_tree(self.sandbox.work)

    def _lock(self, name: str, version: str, base: Base, packages: Mapping[str, Any]) -> None:
        """The base, and of packages that nobody signs their hashes, beside what fetching found out of the same ones."""
        path = self.sandbox.output / "locks" / f"{name}.json"
        lock = Lock.from_document(read_json(path) or {"packages": {}})
        lock = replace(lock, base=merged_base(lock.base, base))
        if packages:
            main, *further = sorted(packages, key=len)
            package = MainPackage.from_document({
                **packages[main], "further": {one.removeprefix(f"{main}-"): packages[one] for one in further}})
            known = lock.packages.get(version)
            if known is None or package != replace(known, variables={}, dkms=None, node=()):
                lock = lock.with_package(version, package)
        if not path.exists() or path.read_bytes() != lock.to_bytes():
            write_atomic(path, lock.to_bytes())


def _filled(text: str, facts: Mapping[str, str]) -> str:
    for name, value in facts.items():
        text = text.replace(f"@{name}@", value)
    return text
