"""What a Java source says about names: of the file that it must be in, and of the class to start.

Pure: no I/O. Reads the outline alone (top-level types, and what stands directly in them), after
comments and literals; what javac would refuse gets some name, and javac says why.
"""

from __future__ import annotations

import re
from typing import NamedTuple

NAME_MAX = 100
"""A longer type name is left to javac: a file's name has at most 255 bytes."""
SOURCE_MAX = 64 * 1024
"""Characters that are looked at. The event loop waits meanwhile: 0.1 s at the very worst."""

# In this order, for a quote in a comment begins no literal, nor `//` in a literal a comment. Each
# alternative ends at the end of the text where its end is missing, so the scan never goes back.
_NOT_CODE = re.compile(
    r"//[^\n]*"
    r"|/\*.*?(?:\*/|\Z)"
    r'|"""(?:[^\\"]|\\.|"(?!""))*+(?:"""|\Z)?'
    r'|"(?:[^"\\\n]|\\.)*+"?'
    r"|'(?:[^'\\\n]|\\.)*+'?",
    re.DOTALL,
)
_BRACE = re.compile(r"[{}]")
_PACKAGE = re.compile(r"(?:^|[;\s])package\s+([\w$]+(?:\s*\.\s*[\w$]+)*)\s*;")
_TYPE = re.compile(r"(?<![\w$.])(?:class|interface|enum|record)\s+([\w$]+)")
_PUBLIC = re.compile(r"(?<![\w$.])public(?![\w$])")
# `static` may be missing from Java 21 on.
_MAIN = re.compile(r"(?<![\w$.])void\s+main\s*\(")


class _Type(NamedTuple):
    name: str
    public: bool
    main: bool


def file_name(source: str, default: str) -> str:
    """Return the file's name: a public type must be in the file of its name.

    Args:
        source: The file's text.
        default: The name where the source has no public type.
    """
    _, types = _outline(source)
    public = next((found.name for found in types if found.public), "")
    return f"{public}.java" if 0 < len(public) <= NAME_MAX else default


def main_class(source: str, stem: str) -> str:
    """Return the class to start, with its package: of those with a `main`, the public one first.

    Args:
        source: The main file's text.
        stem: The file's name without extension: the class of a source that names none.
    """
    package, types = _outline(source)
    best = max(types, key=lambda it: (it.main, it.public, it.name == stem), default=None)
    name = best.name if best else stem
    return f"{package}.{name}" if package else name


def _outline(source: str) -> tuple[str, list[_Type]]:
    """Return the package, empty if there is none, and the top-level types in their order."""
    code = _NOT_CODE.sub(" ", source[:SOURCE_MAX])
    heads: list[str] = []  # what stands before each top-level body
    bodies: list[list[str]] = []  # what stands in it, without the bodies in it
    depth = begin = 0
    for brace in _BRACE.finditer(code):
        text = code[begin : brace.start()]
        begin = brace.end()
        if depth == 0 and brace[0] == "{":
            heads.append(text)
            bodies.append([])
        elif depth == 1:
            bodies[-1].append(text)
        depth = max(0, depth + (1 if brace[0] == "{" else -1))
    package = _PACKAGE.search(heads[0]) if heads else None
    types = []
    for head, body in zip(heads, bodies, strict=True):
        # An import or a package may stand before it.
        declaration = head.rpartition(";")[2]
        if kind := _TYPE.search(declaration):
            public = bool(_PUBLIC.search(declaration))
            main = any(_MAIN.search(text) for text in body)
            types.append(_Type(kind[1], public, main))
    return re.sub(r"\s", "", package[1]) if package else "", types
