"""The images of compose.yml beside the languages': from a registry, or local ones.

Owns ``services.toml``. Knows nothing of engines; what is present and how it is built is `images`'.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Annotated

import msgspec
from msgspec import Meta

from wsrunner.languages import Image, Recipe


class Service(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image that a deployment needs.

    Attributes:
        name: Its name in ``services.toml`` and in that of its local image.
        variable: The variable by which compose.yml takes its image.
        image: The registry's image.
        packages: Debian packages of the local image.
    """

    name: str
    variable: Annotated[str, Meta(pattern=r"^[A-Z]+_IMAGE$")]
    image: Image
    packages: tuple[str, ...]

    @property
    def local_image(self) -> str:
        """What `wsrunner images services` builds where no registry answers."""
        return f"wsrunner/{self.name}:debian"

    @property
    def recipe(self) -> Recipe:
        """What the local image is made of."""
        return Recipe(self.packages)


@cache
def load() -> tuple[Service, ...]:
    """Read ``services.toml``."""
    text = resources.files(__package__).joinpath("services.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)["service"]
    return tuple(msgspec.convert({"name": key, **table}, Service) for key, table in tables.items())
