"""The catalogue: the facts of the glot images, file names in command lines, operators' files."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.docker_fixtures import REQUIRED
from tests.languages import table
from wsrunner import languages, starters
from wsrunner.errors import SetupError, UnknownLanguageError

DATA = Path(__file__).parent / "data"
FACTS = json.loads((DATA / "glot_languages.json").read_text())
MULTI = {
    entry["id"]: entry for entry in json.loads((DATA / "glot_languages_multi.json").read_text())
}


@pytest.fixture(scope="module")
def catalogue():
    return languages.load()


def operator_file(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


DEVIATIONS = {
    # Newer programs than those of 2011.
    "cpp": {"build": ("clang++ -std=c++20 -o a.out {sources}",)},
    # Compiled apart: exit code, signals and arguments are the program's, not the compiler's.
    "crystal": {
        "build": ("crystal build --no-color -o a.out {file} /tmp/live.cr",),
        "run": "./a.out",
    },
    "nim": {
        "build": ("nim --hints:off --verbosity:0 compile -o:a.out {file}",),
        "run": "./a.out",
    },
    # elixirc takes arguments for further files; further files are compiled before.
    "elixir": {"build": ("elixirc {extras}",), "run": "elixir {file}"},
    # What a program needs to link that uses more than the bare core.
    "ats": {"build": ("patscc -DATS_MEMALLOC_LIBC -o a.out {sources} -latslib",)},
    "csharp": {"build": ("mcs -r:System.Numerics -out:a.exe {sources}",)},
    # A second file takes part.
    "go": {"build": ("go build -o a.out {beside}",)},
    # A public class Main must be in Main.java; -d . for sources in folders.
    "java": {"file": "Main.java", "build": ("javac -d . {sources}",)},
    # The class that has main may be called anything.
    "kotlin": {
        "build": (
            (
                "kotlinc -J-XX:TieredStopAtLevel=1 -J-XX:+UseSerialGC "
                "-Dkotlin.colors.enabled=false -include-runtime -d a.jar {sources}"
            ),
        ),
        "run": "java -jar a.jar",
    },
    "scala": {
        "build": ("scalac -d a.jar {sources}",),
        "run": "scala a.jar",
        "version": "scalac -version 2>&1",
    },
    # The elements of lists are shown.
    "nix": {"run": "nix-instantiate --eval --strict {file}"},
    "zig": {"build": ("zig build-exe -femit-bin=a.out {file}",), "run": "./a.out"},
    # Without the compiler's banner, and with a unit that makes lines come live.
    "pascal": {"build": ("fpc -l- -v0 -vew -FU/tmp -Fu/tmp -Falivelines -oa.out {file}",)},
}
"""Templates by language and key, beside the facts. Everything else is as in the images' facts."""


def deviating(fact):
    return DEVIATIONS.get(fact["id"], {})


def test_all_languages_of_the_glot_images_are_there(catalogue):
    assert [language.id for language in catalogue] == [fact["id"] for fact in FACTS]
    assert len(catalogue) == 44


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact["id"])
def test_facts_are_those_of_the_glot_image(catalogue, fact):
    language = catalogue.find(fact["id"])
    facts = language.facts({})
    own = deviating(fact)
    assert (language.name, language.image) == (fact["name"], fact["image"])
    assert language.file == facts["file"] == own.get("file", fact["file"])
    if "build" in own:
        assert language.build == own["build"]
    else:
        assert list(facts["build"])[len(language.prepare) :] == fact["build"]
    if "run" in own:
        assert language.run == own["run"]
    else:
        assert facts["run"] == fact["run"]
    assert language.version == own.get("version", fact["version_command"])


@pytest.mark.parametrize(
    "fact",
    [fact for fact in FACTS if "build" not in deviating(fact)],
    ids=lambda fact: fact["id"],
)
def test_further_files_join_the_build_as_in_glot(catalogue, fact):
    language = catalogue.find(fact["id"])
    extension = MULTI.get(fact["id"], {}).get("ext", "txt")
    build = language.commands([fact["file"], f"one.{extension}", f"sub/two.{extension}"]).build
    expected = MULTI.get(fact["id"], {}).get("with_extra_files_build", fact["build"])
    assert list(build)[len(language.prepare) :] == expected


def test_deviations_name_keys_that_deviate(catalogue):
    facts = {fact["id"]: fact for fact in FACTS}
    for name, own in DEVIATIONS.items():
        assert set(own) <= {"file", "build", "run", "version"}
        for key, value in own.items():
            glots = facts[name]["version_command" if key == "version" else key]
            assert value != glots, f"{name}: {key} does not deviate"


def test_further_files_of_go_are_those_in_the_main_files_folder(catalogue):
    commands = catalogue.find("go").commands(["main.go", "tool.go", "sub/x.go", "go.mod"])
    assert commands.build == ("go build -o a.out main.go tool.go",)


def test_further_files_of_elixir_are_compiled_first_and_only_if_there_are_any(catalogue):
    elixir = catalogue.find("elixir")
    assert elixir.commands(["main.ex"]) == ((), "elixir main.ex")
    assert elixir.commands(["main.ex", "a.ex", "b.ex"]).build == ("elixirc a.ex b.ex",)


def test_only_files_of_the_extension_join_the_build(catalogue):
    commands = catalogue.find("c").commands(["main.c", "list.h", "list.c", "data/x.bin"])
    assert commands.build == ("clang -o a.out -lm main.c list.c",)


def test_clojure_and_elm_unpack_their_bootstrap_first_and_keep_the_clients_files(catalogue):
    for name in ("clojure", "elm"):
        first = catalogue.find(name).commands().build[0]
        assert "tar -xzf /bootstrap.tar.gz" in first
        assert "--skip-old-files" in first
        assert subprocess.run(["sh", "-c", first], check=False).returncode == 0  # absent: nothing


@pytest.mark.parametrize(
    ("language", "files", "run"),
    [
        ("python", ["app.py"], "python app.py"),
        ("typescript", ["src/app.ts"], "node src/app.js"),
        ("bash", ["my script.sh"], "bash 'my script.sh'"),
        ("perl", ["-e.pl"], "perl ./-e.pl"),
    ],
)
def test_the_first_file_is_the_main_file(catalogue, language, files, run):
    assert catalogue.find(language).commands(files).run == run


@pytest.mark.parametrize("name", ["a b.c", "$(touch x).c", "';ls;'.c", "`x`.c", "-o.c", 'q".c'])
def test_file_names_are_words_of_the_shell_whatever_they_hold(catalogue, name):
    (line,) = catalogue.find("c").commands(["main.c", name]).build
    words = shlex.split(line)
    assert words[:-1] == ["clang", "-o", "a.out", "-lm", "main.c"]
    assert words[-1] == (f"./{name}" if name.startswith("-") else name)


def test_the_code_names_the_main_file_and_the_class_of_java(catalogue):
    found = catalogue.find("java")
    code = b"package a; public class Hello { public static void main(String[] a) { } }"
    assert found.main_file(code) == "Hello.java"
    assert catalogue.find("python").main_file(code) == "main.py"
    commands = found.commands(["src/Hello.java", "src/Tool.java", "notes.txt"], code)
    assert commands == (("javac -d . src/Hello.java src/Tool.java",), "java a.Hello")
    assert found.commands(["Hello.java"], b"\xff").run == "java Hello"
    assert found.facts({})["run"] == "java Main"


def test_placeholders_in_a_file_name_stay_as_they_are(catalogue):
    assert catalogue.find("python").commands(["{run}{file}.py"]).run == "python '{run}{file}.py'"


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("py", "python"), ("python3", "python"), ("JavaScript", "javascript"), ("js", "javascript"),
        ("node", "javascript"), ("C++", "cpp"), ("sh", "bash"), ("rb", "ruby"),
        ("ts", "typescript"), ("golang", "go"), ("cs", "csharp"), ("c#", "csharp"), (" Go ", "go"),
    ],
)  # fmt: skip
def test_aliases_are_found_in_any_case(catalogue, name, language):
    assert catalogue.find(name).id == language


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rubby", "no language 'rubby'; did you mean 'ruby'?"),
        ("", "no language ''"),
        ("q" * 1000, f"no language '{'q' * 61}...'"),
    ],
)
def test_an_unknown_language_is_named_with_the_closest(catalogue, name, message):
    with pytest.raises(UnknownLanguageError) as caught:
        catalogue.find(name)
    assert str(caught.value) == message
    assert caught.value.path == "$.language"
    assert caught.value.code == "unknown_language"


def test_no_entry_sets_variables_that_images_set_themselves(catalogue):
    for language in catalogue:
        assert not {"PATH", "JAVA_HOME", "NODE_PATH"} & set(language.env), language.id


def test_python_needs_no_further_process_for_live_lines(catalogue):
    python = catalogue.find("python")
    assert python.commands().run == "python main.py"
    assert python.env == {"PYTHONUNBUFFERED": "1"}


def test_c_and_cpp_share_an_image(catalogue):
    assert catalogue.find("c").images == ("glot/clang:latest", "wsrunner/clang:debian")
    assert catalogue.find("cpp").images == catalogue.find("c").images


def test_the_glot_image_is_preferred_to_the_local_one(catalogue):
    python = catalogue.find("python")
    both = {"wsrunner/python:debian": 1, "glot/python:latest": 1}
    assert python.choose(both) == "glot/python:latest"
    assert python.choose({"wsrunner/python:debian"}) == "wsrunner/python:debian"
    assert python.choose({}) is None


def test_required_languages_have_a_recipe(catalogue):
    assert {"python", "javascript", "c", "cpp", "bash"} <= set(REQUIRED)
    for name in REQUIRED:
        assert catalogue.recipe(catalogue.find(name)) is not None


def test_facts_tell_what_is_not_known_of_images(catalogue):
    assert catalogue.find("python").facts(None)["present"] is None
    facts = catalogue.find("python").facts({"wsrunner/python:debian"})
    assert (facts["present"], facts["image"]) == (True, "wsrunner/python:debian")


def test_an_operator_adds_a_language(tmp_path):
    path = operator_file(
        tmp_path,
        """
        [language.brainfuck]
        name = "Brainfuck"
        aliases = ["BF"]
        image = "registry.example/bf:2"
        file = "main.bf"
        run = "bf {file}"
        env = { LEVEL = "1" }
        """,
    )
    catalogue = languages.load(path)
    found = catalogue.find("bf")
    assert (found.id, found.images) == ("brainfuck", ("registry.example/bf:2",))
    assert found.commands().run == "bf main.bf"
    assert len(catalogue) == 45


def test_an_operator_overrides_single_keys(tmp_path):
    path = operator_file(
        tmp_path, '[language.python]\nimage = "me/python:3"\n[language.c]\nenv = { A = "b" }\n'
    )
    catalogue = languages.load(path)
    assert catalogue.find("py").images == ("me/python:3",)
    assert catalogue.find("py").env == {"PYTHONUNBUFFERED": "1"}
    assert catalogue.find("c").images == ("glot/clang:latest", "wsrunner/clang:debian")
    assert catalogue.find("c").env == {"A": "b"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[language.x]\nfile='a'\nrun='b'", ["language x", "'image' is missing"]),
        ("[language.x]\nimage='i'\nfile='a'\nrun='b'\nspeed=1", ["language x", "speed"]),
        ("[language.x]\nimage='i'\nfile='a'\nrun=1", ["language x", "run", "str"]),
        ("[language.x]\nimage='i'\nfile='../a'\nrun='b'", ["language x", "file"]),
        ("[language.x]\nimage='i'\nfile='a'\nrun='b {files}'", ["language x", "run", "{files}"]),
        ("[language.x]\nimage='i'\nfile='a'\nrun='b'\naliases=['py']", ["'py'", "python"]),
        ("[language.Big]\nimage='i'\nfile='a'\nrun='b'", ["language Big", "id"]),
        ("[language.x]\nimage='i'\nfile='a'\nrun='b'\nenv={'A=B'='c'}", ["language x", "env"]),
        ("[language.python]\norder='random'", ["language python", "order"]),
        ("[language.python]\nlocal_image='x'", ["language python", "local_image"]),
        ("[python]\nrun='x'", ["'python'", "[language.<id>]"]),
        ("language = 3", ["[language.<id>]"]),
        ("[language", ["not valid TOML"]),
    ],
)
def test_a_wrong_operators_file_is_named_with_the_place(tmp_path, text, words):
    path = operator_file(tmp_path, text)
    with pytest.raises(SetupError) as caught:
        languages.load(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_a_missing_operators_file_is_named(tmp_path):
    with pytest.raises(SetupError, match=r"can't read .*none.toml: No such file"):
        languages.load(tmp_path / "none.toml")


def test_languages_md_is_made_from_the_catalogue_and_what_was_found(catalogue):
    found = table.results()
    assert table.PAGE.read_text() == table.markdown(catalogue, found), "run `make languages`"


@pytest.mark.parametrize("name", sorted(table.results()))
def test_what_was_found_of_a_language_is_what_the_catalogue_says(catalogue, name):
    assert table.surprises(catalogue.find(name), table.results()[name]) == []


def test_a_language_that_does_otherwise_than_promised_is_noticed(catalogue):
    result = {"checks": dict.fromkeys(table.CHECKS, "yes")}
    assert table.surprises(catalogue.find("rust"), result) == ["prompts"]
    result["checks"] |= {"prompts": "no", "exit code": "exit 1: x"}
    assert table.surprises(catalogue.find("rust"), result) == ["exit code"]


def test_a_difference_that_is_declared_must_be_found_as_declared(catalogue):
    result = {"checks": dict.fromkeys(table.CHECKS, "yes")}
    java = catalogue.find("java")
    assert table.surprises(java, result) == ["crash"]
    result["checks"]["crash"] = "exit 0"
    assert table.surprises(java, result) == ["crash"]
    result["checks"]["crash"] = "SIGABRT"
    assert table.surprises(java, result) == []


def test_the_table_says_what_was_found_and_not_what_was_hoped_for(catalogue):
    def row(name, **found):
        result = {"version": "1", "checks": dict.fromkeys(table.CHECKS, "yes") | found}
        page = table.markdown(catalogue, {name: result})
        return next(line for line in page.splitlines() if line.startswith("| J"))

    assert "| prompts |" in row("java")
    assert "| SIGABRT: the Java VM catches it |" in row("java", crash="SIGABRT")
    assert "| exit 0 |" in row("java", crash="exit 0")
    assert "| - |" in row("java", prompts="not tried")
    assert "| not prompts |" in row("java", lines="no")


def test_every_language_without_a_recipe_says_why(catalogue):
    assert set(table.UNBUILT) == {one.id for one in catalogue if not one.local_image}


# Commands that come up before their source.


def start_of(language):
    return languages.load().find(language).ahead


@pytest.mark.parametrize(
    ("language", "files", "served"),
    [
        ("python", {"main.py": b"1"}, True),
        ("python", {"main.py": b"1", "lib.py": b"", "data/x.txt": b""}, True),
        ("python", {"main.py": b"1", ".local/lib/python3.11/site-packages/x.pth": b""}, False),
        ("javascript", {"main.js": b"1", "lib.js": b""}, True),
        ("javascript", {"main.js": b"1", "package.json": b"{}"}, False),
        ("groovy", {"main.groovy": b"1", "A.groovy": b""}, False),
        ("c", {"main.c": b"", "a.h": b""}, True),
    ],
)
def test_files_that_a_tool_looks_for_at_its_start_must_be_there_first(language, files, served):
    assert start_of(language).serves(files) is served


@pytest.mark.parametrize(
    ("source", "served"),
    [
        ("print(1)", True),
        ("# -*- coding: utf-8 -*-\n", True),
        ("# coding=utf-8\n", True),
        ("# -*- coding: latin-1 -*-\n", False),
        ("#!/usr/bin/python\n# vim: set fileencoding=iso-8859-15 :\n", False),
        ("#!/usr/bin/python\r# coding: cp1252\r", False),
        ("\ufeff# coding: latin-1\n", False),
        ("1\n\n# coding: latin-1\n", True),
    ],
)
def test_python_must_seek_back_for_another_encoding(source, served):
    assert start_of("python").serves({"main.py": source.encode()}) is served


def test_an_image_of_the_operators_own_starts_nothing_ahead_unless_its_entry_says_so(tmp_path):
    file = tmp_path / "languages.toml"
    file.write_text(
        '[language.python]\nimage = "mine:1"\n'
        '[language.php]\nimage = "mine:2"\nahead = { way = "fifo", memory_mb = 9 }\n'
    )
    catalogue = languages.load(file)
    assert catalogue.find("python").ahead is None
    assert catalogue.find("php").ahead.memory_mb == 9
    file.write_text('[language.php]\nahead = { way = "fifo", memory_mb = 9, unless = "(" }\n')
    with pytest.raises(SetupError, match=r"php: ahead\.unless: '\('"):
        languages.load(file)


def test_a_starter_has_its_text_its_fifo_and_the_words_of_its_tool():
    for name, line in {"tsc": "tsc main.ts", "javac": "javac -d . Main.java"}.items():
        words = shlex.split(starters.command(name, "main", line))
        assert words[-len(line.split()) - 1 :] == ["main", *line.split()]
        assert any("becomes" in word or "is what `" in word for word in words)


def test_an_unknown_starter_is_named(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('[language.c]\nahead = { way = "gcc", memory_mb = 1 }\n')
    with pytest.raises(SetupError, match=r"ahead.way: Invalid enum value 'gcc'"):
        languages.load(file)
