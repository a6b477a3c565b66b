"""Programs that come up in a tool's place before its source is there, and then are that tool.

Owns their texts and how each is started, and how Python imports modules ahead. A starter loads
the tool, has it do its work once so that it is warm, and opens the FIFO in the main file's place;
at its end all files are there, and it does what the tool's own command does, with the same words.
For tools alone, as a program could tell.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Literal

Name = Literal["javac", "tsc"]
_WRITE = 'printf %s "$0" >/tmp/Javac.java; exec java "$@"'
_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "/tmp/Javac.java")  # noqa: S108 - in a container of its own
"""The source, which `java` compiles itself: that loads the compiler. The quick compiler to machine
code has it up after 1.3 s of CPU time, not 2.3 s, and it then takes no longer."""


def command(name: Name, file: str, line: str) -> str:
    """Return the shell line that starts a starter.

    Args:
        name: Which.
        file: The FIFO, by the main file's name.
        line: The tool's own command, of words.
    """
    if name == "tsc":
        words = ["node", "-e", _text("tsc.js")]
    else:
        words = ["sh", "-c", _WRITE, _text("Javac.java"), *_JAVA]
    return f"{shlex.join([*words, file])} {line}"


PRELOAD_MB = 30
"""What a module that is imported ahead is taken to need; numpy needs 25 MB."""
PRELOAD_CPU_S = 2
NOT_WITH_PRELOADED = ("*/*", "*.py*", "*.so")
"""Further files that may be modules: what was imported ahead may have met the ones they replace."""
_IMPORTING = (
    'mkdir /tmp/ahead; printf %s "$0" >/tmp/ahead/sitecustomize.py; '
    'exec env -u _ PYTHONPATH=/tmp/ahead "$@"'  # where sh is bash, it sets _ for what it starts
)
# Python imports a sitecustomize before it opens its script (docs.python.org, site).
_SITECUSTOMIZE = """\
import os, sys
del os.environ["PYTHONPATH"]
sys.path.remove("/tmp/ahead")
sys.path_importer_cache.pop("/tmp/ahead", None)
for path in (__cached__, __file__):
    if os.path.exists(path):
        os.remove(path)
        os.rmdir(os.path.dirname(path))
own = sys.modules.pop("sitecustomize")
try:
    import sitecustomize
except ImportError:
    sys.modules["sitecustomize"] = own
for name in MODULES:
    try:
        __import__(name)
    except ImportError:
        pass
"""


def importing(modules: Sequence[str], line: str) -> str:
    """Return the shell line that starts Python's command with modules imported.

    Args:
        modules: Their dotted names; one that is not there is left out.
        line: The command, of words.
    """
    text = f"MODULES = {list(modules)!r}\n{_SITECUSTOMIZE}"
    return f"{shlex.join(['sh', '-c', _IMPORTING, text])} {line}"


@cache
def _text(file: str) -> str:
    return resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
