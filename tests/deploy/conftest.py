"""Images for tests of the deployment."""

import os
import shutil
import subprocess

import pytest

from tests.conftest import absent
from tests.serving import COMMAND, environment


@pytest.fixture(scope="session")
def service_images():
    """The images of compose.yml's services, by variable; built of Debian's packages if missing."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        absent("root on Debian, for local images")
    lines = subprocess.run(
        [COMMAND, "images", "services", "--local", "--with-deps"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()
    return dict(line.split("=") for line in lines)
