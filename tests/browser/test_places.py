"""Places that the output names are links into the program, and marks beside its lines."""

import json

import pytest
from playwright.async_api import expect

from tests.browser.playground import opened

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")

# As the compilers and interpreters print them: file, output, then line and column of each place.
MESSAGES = [
    ("main.py", '  File "/home/glot/main.py", line 4, in <module>', [(4, None)]),
    ("main.c", "main.c:3:8: error: expected ';' at end of declaration", [(3, 8)]),
    ("lib/util.c", "lib/util.c:12:1: warning: unused", [(12, 1)]),
    ("main.js", "/home/glot/main.js:2", [(2, None)]),
    ("main.js", "    at f (/home/glot/main.js:2:9)", [(2, 9)]),
    ("main.mjs", "    at file:///home/glot/main.mjs:2:9", [(2, 9)]),
    ("main.java", "\tat Hello.main(Hello.java:3)", [(3, None)]),
    ("main.go", "./main.go:3:3: x declared but not used", [(3, 3)]),
    ("main.go", "\t/home/glot/main.go:4 +0x2", [(4, None)]),
    ("main.rs", "  --> main.rs:3:5", [(3, 5)]),
    ("main.rb", "main.rb:2:in `f': x (RuntimeError)", [(2, None)]),
    ("main.php", "PHP Parse error:  unexpected in /home/glot/main.php on line 3", [(3, None)]),
    ("main.php", "#0 /home/glot/main.php(5): foo()", [(5, None)]),
    ("main.pl", "oops at main.pl line 3.", [(3, None)]),
    ("main.lua", "lua: main.lua:2: x", [(2, None)]),
    ("main.sh", "main.sh: line 3: nosuch: command not found", [(3, None)]),
    ("main.ts", "main.ts(1,7): error TS2322: Type", [(1, 7)]),
    ("main.pas", "main.pas(3,5) Error: Identifier not found", [(3, 5)]),
    ("main.nim", "/home/glot/main.nim(3, 5) Error: undeclared", [(3, 5)]),
    ("main.ml", 'File "main.ml", line 3, characters 5-10:', [(3, None)]),
    ("main.hs", "main.hs:3:5: error: Variable not in scope", [(3, 5)]),
    ("main.groovy", "main.groovy: 3: unexpected token", [(3, None)]),
    ("main.dats", "/home/glot/main.dats: 20(line=3, offs=7) -- 24: error", [(3, 7)]),
    ("main.kt", "Exception at MainKt.main(main.kt:3) from main.kt:7", [(3, None), (7, None)]),
    # None of these is a place of the program.
    ("main.py", '  File "/usr/lib/python3.11/ast.py", line 4, in parse', []),
    ("main.py", "xmain.py:3 other/main.py:3 main.py: 3 lines", []),
    ("main.py", "bottles of main.py on the wall", []),
]


async def test_places_are_found_as_compilers_name_them(open_page, site):
    page = await open_page(site)
    found = await page.evaluate(
        """async (messages) => {
          const { placeFinder } = await import("/static/page/places.js");
          const content = "public class Hello { }";
          return messages.map(([name, text]) =>
            placeFinder([{ name, content }])(text).map(({ line, column }) => [line, column]));
        }""",
        MESSAGES,
    )
    assert found == json.loads(json.dumps([places for _, _, places in MESSAGES]))


async def test_an_error_is_marked_though_a_warning_came_before_it(open_page, site):
    page = await open_page(site)
    lines = [
        "main.c:3:18: warning: format",
        "main.c:3:20: error: expected ';'",
        "main.c:3:1: note: x",
    ]
    marks = await page.evaluate(
        """async (lines) => {
          const { marksOf, placeFinder } = await import("/static/page/places.js");
          const find = placeFinder([{ name: "main.c", content: "" }]);
          return marksOf(lines.map((line) => ({ line, place: find(line)[0] })), lines);
        }""",
        lines,
    )
    assert [(m["severity"], m["message"]) for m in marks] == [("error", "error: expected ';'")]


async def test_a_traceback_leads_into_the_files_and_marks_their_lines(open_page, site, bundle):
    play = await opened(open_page, site)
    await play.page.get_by_label("Add a file").click()
    await play.page.get_by_label("Name, folders with /").fill("util.py")
    await play.page.keyboard.press("Enter")
    await play.write("x = 0\ndef f():\n    return 1 / x\n")
    await play.page.get_by_role("tab", name="main.py").click()
    await play.run("import util\n\n\nutil.f()\n")
    await play.ended("exit code 1")
    marks = play.page.locator(".cm-lint-marker-error")
    await expect(marks).to_have_count(1)
    await marks.hover()
    await expect(play.page.locator(".cm-tooltip")).to_contain_text("ZeroDivisionError")
    link = play.log.get_by_role("link", name='util.py", line 3')
    await link.click()
    await expect(play.page.get_by_role("tab", name="util.py")).to_have_attribute(
        "aria-selected", "true"
    )
    await expect(play.code).to_be_focused()
    await expect(play.page.locator(".cm-lineNumbers .cm-activeLineGutter")).to_have_text("3")
    await expect(marks).to_have_count(1)
    # By keyboard too; and the next run begins without marks.
    await play.log.get_by_role("link", name='main.py", line 4').press("Enter")
    await expect(play.page.locator(".cm-lineNumbers .cm-activeLineGutter")).to_have_text("4")
    await play.run("print('fine')\n")
    await play.ended("exit code 0")
    await expect(marks).to_have_count(0)


async def test_a_compiler_names_the_column(open_page, site, need, bundle):
    need("c")
    play = await opened(open_page, site)
    await play.choose("C")
    await play.page.keyboard.press("Escape")
    await play.run("int main(void) {\n  int x\n  return 0;\n}\n")
    await play.ended("The build failed")
    await play.log.get_by_role("link", name="main.c:2:8").click()
    await play.page.keyboard.type(";")
    await expect(play.code).to_contain_text("int x;")


async def test_addresses_are_links_and_nothing_else_is(open_page, site):
    play = await opened(open_page, site)
    await play.run(
        "print('See (https://example.org/a?b=c). Not javascript:alert(1) or file:///etc/passwd')\n"
    )
    await play.ended("exit code 0")
    link = play.log.get_by_role("link")
    await expect(link).to_have_count(1)
    await expect(link).to_have_attribute("href", "https://example.org/a?b=c")
    await expect(link).to_have_attribute("rel", "noopener noreferrer")
    assert "See (https://example.org/a?b=c). Not" in await play.log.inner_text()


async def test_a_terminal_has_links_too(open_page, site, bundle):
    play = await opened(open_page, site)
    await play.page.get_by_role("radio", name="Terminal").check()
    await play.run("x = 0\nprint(1 / x)\n")
    await play.ended("exit code 1")
    row = play.page.locator(".xterm-rows > div").filter(has_text='main.py", line 2')
    box = await row.bounding_box()
    place = (box["x"] + 120, box["y"] + 8)
    await play.page.mouse.move(*place)
    await expect(play.page.locator(".xterm-cursor-pointer")).to_be_visible()
    await play.page.mouse.click(*place)
    await expect(play.code).to_be_focused()
    await expect(play.page.locator(".cm-lineNumbers .cm-activeLineGutter")).to_have_text("2")
