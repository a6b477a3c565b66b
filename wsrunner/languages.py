"""The catalogue of languages: names, images, and the command lines that build and run a program.

Owns ``languages.toml`` and the form of an operator's own file. Imports only `errors`, `java` and
`starters`; knows nothing of engines: which images are present is `images`' business.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Container, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from wsrunner import java, starters
from wsrunner.errors import SetupError, UnknownLanguageError

Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9+#._-]{0,63}$",
        description="Lower case, 1 to 64 characters of a-z 0-9 + # . _ -",
    ),
]
Line = Annotated[str, Meta(min_length=1, pattern=r"^[^\x00\n]+$")]
Variable = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Image = Annotated[str, Meta(pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]*$", max_length=255)]

_NAME_MAX = 64
_PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z_]+)\}")
_ALLOWED = {
    "prepare": {"file", "stem"},
    "build": {"file", "stem", "sources", "beside", "extras", "extra"},
    "run": {"file", "stem", "class"},
    "run_live": {"file", "stem", "class", "run"},
}


class Commands(NamedTuple):
    """The shell lines of one run, each for ``sh -c`` in the work directory.

    Attributes:
        build: To run first, in this order, until one fails; empty where nothing is built.
        run: A simple command: ``exec`` may stand before it and quoted arguments after it.
    """

    build: tuple[str, ...]
    run: str


class Archive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A package of another registry than Debian's, to be unpacked into ``/opt/<name>``.

    Attributes:
        registry: ``pypi``, for its wheel, or ``npm``.
        name: The package's name there.
        version: The one version.
        sha256: Of its file, in hex; several where each kind of machine has a file of its own.
    """

    registry: Literal["pypi", "npm"]
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    version: Annotated[str, Meta(pattern=r"^[0-9][A-Za-z0-9.+-]*$")]
    sha256: Annotated[
        tuple[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")], ...], Meta(min_length=1)
    ]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a local image is made of.

    Attributes:
        packages: Debian packages, beside the essential ones.
        archives: What Debian has not, unpacked after the packages are there.
        commands: Shell lines run as root inside the image's root directory afterwards.
        size_mb: The image's size as measured, in MB; large ones are built first.
    """

    packages: tuple[str, ...]
    archives: tuple[Archive, ...] = ()
    commands: tuple[str, ...] = ()
    size_mb: int = 300


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a language's first command can come up before its main file is there.

    Attributes:
        way: ``fifo``: it opens the main file, reads it from beginning to end, and needs no seek.
            Else the name of a starter, which comes up in its place.
        memory_mb: What it keeps while it waits, in MB.
        cpu_s: CPU seconds that it may take to come up, where that is more than a moment.
        unless: A regular expression; a main file in which it is found can't be served so.
        not_with: Patterns of further files that it looks for before it opens the main file.
    """

    way: Literal["fifo"] | starters.Name
    memory_mb: Annotated[int, Meta(ge=1)]
    cpu_s: Annotated[int, Meta(ge=0)] = 0
    unless: str = ""
    not_with: tuple[str, ...] = ()

    def serves(self, files: Mapping[str, bytes]) -> bool:
        """Whether a program of these files, the main file first, can be served."""
        main, *others = files
        if any(fnmatchcase(name, pattern) for name in others for pattern in self.not_with):
            return False
        return not (self.unless and re.search(self.unless.encode(), files[main]))


class Language(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One language; `build`, `run` and `run_live` are templates, see ``languages.toml``.

    Attributes:
        id: What clients and URLs say.
        name: What people read.
        image: The preferred image, with its tag.
        file: The main file's name where the client sends only code.
        naming: ``java`` where the code itself may ask for another name, see `main_file`.
        run: The run command, a simple command.
        aliases: Further names, in any case.
        prepare: Shell lines before the build.
        build: Shell lines that build the program.
        extension: Extension, without the dot, of the further files that join the build.
        order: ``main-first``, or ``reversed`` for compilers that want the used before the user.
        run_live: The run command made to send its lines at once.
        live: What of its output shows at once: ``prompts`` for lines, and unfinished ones before
            the program reads; ``lines`` for lines alone; ``flushed`` for what it flushes itself.
        env: Environment variables for build and run.
        version: Shell line that prints the toolchain's version.
        ahead: How its first command can be started ahead, None if it can't.
        local_image: The image `wsrunner images build` makes for it; empty if there is no recipe.
    """

    id: Name
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    image: Image
    file: Annotated[str, Meta(pattern=r"^[^/\x00-\x1f-][^/\x00-\x1f]*$")]
    run: Line
    aliases: tuple[Name, ...] = ()
    prepare: tuple[Line, ...] = ()
    build: tuple[Line, ...] = ()
    extension: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]*$")] = ""
    naming: Literal["", "java"] = ""
    order: Literal["main-first", "reversed"] = "main-first"
    run_live: Line = "{run}"
    live: Literal["prompts", "lines", "flushed"] = "prompts"
    env: dict[Variable, str] = {}
    version: str = ""
    ahead: Start | None = None
    local_image: str = ""

    @property
    def images(self) -> tuple[str, ...]:
        """The images that can run it, the preferred one first."""
        return (self.image, self.local_image) if self.local_image else (self.image,)

    def choose(self, present: Container[str]) -> str | None:
        """Return the preferred image among those present, None if there is none."""
        return next((image for image in self.images if image in present), None)

    def facts(self, present: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what ``GET /v1/languages`` tells of it.

        Args:
            present: The images on the engine by name with tag; None if that is unknown.
        """
        commands = msgspec.structs.replace(self, run_live="{run}").commands()
        image = self.choose(present or ())
        return {
            "id": self.id,
            "name": self.name,
            "aliases": self.aliases,
            "file": self.file,
            "build": commands.build,
            "run": commands.run,
            "live": self.live,
            "image": image or self.image,
            "present": None if present is None else image is not None,
        }

    def main_file(self, code: bytes) -> str:
        """Return the main file's name for a client that sends only code."""
        if self.naming == "java":
            return java.file_name(code.decode(errors="replace"), self.file)
        return self.file

    def commands(self, files: Sequence[str] = (), code: bytes = b"") -> Commands:
        """Return the command lines for a program of these files.

        Args:
            files: Names relative to the work directory, the main file first; the language's own
                main file if empty.
            code: The main file's content, which may name the class to start.
        """
        names = [_argument(name) for name in (files or (self.file,))]
        main, extras = names[0], [n for n in names[1:] if _has_extension(n, self.extension)]
        sources = [main, *extras]
        if self.order == "reversed":
            sources.reverse()
        stem = _stem(main)
        words = {
            "file": shlex.quote(main),
            "stem": shlex.quote(stem),
            "sources": shlex.join(sources),
            "beside": shlex.join([n for n in sources if _folder(n) == _folder(main)]),
            "extras": shlex.join(extras),
        }
        if self.naming == "java":
            source = code.decode(errors="replace")
            words["class"] = shlex.quote(java.main_class(source, stem.rpartition("/")[2]))
        words["run"] = _fill(self.run, words)
        build = [_fill(line, words) for line in self.prepare]
        for line in self.build:
            if "{extra}" in line:
                build += [_fill(line, words | {"extra": shlex.quote(extra)}) for extra in extras]
            elif extras or "{extras}" not in line:
                build.append(_fill(line, words))
        return Commands(tuple(build), _fill(self.run_live, words))


class Catalogue:
    """All languages by id and alias, and the recipes of local images.

    Args:
        languages: By id, in the order in which they are listed.
        recipes: By the base name of the image they stand in for.

    Raises:
        SetupError: Two languages claim one name.
    """

    def __init__(self, languages: Mapping[str, Language], recipes: Mapping[str, Recipe]) -> None:
        self.languages = languages
        self.recipes = recipes
        self._ids: dict[str, str] = {}
        for language in languages.values():
            for name in (language.id, *language.aliases):
                owner = self._ids.setdefault(name, language.id)
                if owner != language.id:
                    raise SetupError(f"language {language.id}: {name!r} already names {owner}")

    def __iter__(self) -> Iterator[Language]:
        return iter(self.languages.values())

    def __len__(self) -> int:
        return len(self.languages)

    def find(self, name: str) -> Language:
        """Return the language with this id or alias, in any case.

        Raises:
            UnknownLanguageError: There is none; the message names the closest.
        """
        key = self._ids.get(name) or self._ids.get(name.strip().lower())
        if key is None:
            shown = name if len(name) <= _NAME_MAX else name[: _NAME_MAX - 3] + "..."
            close = get_close_matches(shown.strip().lower(), self._ids, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UnknownLanguageError(f"no language {shown!r}{hint}", path="$.language")
        return self.languages[key]

    def recipe(self, language: Language) -> Recipe | None:
        """Return the recipe of the language's local image, None if it has none."""
        if not language.local_image:
            return None
        return self.recipes[image_base(language.local_image)]


def image_base(image: str) -> str:
    """Return ``clang`` for ``glot/clang:latest``."""
    return image.rpartition("/")[2].partition("@")[0].partition(":")[0]


def load(path: str | Path | None = None) -> Catalogue:
    """Read the built-in catalogue and, over it, an operator's file.

    Args:
        path: A TOML file with tables ``[language.<id>]``. For an id of the catalogue the given keys
            replace the built-in ones, and with ``image`` that image alone is used. A new id needs
            ``image``, ``file`` and ``run``. None or the empty string for no file.

    Raises:
        SetupError: The file can't be read or is wrong; names the file, the language and the key.
    """
    tables, recipes = _builtin()
    if not path:
        return Catalogue({key: _language(table, "") for key, table in tables.items()}, recipes)
    merged = dict(tables)
    given = _read(Path(path))
    for key, table in given.items():
        derived = sorted({"id", "local_image"} & set(table))
        if derived:
            raise SetupError(f"{path}: language {key}: unknown key {derived[0]!r}")
        base = dict(merged.get(key, {"id": key, "name": key}))
        if "image" in table:
            base.pop("local_image", None)
            # Nobody has tried it there.
            base.pop("ahead", None)
        merged[key] = base | table
    languages = {
        key: _language(table, f"{path}: language {key}: " if key in given else "")
        for key, table in merged.items()
    }
    try:
        return Catalogue(languages, recipes)
    except SetupError as exc:
        raise SetupError(f"{path}: {exc}") from exc


@cache
def _builtin() -> tuple[dict[str, dict[str, Any]], dict[str, Recipe]]:
    text = resources.files("wsrunner").joinpath("languages.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    recipes = msgspec.convert(data["recipe"], dict[str, Recipe])
    tables = {}
    for key, table in data["language"].items():
        base = image_base(table["image"])
        local = f"wsrunner/{base}:debian" if base in recipes else ""
        tables[key] = {"id": key, **table, "local_image": local}
    return tables, recipes


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return the tables of an operator's file by language id."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SetupError(f"can't read {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SetupError(f"{path} is not valid TOML: {exc}") from exc
    unknown = sorted(set(data) - {"language"})
    if unknown:
        raise SetupError(
            f"{path}: unknown key {unknown[0]!r}; languages are [language.<id>] tables"
        )
    tables = data.get("language", {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise SetupError(f"{path}: languages are [language.<id>] tables")
    return tables


def _language(table: Mapping[str, Any], where: str) -> Language:
    """Check one merged table; `where` names file and language in the error."""
    if where:
        for key in ("image", "file", "run"):
            if key not in table:
                raise SetupError(f"{where}key {key!r} is missing")
    if "aliases" in table and isinstance(table["aliases"], list):
        lower = [a.lower() if isinstance(a, str) else a for a in table["aliases"]]
        table = {**table, "aliases": lower}
    try:
        language = msgspec.convert(table, Language)
    except msgspec.ValidationError as exc:
        reason, _, place = str(exc).partition(" - at ")
        shown = place.strip("`$.")
        raise SetupError(f"{where}{shown + ': ' if shown else ''}{reason}") from exc
    if language.ahead is not None:
        _check_pattern(language.ahead.unless, f"{where}ahead.unless")
    for key, words in _ALLOWED.items():
        allowed = words if language.naming else words - {"class"}
        value = getattr(language, key)
        for line in (value,) if isinstance(value, str) else value:
            wrong = sorted(set(_PLACEHOLDER.findall(line)) - allowed)
            if wrong:
                known = ", ".join(f"{{{word}}}" for word in sorted(allowed))
                raise SetupError(f"{where}{key}: {{{wrong[0]}}} is none of {known}")
    return language


def _check_pattern(pattern: str, where: str) -> None:
    try:
        re.compile(pattern.encode())
    except re.error as exc:
        raise SetupError(f"{where}: {pattern!r} is no regular expression: {exc}") from exc


def _fill(line: str, words: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: words[match[1]], line)


def _argument(name: str) -> str:
    """Keep a file whose name begins with a dash from being taken for an option."""
    return f"./{name}" if name.startswith("-") else name


def _stem(name: str) -> str:
    head, slash, tail = name.rpartition("/")
    stem = tail.rpartition(".")[0] or tail
    return head + slash + stem


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _has_extension(name: str, extension: str) -> bool:
    return bool(extension) and name.endswith(f".{extension}")
