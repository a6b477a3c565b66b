"""Programs kept in the browser: several, named, in several tabs, and as files."""

import io
import zipfile

import pytest
from playwright.async_api import expect

from tests.browser.playground import Playground, opened

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def another_tab(play, site):
    page = await play.page.context.new_page()
    await page.goto(f"http://{site.address}/")
    return await Playground(page).ready()


async def saved(play):
    """Wait until what the editor shows is kept."""
    shown = (await play.code.inner_text()).strip()
    await play.page.wait_for_function(
        """(shown) => Object.entries(sessionStorage).some(([key, value]) =>
          key.startsWith("wsrunner.open.")
          && JSON.parse(value).program.files.some(({content}) => content.trim() === shown))""",
        arg=shown,
    )


async def duplicated(play, site):
    """A tab with the same session storage, as the browser's own Duplicate makes it."""
    session = await play.page.evaluate("JSON.stringify({...sessionStorage})")
    page = await play.page.context.new_page()
    await page.goto(f"http://{site.address}/favicon.ico")
    await page.evaluate(
        "(s) => Object.entries(JSON.parse(s)).forEach(([k, v]) => sessionStorage.setItem(k, v))",
        session,
    )
    await page.goto(f"http://{site.address}/")
    return await Playground(page).ready()


async def listed(play):
    await play.page.click("#programs")
    titles = await play.page.locator(".program-title").all_inner_texts()
    await play.page.keyboard.press("Escape")
    return titles


async def drop(play, **files):
    await play.page.evaluate(
        """(files) => {
          const dataTransfer = new DataTransfer();
          for (const [name, content] of files) dataTransfer.items.add(new File([content], name));
          for (const type of ["dragover", "drop"]) {
            const event = new DragEvent(type, {dataTransfer, bubbles: true, cancelable: true});
            document.querySelector("#editor").dispatchEvent(event);
          }
        }""",
        [[name.replace("_", "."), content] for name, content in files.items()],
    )


async def test_each_tab_keeps_its_own_program_over_a_reload(open_page, site):
    one = await opened(open_page, site)
    two = await another_tab(one, site)
    await one.write("print('one')")
    await saved(one)
    await two.write("print('two')")
    await saved(two)
    for play, own in ((one, "one"), (two, "two"), (one, "one")):
        await play.page.reload()
        await play.ready()
        await expect(play.code).to_contain_text(f"print('{own}')")
    assert {"print('one')", "print('two')"} <= set(await listed(one))


async def test_a_duplicated_tab_goes_on_with_a_copy(open_page, site):
    one = await opened(open_page, site)
    await one.write("print('first')")
    await one.save_as("mine")
    two = await duplicated(one, site)
    await expect(two.code).to_contain_text("first")
    await two.write("print('second')")
    await saved(two)
    await one.write("print('third')")
    await expect(one.page.locator("#toasts")).to_contain_text("Another tab has changed “mine”")
    await expect(one.page.locator("#program-shown")).to_have_text("mine (2)")
    assert {"mine", "mine (2)"} <= set(await listed(one))
    await one.open_program("mine")
    fresh = await another_tab(one, site)
    await fresh.page.click("#programs")
    await fresh.page.get_by_role("button", name="mine Python").click()
    await expect(fresh.code).to_contain_text("second")


async def test_a_new_tab_begins_with_the_program_from_last_time(open_page, site):
    one = await opened(open_page, site)
    await one.write("print('yesterday')")
    await saved(one)
    await one.page.close()
    two = Playground(await one.page.context.new_page())
    await two.page.goto(f"http://{site.address}/")
    await two.ready()
    await expect(two.code).to_contain_text("yesterday")


async def test_programs_are_named_opened_copied_and_deleted(open_page, site):
    play = await opened(open_page, site)
    await play.write("print('a')")
    await play.save_as("alpha")
    await play.page.click("#programs")
    await play.page.get_by_role("button", name="New", exact=True).click()
    await expect(play.code).to_contain_text("import time")
    await play.write("print('b')")
    await play.page.keyboard.press("Control+s")
    field = play.page.get_by_label("Name of the program")
    await field.fill("alpha")
    await field.press("Enter")
    await expect(play.page.locator("#program-problem")).to_contain_text("of that name")
    await field.fill("beta")
    await field.press("Enter")
    await play.open_program("alpha")
    await expect(play.code).to_contain_text("print('a')")
    await expect(play.page).to_have_title("alpha · wsrunner")
    await play.page.click("#programs")
    await play.page.get_by_role("button", name="Copy", exact=True).last.click()
    await expect(field).to_have_value("alpha (2)")
    await play.page.get_by_role("button", name="Delete beta").click()
    await expect(play.page.get_by_text("Deleted “beta”")).to_be_visible()
    await play.page.get_by_role("button", name="Undo").click()
    await play.page.get_by_role("button", name="Delete beta").click()
    await play.page.keyboard.press("Escape")
    titles = await listed(play)
    assert {"alpha", "alpha (2)"} <= set(titles)
    assert "beta" not in titles


async def test_a_program_leaves_as_a_file_or_a_zip_and_comes_back(
    open_page, site, bundle, tmp_path
):
    play = await opened(open_page, site)
    await play.write("print('öne')\n")
    await play.page.click("#programs")
    download = play.page.get_by_role("button", name="Download", exact=True)
    async with play.page.expect_download() as coming:
        await download.click()
    alone = await coming.value
    assert alone.suggested_filename == "main.py"
    await play.page.keyboard.press("Escape")

    await drop(play, util_py="x = 1\n")
    await play.save_as("pair")
    await play.page.click("#programs")
    async with play.page.expect_download() as coming:
        await download.click()
    both = await coming.value
    assert both.suggested_filename == "pair.zip"
    kept = tmp_path / "pair.zip"
    await both.save_as(kept)
    with zipfile.ZipFile(kept) as archive:
        assert archive.read("main.py").decode() == "print('öne')\n"
        assert archive.read("util.py") == b"x = 1\n"

    # As archivers make it: in a folder.
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("task/helper.rb", "def help = 1\n")
        archive.writestr("task/main.rb", "require_relative 'helper'\n")
    await play.page.set_input_files(
        "#program-files",
        {"name": "task.zip", "mimeType": "application/zip", "buffer": packed.getvalue()},
    )
    await expect(play.page.locator("#language-name")).to_have_text("Ruby")
    tabs = play.page.get_by_role("tab")
    await expect(tabs).to_have_text(["main.rb", "helper.rb"])
    await play.open_program("pair")
    await expect(tabs).to_have_text(["main.py", "util.py"])


async def test_dropped_files_are_added_and_others_are_told(open_page, site, bundle):
    play = await opened(open_page, site)
    await drop(play, words_txt="from a drop", main_py="print(open('words.txt').read())")
    await expect(play.page.get_by_role("tab")).to_have_text(["main.py", "words.txt"])
    await play.run()
    await play.says("from a drop")
    await drop(play, photo_png="\0\1")
    await expect(play.page.locator("#toasts")).to_contain_text("no text: photo.png")
    await drop(play, main_c="int main(void) { return 0; }")
    await expect(play.page.locator("#language-name")).to_have_text("C")
    await play.page.get_by_role("button", name="Undo").click()
    await expect(play.page.get_by_role("tab")).to_have_text(["main.py", "words.txt"])


async def test_a_full_storage_is_told_once(open_page, site):
    play = await opened(open_page, site)
    await play.page.evaluate(
        """() => {
          Storage.prototype.setItem = () => {
            throw new DOMException("full", "QuotaExceededError");
          };
        }"""
    )
    await play.write("print('kept nowhere')")
    await expect(play.page.get_by_text("can't keep your program")).to_have_count(1)
    await play.write("print('still here')")
    await play.run()
    await play.says("still here")
    await expect(play.page.get_by_text("can't keep your program")).to_have_count(1)
