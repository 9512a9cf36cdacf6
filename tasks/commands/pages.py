"""What `doit help` says of each command and task: the one table of them. Options stand with what reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foundry.base.environment import ARCHIVE, AWS, CELLS, GITHUB, PODMAN, REGISTRIES, SIGNING, TOOLKITS

GROUPS = ("build", "publish", "look", "maintain", "continuous integration")
_BUILD, _PUBLISH, _LOOK, _MAINTAIN, _CI = GROUPS
_COMPILES = (CELLS, PODMAN, REGISTRIES, SIGNING)
_PUSHES = (*_COMPILES, AWS)
_RELEASES = (*_PUSHES, GITHUB)


@dataclass(frozen=True)
class Page:
    """A command, or the tasks of a stage or group.

    `usage` is what may follow its name: words in brackets may be left out, ``...`` means several; of tasks it follows
    without a space. `subjects` are those of the environment variables that matter to it. `failed` is what exit code 1
    means; empty where it never ends with it.
    """

    name: str
    group: str
    usage: str
    purpose: str
    examples: tuple[str, ...]
    subjects: tuple[str, ...] = ()
    failed: str = ""
    about: str = ""
    is_task: bool = False
    mixed: bool = False  # options may stand behind the arguments


def _tasks(name: str, group: str, usage: str, purpose: str, examples: tuple[str, ...], subjects: tuple[str, ...],
           about: str = "") -> Page:
    return Page(name, group, usage, purpose, examples, subjects, "a task failed", about, is_task=True)


_CELL = "A CELL is a driver and a kernel, as `doit list` and `doit status` show it."
_DRIVER = "A DRIVER is a version of build-matrix.json."

_ALL = (
    _tasks("build", _BUILD, "[:DRIVER[@RELEASE]]", "build images; never pushes",
           ("doit build", "doit -n 4 build:2.22.2.0@4.18"), _COMPILES,
           "All cells of the matrix, those of a driver, or those that serve a minor (4.18) or a release (4.18.15). "
           "Plain `doit` is `doit build`. Quote patterns: `doit 'build:2.2*'`."),
    _tasks("fetch", _BUILD, "[:DRIVER]", "fetch and verify driver packages",
           ("doit fetch:2.22.2.0", "doit fetch"), _COMPILES, _DRIVER),
    _tasks("source", _BUILD, "[:DRIVER]", "unpack the sources of packages, read-only",
           ("doit source:2.22.2.0", "doit source"), _COMPILES, _DRIVER),
    _tasks("module", _BUILD, "[:CELL]", "compile modules and check them against their kernel",
           ("doit module", "doit 'module:2.22.2.0-*'"), _COMPILES, _CELL),
    _tasks("image", _BUILD, "[:CELL]", "make images; those that are published are adopted",
           ("doit image", "doit 'image:2.22.2.0-*'"), _COMPILES, _CELL),
    _tasks("sign", _BUILD, "[:CELL]", "sign modules with the profile's key",
           ("doit sign", "doit 'sign:2.22.2.0-*'"), _COMPILES,
           f"{_CELL} Only where the profile has a key (`signing`); `doit signing:new` makes one."),
    _tasks("boot", _BUILD, "[:CELL]", "boot kernels that load the modules: the proof that they do",
           ("doit boot", "doit 'boot:2.22.2.0-*'"), _COMPILES,
           f"{_CELL} It needs QEMU; the setting `proof` says whether anything is published without it."),
    _tasks("dtk", _BUILD, "[:KERNEL]", "build custom toolkits; never pushes",
           ("doit dtk", "doit dtk:5.14.0-427.68.2.el9_4.x86_64"), (*_COMPILES, TOOLKITS),
           "All kernels of the kernel list, or one, as `uname -r` prints it."),
    Page("run", _BUILD, "[TASK ...]", "do tasks; the word `run` may be left out",
         ("doit run build", "doit run --no-build release"), _RELEASES, "a task failed",
         "Without names it does `build`. What is up to date is not done again."),

    _tasks("publish", _PUBLISH, "[:DRIVER]", "build, push what is not published, write the ledgers",
           ("doit publish", "doit publish:2.22.2.0"), _RELEASES, _DRIVER),
    _tasks("release", _PUBLISH, "[:DRIVER]", "publish, then sources, notes and GitHub releases",
           ("doit release", "doit run --no-build release:2.22.2.0"), _RELEASES, _DRIVER),
    _tasks("push", _PUBLISH, "[:CELL]", "build and push images; the ledger stays in this checkout",
           ("doit push", "doit 'push:2.22.2.0-*'"), _PUSHES, _CELL),
    _tasks("assets", _PUBLISH, "[:DRIVER]", "make the source tarballs of releases",
           ("doit assets", "doit assets:2.22.2.0"), _RELEASES, "It works on the ledger as it is and tries no cell."),
    _tasks("ledger", _PUBLISH, "[:DRIVER]", "keep ledgers beside the images",
           ("doit ledger", "doit ledger:2.22.2.0"), _RELEASES, "It works on the ledger as it is and tries no cell."),
    _tasks("attest", _PUBLISH, "[:DRIVER]", "gather keys, policies and statements to verify images with",
           ("doit attest", "doit attest:2.22.2.0"), _RELEASES,
           "Only where images are signed (`image_signing`). It works on the ledger as it is and tries no cell."),
    _tasks("bundle", _PUBLISH, "[:DRIVER]", "write Kubernetes manifests that use the images by digest",
           ("doit bundle", "doit bundle:2.22.2.0 --minor=4.20 --kmm=2.4"), _RELEASES,
           "Only in profiles that publish. Options go with one driver; the next release writes all of it again. It "
           "works on the ledger as it is and tries no cell."),
    _tasks("day1", _PUBLISH, "[:DRIVER]", "tag images with their kernels alone, for BootModuleConfig",
           ("doit day1", "doit day1:2.22.2.0"), _PUSHES,
           "Only where the profile names a repository for them (`kmm.boot_repository`)."),
    _tasks("notes", _PUBLISH, "[:DRIVER]", "write the notes of releases",
           ("doit notes", "doit notes:2.22.2.0"), _RELEASES, "It works on the ledger as it is and tries no cell."),
    _tasks("github", _PUBLISH, "[:DRIVER]", "bring GitHub releases up to date",
           ("doit github", "doit github:2.22.2.0"), _RELEASES,
           "Only in profiles with the setting `github_repository`. It tries no cell."),
    _tasks("dtk:publish", _PUBLISH, "[:KERNEL]", "build and push custom toolkits, write their ledger",
           ("doit dtk:publish", "doit dtk:publish:5.14.0-427.68.2.el9_4.x86_64"), (*_PUSHES, TOOLKITS)),
    _tasks("sync", _PUBLISH, "", "mirror the toolkits that the matrix needs",
           ("doit sync", "KMOD_PROFILE=ecr doit sync"), _PUSHES),
    Page("adopt", _PUBLISH, "[DRIVER ...]", "take over images that no ledger knows, once proven",
         ("doit adopt", "doit adopt 2.22.2.0"), _RELEASES, "an image is not what its tag says; it stays as it is"),
    Page("sign:image", _PUBLISH, "IMAGE [IMAGE ...]", "sign the modules of published images with a key of one's own",
         ("doit sign:image 2.22.2.0-6.1.0-56-cloud-amd64",
          "doit sign:image --key=a.key --certificate=a.crt --beside IMAGE"),
         (REGISTRIES, AWS, SIGNING), "an image can't be signed; nothing of it is written or pushed",
         "An IMAGE is registry/repository@sha256:…, or a published cell. The new image has the same files but for the "
         "modules' signatures, the certificate in /licenses and labels; this is proven before anything is written.",
         mixed=True),

    _tasks("kit", _PUBLISH, "[:DRIVER]", "all that a site without a network needs, in one tar",
           ("doit kit:2.22.2.0", "doit kit"), _PUSHES,
           f"{_DRIVER} Images of all its kernels with signatures and statements, manifests, keys, sources. The same "
           "bytes each time."),
    Page("kit:load", _PUBLISH, "KIT PLACE", "load a kit into a registry, proven before and after",
         ("doit kit:load --key=image.pub 2.22.2.0-kit.tar mirror.example.com/drivers",
          "doit kit:load --unsigned 2.22.2.0-kit.tar localhost:5000"), (REGISTRIES, SIGNING),
         "the kit is not what a key signed: nothing is pushed; or something has not arrived",
         "A PLACE is a registry, perhaps with a path. Images lie below it as in the registry that they come from.",
         mixed=True),

    _tasks("site", _LOOK, "", "pages on what is published: coverage, upgrades, news, data",
           ("doit site", "KMOD_PROFILE=ecr doit site"), _RELEASES,
           "In build/PROFILE/site, to be put anywhere: no server, no tracker. It asks for ledgers that are not here."),
    _tasks("rebuild", _LOOK, ":CELL", "build published images anew from provenance; compare",
           ("doit rebuild:2.22.2.0-6.1.0-56-cloud-amd64", "doit 'rebuild:2.22.2.0-*'"), (*_COMPILES, REGISTRIES),
           f"{_CELL} It works in a folder of its own, takes nothing that was built here, and needs no signing key."),

    Page("status", _LOOK, "[DRIVER|FAMILY|KERNEL|CELL|RELEASE ...]",
         "coverage: published, built, pending and why, failed",
         ("doit status --pending 2.22.2.0", "doit status --json"), (CELLS,)),
    Page("plan", _LOOK, "[TASK ...]", "what a run would do and replace, and why; does nothing",
         ("doit plan publish", "doit plan --since=HEAD^1 release"), (CELLS,), "",
         "It makes no network request and changes nothing.", mixed=True),
    Page("list", _LOOK, "[TASK ...]", "every task with its state, what is pending first",
         ("doit list", "doit list -q image"), (CELLS,), "",
         "Of groups, the tasks in them are shown too. It makes no network request."),
    Page("info", _LOOK, "TASK [TASK ...]", "of tasks: files, key, patches, and why they are pending",
         ("doit info build:2.22.2.0", "doit info 'module:2.22.2.0-*'"), (CELLS,)),
    Page("export", _LOOK, "[DRIVER ...]", "what registries hold, as CSV, compared with the ledgers",
         ("doit export", "doit export --json -o images.json 2.22.2.0"), _RELEASES,
         "a registry lacks what a ledger says, or has it otherwise"),
    Page("verify", _LOOK, "[DRIVER ...]", "prove published images again, or this checkout",
         ("doit verify --sample=3", "doit verify --local"), _RELEASES,
         "an image is not what its ledger says, or a file not what its record says",
         "Images are fetched by digest, from every registry."),
    Page("advise", _LOOK, "DRIVER FROM TO", "may a cluster be upgraded with this driver, and how",
         ("doit advise 2.22.2.0 4.16.30 4.18.15", "doit advise --manifest 2.22.2.0 4.16.30 4.18.15"),
         (CELLS,), "some release of every way lacks the driver, or no way is known",
         "FROM and TO are releases. It goes by the release graph that `doit toolkit` keeps, the catalogue and the "
         "ledger that are here, and makes no network request.", mixed=True),
    Page("check", _LOOK, "FILE [FILE ...]", "find what is wrong in manifests for clusters",
         ("doit check module.yaml", "oc get module,node -o yaml | doit check --release=4.20.5 -"), (CELLS,),
         "something was found",
         "Files are YAML or JSON of Module, ManagedClusterModule, BootModuleConfig, PreflightValidation, DeviceConfig, "
         "ImageSetConfiguration; `-` is standard input. Nodes and ClusterVersion in them say which kernels must be "
         "served. It makes no network request.", mixed=True),
    _tasks("archive:verify", _LOOK, "[:FAMILY]", "prove archives from their content and the pinned key",
           ("doit archive:verify", "doit 'archive:verify:*'"), (), "It makes no network request."),
    Page("dtk:matrix", _LOOK, "", "the kernels of custom toolkits, with their states",
         ("doit dtk:matrix", "doit dtk:matrix --json --pending"), (*_PUSHES, TOOLKITS)),
    Page("doctor", _LOOK, "", "what is missing here or in credentials, and what mends it",
         ("doit doctor", "KMOD_PROFILE=ecr doit doctor"), _RELEASES),
    Page("help", _LOOK, "[NAME]", "this page, or that of a command, a task, the environment",
         ("doit help build", "doit help environment")),

    Page("profile", _MAINTAIN, "[NAME]", "show or choose this checkout's profile",
         ("doit profile", "doit profile local"), (AWS,), "",
         "A profile is where things come from and go to: config/profiles/NAME.yaml. The choice is an untracked file."),
    Page("new", _MAINTAIN, "driver|family VERSION|URL|FILE", "put a driver version or a family into the checkout",
         ("doit new driver 2.29.1.0", "doit new family https://example.com/driver-1.0.rpm"), (REGISTRIES,), "",
         "It looks into the package, writes the matrix entry, of a family also its file, and the package's hash into "
         "the lock; says what it found and guessed, and ends with the command that builds it. Nothing is overwritten; "
         "where something is wrong, nothing is written.", mixed=True),
    Page("signing:new", _MAINTAIN, "", "make a key and certificate to sign modules, or images' key",
         ("doit signing:new", "doit signing:new --images",
          "doit signing:new --name='Example site: kernel modules' --out=/root/signing"), (SIGNING,),
         "", "For modules RSA, with a certificate that RHEL takes from the machine owner's keys and from the "
         "firmware's db; for images ECDSA on P-256, with a public key. With KMOD_SIGNING_PASSPHRASE (images: "
         "KMOD_IMAGE_SIGNING_PASSPHRASE) set, the key is encrypted. Nothing is overwritten. It prints how to have "
         "others trust it and how to keep it."),
    _tasks("toolkit", _MAINTAIN, "", "bring catalogue and base images up to date",
           ("doit toolkit", "doit toolkit --update-base"), _PUSHES),
    _tasks("dtk:kernels", _MAINTAIN, "", "bring the kernel list and the toolkits' bases up to date",
           ("doit dtk:kernels", "doit dtk:kernels --allow-shrink"), (REGISTRIES,)),
    _tasks("archive", _MAINTAIN, "[:FAMILY]", "keep every version of a package in a git repository",
           ("doit archive", "doit 'archive:*'"), (ARCHIVE,)),
    Page("clean", _MAINTAIN, "[TASK ...]", "remove the files that tasks leave; then they are pending",
         ("doit clean --dry-run", "doit clean image:2.22.2.0-6.1.0-56-cloud-amd64"), (CELLS,), "",
         "Of groups, it removes what the tasks in them leave. Without names: the files of all cells and of what they "
         "depend on. Nothing published is touched."),
    Page("prune", _MAINTAIN, "", "free disk space: images and files that are needed no more",
         ("doit prune --dry-run", "doit prune"), (CELLS, PODMAN)),
    _tasks("sandbox:up", _MAINTAIN, "", "make what the sandbox lacks and start its services",
           ("doit sandbox:up", "KMOD_PROFILE=sandbox doit sandbox:up"), (CELLS,)),
    _tasks("sandbox:down", _MAINTAIN, "", "stop the sandbox's services; what was made stays",
           ("doit sandbox:down", "KMOD_PROFILE=sandbox doit sandbox:down"), (CELLS,)),
    _tasks("sandbox:families", _MAINTAIN, "", "make the sandbox's further families",
           ("doit sandbox:families", "KMOD_PROFILE=sandbox doit sandbox:families"), (CELLS,)),
    Page("tabcompletion", _MAINTAIN, "", "print the script that completes names in bash or zsh",
         ('source <(doit tabcompletion)', 'source <(doit tabcompletion --shell=zsh)'), (), "",
         "A line of ~/.bashrc or ~/.zshrc; doit must be on the path."),

    _tasks("toolkit:pr", _CI, "", "propose catalogue and locks as a pull request",
           ("doit toolkit:pr", "FORCE_BUILD=true doit toolkit:pr"), (CELLS, GITHUB)),
    _tasks("dtk:ledger", _CI, "", "add toolkits that other machines published to the ledger",
           ("doit dtk:ledger", "KMOD_PROFILE=github doit dtk:ledger"), _PUSHES),
    Page("shards", _CI, "", "spread pending cells over machines",
         ("doit shards", "doit shards --json --jobs=20"), _RELEASES),
    Page("collect", _CI, "DIR [DIR ...]", "merge what shards left into this checkout",
         ("doit collect build/shards", "doit collect shard-1 shard-2"), _RELEASES, "something was refused"),
)
PAGES = {page.name: page for page in _ALL}
# The options that stand behind a task's name, as doit takes them.
TASK_OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "toolkit": (
        {"name": "allow_shrink", "long": "allow-shrink", "type": bool, "default": False,
         "help": "take releases out of the catalogue that are no longer to be found"},
        {"name": "update_base", "long": "update-base", "type": bool, "default": False,
         "help": "lock what the base image's name means today: every image is made anew"},
    ),
    "bundle": (
        {"name": "kernels", "long": "kernels", "type": list, "default": [], "metavar": "KERNEL",
         "help": "these kernels alone, patterns allowed; of DRIVER, as all of these"},
        {"name": "releases", "long": "releases", "type": list, "default": [], "metavar": "RELEASE",
         "help": "the kernels of these releases alone, patterns allowed"},
        {"name": "minor", "long": "minor", "type": list, "default": [], "metavar": "MINOR",
         "help": "the kernels of these minors alone"},
        {"name": "no_fallback", "long": "no-fallback", "type": bool, "default": False,
         "help": "no mapping for kernels that are not listed"},
        {"name": "kmm", "long": "kmm", "type": str, "default": "", "metavar": "VERSION",
         "help": "the cluster's KMM, as 2.4: what it does not know is left out, and said"},
    ),
    "dtk:kernels": (
        {"name": "allow_shrink", "long": "allow-shrink", "type": bool, "default": False,
         "help": "take releases out of the list that are no longer to be found"},
        {"name": "update_base", "long": "update-base", "type": bool, "default": False,
         "help": "lock what the bases' names mean today: every toolkit on them is made anew"},
    ),
}


def page_of(word: str) -> Page | None:
    """The page of a command or of the tasks that a word of the command line names."""
    name = word
    while name and name not in PAGES:
        name = name.rpartition(":")[0]
    page = PAGES.get(name)
    return page if page is not None and (name == word or page.is_task) else None


def usage_of(page: Page) -> str:
    """How a command or task is written."""
    if page.is_task:
        return f"doit [OPTION ...] {page.name}{page.usage} [TASK ...]"
    return f"doit {'' if page.name == 'run' else page.name + ' '}[OPTION ...] {page.usage}".rstrip()
