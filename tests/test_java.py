"""What a Java source says of its file's name and of the class to start."""

import pytest

from wsrunner import java

MAIN = "public static void main(String[] args) {}"


@pytest.mark.parametrize(
    ("source", "file", "start"),
    [
        (f"class Main {{ {MAIN} }}", "Main.java", "Main"),
        (f"public class Main {{ {MAIN} }}", "Main.java", "Main"),
        (f"public class Hello {{ {MAIN} }}", "Hello.java", "Hello"),
        (f"class Hello {{ {MAIN} }}", "Main.java", "Hello"),
        (f"import java.util.*;\npublic final class A<T> {{ {MAIN} }}", "A.java", "A"),
        (f"package a . b;\npublic class A {{ {MAIN} }}", "A.java", "a.b.A"),
        (f"class Tool {{ void run() {{}} }}\nclass App {{ {MAIN} }}", "Main.java", "App"),
        (f"public class Tool {{}}\nclass App {{ {MAIN} }}", "Tool.java", "App"),
        (f"class A {{ {MAIN} }} public class B {{ {MAIN} }}", "B.java", "B"),
        (f"class A {{ {MAIN} }} class Main {{ {MAIN} }}", "Main.java", "Main"),
        (f"public enum Shape {{ ROUND; {MAIN} }}", "Shape.java", "Shape"),
        (f"public record Point(int x) {{ {MAIN} }}", "Point.java", "Point"),
        (f"public sealed interface Say permits A {{ {MAIN} }}", "Say.java", "Say"),
        ("class A { class B { void main() {} } } class C { void main() {} }", "Main.java", "C"),
        (f"// public class No {{\n/* public class No {{ */ class A {{ {MAIN} }}", "Main.java", "A"),
        (f'class A {{ String s = "}} public class No {{"; {MAIN} }}', "Main.java", "A"),
        (f"class A {{ char c = '\"', d = '{{'; {MAIN} }} class B {{}}", "Main.java", "A"),
        (f'class A {{ String s = """"}} public class No {{\\""" """; {MAIN} }}', "Main.java", "A"),
        (f'@Say({{"}}", "x"}}) @Of(No.class) public class A {{ {MAIN} }}', "A.java", "A"),
        (f"public class Ünï$1 {{ {MAIN} }}", "Ünï$1.java", "Ünï$1"),
        ("class Base extends Other {}", "Main.java", "Base"),
        ("void main() { }", "Main.java", "Main"),
        ("", "Main.java", "Main"),
        ("}}}} public class A {", "A.java", "A"),
    ],
)  # fmt: skip
def test_the_types_name_the_file_and_the_class(source, file, start):
    assert java.file_name(source, "Main.java") == file
    assert java.main_class(source, file.removesuffix(".java")) == start


def test_a_name_too_long_for_a_file_is_left_to_javac():
    assert java.file_name(f"public class {'A' * 300} {{}}", "Main.java") == "Main.java"


def test_only_the_beginning_of_a_huge_source_is_looked_at():
    filler = "{}" * java.SOURCE_MAX
    assert java.file_name(f"public class A {{}} {filler}", "Main.java") == "A.java"
    assert java.file_name(f"{filler} public class A {{}}", "Main.java") == "Main.java"


SAY = 'System.out.println("said");'
PACKED = f"package a.b; class App {{ public static void main(String[] x) {{ {SAY} }} }}"
TOLD = f"class Main {{ public static void main(String[] x) {{ {SAY} }} }}"


@pytest.mark.parametrize(
    "request_",
    [
        {"code": f"public class Main {{ public static void main(String[] x) {{ {SAY} }} }}"},
        {"code": f"public class Greeter {{ public static void main(String[] x) {{ {SAY} }} }}"},
        {"code": PACKED},
        {"files": [{"name": "main.java", "content": TOLD}]},
        {"files": [{"name": "Hello.java", "content": TOLD.replace("Main", "Hello")}]},
        {"files": [{"name": "Main.java", "content": "public " + TOLD.replace("Main", "Hello")}]},
        {"files": [{"name": "src/App.java", "content": PACKED}]},
        {
            "files": [
                {"name": "Main.java", "content": TOLD.replace(SAY, "Tool.say();")},
                {
                    "name": "lib/Tool.java",
                    "content": f"class Tool {{ static void say() {{{SAY}}} }}",
                },
            ]
        },
    ],
    ids=["Main", "Greeter", "package", "main.java", "Hello.java", "public", "folder", "two"],
)
async def test_a_java_program_runs_whatever_its_class_is_called(talk, request_):
    outcome = await talk.run("java", **request_)
    assert (outcome.stdout, outcome.stderr, outcome.code) == ("said\n", "", 0)


async def test_a_name_of_the_clients_own_is_kept(talk):
    files = [{"name": "Other.java", "content": "public " + TOLD}]
    outcome = await talk.run("java", files=files)
    assert outcome.stage == "build"
    assert "should be declared in a file named Main.java" in outcome.stderr
