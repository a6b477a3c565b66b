"""``docs/languages.md``, made from the catalogue and from what ``make languages`` found."""

import json
from pathlib import Path

from tests.languages.checks import CHECKS

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[2] / "docs" / "languages.md"
JVM = {"crash": ("SIGABRT", "the Java VM catches it")}
DIFFERS = {
    "clisp": {"crash": ("exit 1", "SBCL makes an error of it")},
    "clojure": JVM,
    "cobol": {"crash": ("exit 11", "libcob catches it")},
    "csharp": {"crash": ("SIGABRT", "Mono catches it")},
    "go": {"crash": ("exit 2", "Go catches it and prints a trace")},
    "groovy": JVM,
    "java": JVM,
    "kotlin": JVM,
    "nix": {"hello": ("prints '\"hello\"'", "a value shows as Nix writes it")},
    "scala": {"crash": ("exit 134", "the Java VM catches it, its script tells the code")},
    "zig": {"crash": ("SIGABRT", "Zig catches it and prints a trace")},
    "ruby": {"crash": ("SIGABRT", "Ruby catches it")},
}
"""What a check of a language finds in place of ``yes``, exactly, and why."""

NOT_TRIED = "not tried"
UNBUILT = {
    "dart": "its SDK is in none of Debian, PyPI and npm",
    "elm": "its compiler fetches its core packages from a server of its own",
    "fsharp": "Debian has no F# compiler any more",
    "hare": "not in this Debian release",
    "idris": "not in this Debian release",
    "julia": "not in this Debian release; PyPI has only what fetches it from elsewhere",
    "mercury": "not in this Debian release",
    "sac": "only from its authors",
    "swift": "its toolchain is in none of Debian, PyPI and npm",
}
"""Why a language has no local image."""

HEAD = """\
# Languages

Made by `make languages`, which builds the image of every language that has a recipe and runs the programs of
`tests/programs` in it, over the protocol; `make languages LANGUAGES="ruby nim"` tries these alone and keeps the other
rows. A server tells the same facts of its own catalogue at `GET /v1/languages`.

- **live**: what shows at once though stdout is a pipe. `prompts`: lines, and an unfinished line before the program
  reads. `lines`: lines alone; a prompt shows where the program flushes it. `flushed`: what the program flushes itself.
- **waiting**: that the program wants input is [told](protocol.md#programs-that-want-input), on pipes and on a terminal.
- **1 MB**: reads a megabyte of stdin. **args, env**: arguments and variables are the program's, as they were sent.
- **exit 7**, **SIGSEGV**: exit code and signal of the outcome are the program's. **files**: a second file takes part.

`-` means not tried.

"""
TAIL = """
## Worth knowing

- A run has no display: Python's image is without tkinter, for no window could open.
- C++ is compiled as C++20.
- Erlang writes Latin-1 unless the program says `io:setopts([{encoding, unicode}])` (before OTP 26).
- Go: files in the main file's folder are built together; packages in folders need a `go.mod`.
- Java: sent as `code`, a public type names its file; the class that has `main` is started.
- Kotlin, Scala: the object, class or file that has the one `main` is started, whatever it is called.
- OCaml: `print_endline`, `read_line` and `%!` flush, nothing else does. Rust flushes at line ends; `print!` needs
  `std::io::stdout().flush()`.
- Nix prints the value of the main file's expression; a program has neither input nor arguments, nor an exit code.
- Zig is 0.15: a writer has the buffer that the program gives it, and shows what is flushed.
"""


def results():
    """Return what is kept, by language."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def expected(language, check):
    """Return what the catalogue and `DIFFERS` promise of a check."""
    if check in {"lines", "prompts"}:
        shown = {"prompts": {"lines", "prompts"}, "lines": {"lines"}, "flushed": set()}
        return "yes" if check in shown[language.live] else "no"
    found, _ = DIFFERS.get(language.id, {}).get(check, ("yes", ""))
    return found


def surprises(language, result):
    """Return the checks that came out otherwise than is promised."""
    return [
        check
        for check in CHECKS
        if result["checks"].get(check, NOT_TRIED) not in {expected(language, check), NOT_TRIED}
    ]


def write(catalogue, found):
    """Keep the results and make the page of them."""
    ordered = {one.id: found[one.id] for one in catalogue if one.id in found}
    RESULTS.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(markdown(catalogue, ordered))


def markdown(catalogue, found):
    """Return the page."""
    rows = [
        "| | version | live | waiting | 1 MB | args, env | exit 7 | SIGSEGV | files |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for language in catalogue:
        if result := found.get(language.id):
            checked = [
                _cell(language, result, check)
                for check in ("waiting", "stdin", "arguments", "exit code", "crash", "files")
            ]
            version = result["version"].replace("|", "/")
            cells = [language.name, version, _live(language, result), *checked]
            rows.append(f"| {' | '.join(cells)} |")
    without = [
        f"- {language.name}: {UNBUILT[language.id]}."
        for language in catalogue
        if not language.local_image
    ]
    parts = ["\n".join(rows), TAIL, "## Without a local image\n"]
    parts += [
        "`wsrunner images pull` gets their glot images from a registry.\n",
        "\n".join(without),
    ]
    return HEAD + "\n".join(parts) + "\n"


def _live(language, result):
    """Return what the catalogue says of the output, if the programs that show it were tried."""
    shown = {result["checks"][check] for check in ("lines", "prompts")}
    if NOT_TRIED in shown:
        return "-"
    differing = {"lines", "prompts"} & set(surprises(language, result))
    return f"not {language.live}" if differing else language.live


def _cell(language, result, check):
    found = result["checks"][check]
    if found == NOT_TRIED:
        return "-"
    known, why = DIFFERS.get(language.id, {}).get(check, ("", ""))
    return f"{found}: {why}" if found == known else found
