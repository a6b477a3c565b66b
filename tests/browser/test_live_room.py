"""Two and three people in one live room of the playground, side by side."""

import asyncio
import re
from subprocess import PIPE

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.conftest import shoot
from tests.browser.playground import Playground
from wsrunner.serving.doors.pages import static_dir

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("bundle")]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
ECHO = "import sys\nprint('up')\nfor line in sys.stdin: print('got', line, end='')"


class Person(Playground):
    """Somebody with a page."""

    async def share(self, name):
        """Share live; keep the links."""
        await self.page.click("#live")
        await self.page.get_by_label("Your name").fill(name)
        await self.page.keyboard.press("Enter")
        await expect(self.page.locator("#links-dialog")).to_be_visible()
        self.links = {
            role: await self.page.get_by_label(label, exact=True).input_value()
            for role, label in (("work", "To work together"), ("watch", "To watch"))
        }
        await self.page.get_by_role("button", name="Done").click()
        return self

    async def join(self, name):
        await self.page.get_by_label("Your name").fill(name)
        await self.page.keyboard.press("Enter")
        await expect(self.page.locator("#room")).to_be_visible()
        return self

    async def sees(self, *names):
        """Wait until these are the people."""
        await expect(self.page.locator("#people .person-name")).to_have_text(
            [re.compile(f"^{name}( .you.)?$") for name in names]
        )

    async def writes(self, text):
        """Write at the end of the program."""
        await self.code.click()
        await self.page.keyboard.press("Control+End")
        await self.page.keyboard.type(text)

    async def source(self):
        """Return what the editor shows."""
        lines = self.page.locator("#editor .cm-line")
        # Others' carets are among the text, with zero-width signs around.
        texts = await lines.evaluate_all(
            "lines => lines.map((line) => { const copy = line.cloneNode(true);"
            " copy.querySelectorAll('.cm-ySelectionCaret').forEach((caret) => caret.remove());"
            " return copy.textContent; })"
        )
        return "\n".join(texts)

    async def answers(self, text):
        field = self.page.get_by_label("Input for the program")
        await field.fill(text)
        await field.press("Enter")


@pytest_asyncio.fixture(loop_scope="session")
async def person(open_page, site):
    """A function that opens a page for somebody, by a link or without."""

    async def come(link="/", **options):
        page = await open_page(site, link, **options)
        return await Person(page).ready()

    return come


@pytest_asyncio.fixture(loop_scope="session")
async def ada(person):
    ada = await person()
    await ada.write("print('hello')\n")
    await ada.share("Ada")
    yield ada
    await ada.page.evaluate("window.dispatchEvent(new Event('pagehide'))")


async def come_in(person, ada, role, name, **options):
    somebody = await person(ada.links[role], **options)
    return await somebody.join(name)


async def test_two_write_one_program_at_once_and_see_each_others_carets(person, ada):
    bob = await come_in(person, ada, "work", "Bob")
    await expect(bob.code).to_contain_text("print('hello')")
    assert "#room" not in bob.page.url
    await ada.sees("Ada", "Bob")
    await bob.sees("Ada", "Bob")
    await ada.writes("# from ada")
    await bob.writes("\n# from bob")
    await ada.writes(" again")
    for one in (ada, bob):
        await expect(one.code).to_contain_text("# from bob")
        await expect(one.code).to_contain_text("again")
    assert await ada.source() == await bob.source()
    await expect(ada.page.locator(".cm-ySelectionInfo")).to_have_text("Bob")
    await expect(bob.page.locator(".cm-ySelectionInfo")).to_have_text("Ada")
    await shoot(ada.page, "live-room")
    # Undo takes back what one has written oneself.
    await bob.code.click()
    await bob.page.keyboard.press("Control+z")
    await expect(ada.code).not_to_contain_text("# from bob")
    await expect(ada.code).to_contain_text("again")


async def test_a_run_is_everybodys_and_both_type_into_it(person, ada):
    bob = await come_in(person, ada, "work", "Bob")
    eve = await come_in(person, ada, "watch", "Eve")
    await ada.run(ECHO)
    for one in (ada, bob, eve):
        await one.says("up")
    await ada.answers("one")
    await bob.answers("two")
    for one in (ada, bob, eve):
        await one.says("got one")
        await one.says("got two")
    await expect(ada.page.locator("#room-words")).to_have_text("Bob types into the program")
    await expect(eve.page.get_by_label("Input for the program")).to_be_hidden()
    await bob.page.click("#eof")
    for one in (ada, bob, eve):
        await one.ended("Finished")
    # And Bob runs something: the others see that.
    await bob.run("print('of bob')")
    for one in (ada, bob, eve):
        await one.says("of bob")


async def test_who_watches_can_do_nothing_until_the_owner_lets_them(person, ada):
    eve = await come_in(person, ada, "watch", "Eve")
    await expect(eve.page.locator("#room-words")).to_have_text("You are watching.")
    await expect(eve.run_button).to_be_disabled()
    await expect(eve.page.locator("#language")).to_be_disabled()
    await expect(eve.page.locator("#add")).to_be_disabled()
    await eve.code.click()
    await eve.page.keyboard.type("no")
    await ada.writes("# seen")
    await expect(eve.code).to_contain_text("# seen")
    await expect(eve.code).not_to_contain_text("no")
    await ada.run(ECHO)
    await eve.says("up")
    await eve.page.get_by_role("button", name="Raise hand").click()
    await expect(ada.page.locator("#people .hand")).to_be_visible()
    await ada.page.get_by_role("button", name="Let Eve work").click()
    await eve.answers("given")
    for one in (ada, eve):
        await one.says("got given")
    await eve.writes("\n# by eve")
    await expect(ada.code).to_contain_text("# by eve")
    await ada.page.get_by_role("button", name="Let Eve only watch").click()
    await expect(eve.page.get_by_label("Input for the program")).to_be_hidden()
    await ada.page.click("#eof")
    await eve.ended("Finished")


async def test_language_and_files_are_shared_too(person, ada):
    bob = await come_in(person, ada, "work", "Bob")
    await bob.choose("Bash")
    await expect(ada.page.locator("#language-name")).to_have_text("Bash")
    await bob.page.click("#add")
    await bob.page.get_by_label("Name, folders with /").fill("notes.txt")
    await bob.page.keyboard.press("Enter")
    await expect(ada.page.get_by_role("tab", name="notes.txt")).to_be_visible()
    await bob.page.keyboard.type("a note")
    await ada.page.get_by_role("tab", name="notes.txt").click()
    await expect(ada.code).to_contain_text("a note")
    await ada.page.get_by_label("Arguments").fill("x y")
    await expect(bob.page.get_by_label("Arguments")).to_have_value("x y")
    await ada.page.click("#remove")
    await expect(bob.page.get_by_role("tab", name="notes.txt")).to_have_count(0)
    await ada.page.get_by_role("button", name="Undo").click()
    await bob.page.get_by_role("tab", name="notes.txt").click()
    await expect(bob.code).to_contain_text("a note")


async def test_one_follows_another_to_where_they_write(person, ada):
    bob = await come_in(person, ada, "work", "Bob")
    await ada.write("\n".join(f"# line {n}" for n in range(300)))
    await ada.page.keyboard.press("Control+Home")
    await bob.page.get_by_role("button", name="Ada", exact=True).click()
    await ada.page.keyboard.press("Control+End")
    await ada.page.keyboard.type("!")
    await expect(bob.page.get_by_text("# line 299!")).to_be_in_viewport()


async def test_a_reload_comes_back_as_the_same_person_with_program_and_run(person, ada):
    bob = await come_in(person, ada, "work", "Bob")
    await bob.run(ECHO)
    await ada.says("up")
    await bob.page.reload()
    await bob.ready()
    await bob.sees("Ada", "Bob")
    await ada.sees("Ada", "Bob")
    await bob.says("up")
    await expect(bob.code).to_contain_text("import sys")
    await bob.answers("back")
    await ada.says("got back")
    await ada.page.click("#eof")
    await bob.ended("Finished")


async def test_who_leaves_keeps_the_program_and_the_room_ends_for_all(person, ada):
    bob = await come_in(person, ada, "work", "Bob")
    eve = await come_in(person, ada, "watch", "Eve")
    await bob.page.click("#room-leave")
    await expect(bob.page.locator("#room")).to_be_hidden()
    await ada.sees("Ada", "Eve")
    await bob.writes("# alone")
    await expect(bob.code).to_contain_text("print('hello')")
    await ada.page.click("#room-links")
    await ada.page.get_by_role("button", name="End the room for all").click()
    await expect(eve.page.locator("#notices")).to_contain_text("The room has ended")
    await expect(eve.run_button).to_be_enabled()
    await eve.run()
    await eve.says("hello")
    assert "alone" not in await ada.source()


async def test_a_link_to_no_room_says_so(person):
    somebody = await person("/#room=0000000000000000.nokey")
    await somebody.page.get_by_label("Your name").fill("Cid")
    await somebody.page.keyboard.press("Enter")
    await expect(somebody.page.locator("#notices")).to_contain_text("There is no such room")


async def test_it_fits_a_phone(person, ada):
    bob = await come_in(person, ada, "work", "Bob", color_scheme="dark", **PHONE)
    await bob.sees("Ada", "Bob")
    await ada.run(ECHO)
    await bob.says("up")
    width = await bob.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    await shoot(bob.page, "live-room-phone")
    await ada.page.click("#eof")
    await bob.ended("Finished")


async def test_who_has_a_link_needs_no_token(start_server, open_page):
    serving = start_server(token="let-me-in")
    page = await open_page(serving, expected="401")
    await page.get_by_label("Access token", exact=True).fill("let-me-in")
    await page.get_by_role("button", name="Connect").click()
    ada = await Person(page).ready()
    await ada.write("print('for all')\n")
    await ada.share("Ada")
    bob = await Person(await open_page(serving, ada.links["work"])).ready()
    await bob.join("Bob")
    await bob.run()
    for one in (ada, bob):
        await one.says("for all")
    await bob.page.reload()
    await bob.ready()
    await ada.sees("Ada", "Bob")
    assert not await bob.page.locator("#token-dialog").is_visible()


async def test_a_widget_on_another_page_shows_the_room(open_page, site, foreign_site, ada):
    page = await open_page(site, f"http://127.0.0.1:{foreign_site.server_port}/")
    room, key = ada.links["watch"].partition("#room=")[2].split(".")
    await page.evaluate(
        """([room, key, server]) => {
          const widget = document.createElement("wsrunner-code");
          for (const [name, value] of Object.entries({ room, key, server, name: "Class" })) {
            widget.setAttribute(name, value);
          }
          widget.textContent = "The lecture has not begun.";
          document.querySelector("wsrunner-code").replaceWith(widget);
        }""",
        [room, key, f"http://{site.address}"],
    )
    widget = page.locator("wsrunner-code")
    await ada.sees("Ada", "Class")
    await expect(widget.locator(".cm-content")).to_contain_text("print('hello')")
    await ada.writes("# as it is written")
    await expect(widget.locator(".cm-content")).to_contain_text("# as it is written")
    await expect(widget.get_by_role("button", name="Run")).to_be_hidden()
    await ada.run(ECHO)
    log = widget.get_by_role("region", name="Program output")
    await expect(log).to_contain_text("up")
    await ada.answers("one")
    await expect(log).to_contain_text("got one")
    await ada.page.click("#eof")
    await expect(widget.locator(".outcome")).to_contain_text("Finished")
    await shoot(page, "widget-room")
    await ada.page.click("#room-links")
    await ada.page.get_by_role("button", name="End the room for all").click()
    await expect(widget.locator(".state")).to_have_text("The room has ended")


RUBBISH = """
  import * as Y from "yjs";
  const doc = new Y.Doc();
  const file = new Y.Map([["name", "x"], ["text", 3]]);
  doc.getArray("files").insert(0, [7, "text", file, new Y.Map()]);
  for (const [name, value] of [["language", {}], ["args", 3], ["input", "none"], ["merge", "x"]]) {
    doc.getMap("program").set(name, value);
  }
  console.log(Buffer.from(Y.encodeStateAsUpdate(doc)).toString("base64"));
"""


async def test_rubbish_in_the_document_breaks_nobodys_page(person, ada, site, node):
    made = await asyncio.create_subprocess_exec(
        *node, "--input-type=module", stdin=PIPE, stdout=PIPE, cwd=static_dir()
    )
    rubbish = (await made.communicate(RUBBISH.encode()))[0].decode().strip()
    room, key = ada.links["work"].partition("#room=")[2].split(".")
    async with site.talk() as eve:
        await eve.say("join", room=room, key=key, name="Eve")
        await eve.hear_kind("joined")
        await eve.say("update", base64=rubbish)
        await eve.say("update", base64="bm8gdXBkYXRlIGF0IGFsbA==")
        await eve.say("awareness", base64="bm8gYXdhcmVuZXNz")
        await ada.sees("Ada", "Eve")
    await ada.sees("Ada")
    await ada.writes("# goes on")
    bob = await come_in(person, ada, "work", "Bob")
    await expect(bob.code).to_contain_text("# goes on")
    await bob.run()
    await ada.says("hello")
