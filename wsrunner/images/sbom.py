"""An image's bill of materials: every Debian package in it, as CycloneDX.

Owns the document's form: CycloneDX 1.5 in JSON (https://cyclonedx.org/docs/1.5/json/), packages
named by package URLs of type deb (https://github.com/package-url/purl-spec). Pure.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from wsrunner.images import contents

STATUS_PATH = "/var/lib/dpkg/status"
RELEASE_PATH = "/usr/lib/os-release"


def bill(image: str, image_id: str, status: str, release: str) -> bytes:
    """Return the document.

    Args:
        image: The image's name with tag.
        image_id: Its id, ``sha256:…``.
        status: The text of its `STATUS_PATH`.
        release: The text of its `RELEASE_PATH`; may be empty.
    """
    system = contents.os_release(release)
    components = [_component(fields, system) for fields in contents.stanzas(status)]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": image, "version": image_id}},
        "components": sorted(components, key=lambda component: component["bom-ref"]),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def _component(fields: dict[str, str], system: dict[str, str]) -> dict[str, Any]:
    name, version = fields["Package"], fields["Version"]
    vendor = system.get("ID", "debian")
    qualifiers = f"arch={quote(fields['Architecture'])}"
    if number := system.get("VERSION_ID"):
        qualifiers += f"&distro={quote(f'{vendor}-{number}')}"
    purl = f"pkg:deb/{quote(vendor)}/{quote(name)}@{quote(version, safe=':')}?{qualifiers}"
    return {
        "bom-ref": purl,
        "type": "library",
        "name": name,
        "version": version,
        "purl": purl,
        **({"supplier": {"name": by}} if (by := fields.get("Maintainer")) else {}),
    }
