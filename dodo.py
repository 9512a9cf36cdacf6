"""The front door of kmod-foundry: what `doit` finds here is declared in tasks/."""

from tasks.archive import task_archive, task_archive_verify
from tasks.boot import task_boot
from tasks.build import task_build
from tasks.commands.backend import ContentChecker
from tasks.commands.reporter import FoundryReporter
from tasks.dtk import task_dtk, task_dtk_kernels, task_dtk_ledger, task_dtk_publish
from tasks.fetch import task_fetch
from tasks.image import task_image
from tasks.kit import task_kit
from tasks.module import task_module
from tasks.publish import task_publish, task_push
from tasks.rebuild import task_rebuild
from tasks.release import (
    task_assets,
    task_attest,
    task_bundle,
    task_day1,
    task_github,
    task_ledger,
    task_notes,
    task_release,
)
from tasks.sandbox import task_sandbox
from tasks.sign import task_sign
from tasks.site import task_site
from tasks.source import task_source
from tasks.sync import task_sync
from tasks.toolkit import task_toolkit, task_toolkit_pr

DOIT_CONFIG = {
    "default_tasks": ["build"],
    "continue": True,  # one bad cell never blocks the others
    "backend": "records",
    "check_file_uptodate": ContentChecker,
    "reporter": FoundryReporter,
}

__all__ = [
    "DOIT_CONFIG", "task_archive", "task_archive_verify", "task_assets", "task_attest", "task_boot", "task_build",
    "task_bundle", "task_day1", "task_dtk", "task_dtk_kernels", "task_dtk_ledger", "task_dtk_publish", "task_fetch",
    "task_github", "task_image", "task_kit", "task_ledger", "task_module", "task_notes", "task_publish",
    "task_push", "task_rebuild", "task_release", "task_sandbox", "task_sign", "task_site", "task_source", "task_sync",
    "task_toolkit", "task_toolkit_pr",
]
