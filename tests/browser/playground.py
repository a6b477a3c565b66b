"""What a person does on the playground, in their words."""

import json
import re

from playwright.async_api import expect

from tests.conftest import absent
from wsrunner.serving.doors.pages import static_dir


class Playground:
    def __init__(self, page):
        self.page = page
        self.code = page.get_by_role("textbox", name="Code")
        self.log = page.locator("#log")
        self.outcome = page.locator("#outcome")
        self.run_button = page.locator("#run")

    async def ready(self):
        """Wait until the editor and the catalogue are there."""
        await self.page.wait_for_selector(".cm-content, .plain-editor")
        await expect(self.page.locator("#language .mark")).to_have_class(re.compile("ready|absent"))
        return self

    async def write(self, code):
        """Replace what the editor holds, as a paste would."""
        editor = self.page.get_by_role("textbox", name="Code")
        await editor.click()
        await self.page.keyboard.press("Control+a")
        await self.page.keyboard.insert_text(code)

    async def choose(self, language):
        await self.page.click("#language")
        await self.page.get_by_role("combobox", name="Languages").fill(language)
        await self.page.keyboard.press("Enter")
        await expect(self.page.locator("#language-name")).to_have_text(
            re.compile(language, re.IGNORECASE)
        )

    async def open_program(self, name):
        """Open a program of this browser, by its name or by its first line."""
        await self.page.click("#programs")
        listed = self.page.get_by_role("list", name="Programs in this browser")
        await listed.locator(".program-open").filter(has_text=name).first.click()

    async def save_as(self, name):
        await self.page.keyboard.press("Control+s")
        await self.page.get_by_label("Name of the program").fill(name)
        await self.page.keyboard.press("Enter")
        await expect(self.page.locator("#program-shown")).to_have_text(name)

    async def run(self, code=None):
        if code is not None:
            await self.write(code)
        await self.run_button.click()

    async def says(self, text):
        await expect(self.log).to_contain_text(text)

    async def ended(self, text):
        await expect(self.outcome).to_contain_text(text)
        await expect(self.run_button).to_have_text("Run")


async def opened(open_page, serving, **options):
    return await Playground(await open_page(serving, **options)).ready()


def axe_source():
    """Return the source of axe-core, a development dependency of `static/`."""
    path = static_dir() / "node_modules" / "axe-core" / "axe.min.js"
    return path.read_text() if path.exists() else absent("axe-core (make web)")


async def violations(page, axe):
    """Return the serious and critical findings of axe-core."""
    # Over the debugger: the page's own policy lets no script in.
    await page.evaluate(f"{axe}; undefined")
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [v for v in found["violations"] if v["impact"] in {"serious", "critical"}]
    return [
        json.dumps([v["id"], [(n["html"][:160], n["failureSummary"]) for n in v["nodes"]][:4]])
        for v in serious
    ]
