"""Recipes of toolkits (``config/toolkits/<name>.yaml``): pure data with templates in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from foundry.base.errors import Fault

FIELDS = ("arch", "kernel", "rhel", "rhel_major", "rhel_rt_kernel")
TEMPLATE = re.compile(r"\{([a-z_]*)\}")


@dataclass(frozen=True, eq=False)
class ToolkitRecipe:
    """How toolkits of one kind are made (schemas/toolkit-recipe.schema.json). Hashed by identity."""

    name: str
    data: Mapping[str, Any]

    def fits(self, kernel: str) -> bool:
        """Whether it makes toolkits for the kernel."""
        return any(fnmatchcase(kernel, pattern) for pattern in self.data["kernels"])

    @property
    def file(self) -> str:
        """Where it is, relative to the root."""
        return f"config/toolkits/{self.name}.yaml"

    @property
    def secrets(self) -> Mapping[str, str]:
        """Name of the build's secret → name of the environment variable that holds it."""
        secrets: Mapping[str, str] = self.data.get("secrets", {})
        return secrets


def recipe_faults(recipe: ToolkitRecipe, root: Path) -> list[Fault]:
    """Templates that name a field which does not exist, and files that are not there."""
    data = recipe.data
    values = [data["base"], data.get("rt_kernel", ""), *data["labels"].values()]
    for value in data.get("arguments", {}).values():
        values += [value] if isinstance(value, str) else value
    unknown = {field for value in values for field in TEMPLATE.findall(value)} - {*FIELDS}
    return [
        *(Fault(recipe.file, "", f"unknown field {{{name}}}; known: {', '.join(FIELDS)}") for name in sorted(unknown)),
        *(Fault(recipe.file, f"$.{part}", f"{data[part]} does not exist") for part in ("containerfile", "script")
          if not (root / data[part]).is_file()),
    ]
