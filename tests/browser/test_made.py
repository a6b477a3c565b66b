"""Files that a program makes, on the playground: images are seen, everything can be downloaded."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import shoot
from tests.browser.playground import axe_source, opened, violations

# One event loop for all, as they share one browser.
pytestmark = pytest.mark.asyncio(loop_scope="session")

DRAW = """
import struct, zlib
def chunk(kind, data):
    whole = kind + data
    return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))
rows = b"".join(b"\\0" + b"\\x30\\x80\\xc0" * 40 for _ in range(30))
png = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 0))
png += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
open("plot.png", "wb").write(png)
"""
SCRIPTED = """
open("evil.svg", "w").write('''<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10">
<script>window.top.evil = 1; document.title = "evil"</script>
<image href="/favicon.svg" onload="window.top.evil = 1"/><rect width="20" height="10"/></svg>''')
"""


async def test_an_image_shows_under_the_output_and_can_be_downloaded(open_page, site):
    play = await opened(open_page, site)
    await play.run("print('drawn')\n" + DRAW)
    await play.ended("Finished with exit code 0")
    await play.says("drawn")
    image = play.page.get_by_role("img", name="plot.png")
    await expect(image).to_be_visible()
    assert await image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [40, 30]
    async with play.page.expect_download() as started:
        await play.page.get_by_role("button", name="Download plot.png").click()
    download = await started.value
    assert download.suggested_filename == "plot.png"
    assert (await download.path()).read_bytes().startswith(b"\x89PNG")
    await shoot(play.page, "made")
    assert await violations(play.page, axe_source()) == []


async def test_no_script_of_an_svg_runs(open_page, site):
    play = await opened(open_page, site)
    await play.run(SCRIPTED)
    image = play.page.get_by_role("img", name="evil.svg")
    await expect(image).to_have_js_property("naturalWidth", 20)
    assert (await image.get_attribute("src")).startswith("data:image/svg+xml;")
    assert await play.page.evaluate("[window.evil, document.title]") == [
        None,
        await play.page.title(),
    ]
    assert "evil" not in await play.page.title()


async def test_what_is_no_image_is_listed_and_what_does_not_come_is_told(open_page, site):
    play = await opened(open_page, site)
    await play.run(
        "import os\n"
        "open('data.csv', 'w').write('1,2')\n"
        "open('broken.png', 'w').write('no image')\n"
        "os.mkdir('out'); os.symlink('/etc/passwd', 'out/<b>link')\n"
    )
    made = play.page.locator("#made")
    await expect(made.get_by_role("listitem")).to_have_count(3)
    await expect(made).to_contain_text("data.csv3 B")
    await expect(made.get_by_role("button", name="Download broken.png")).to_be_visible()
    await expect(made).to_contain_text("out/<b>link")
    await expect(made).to_contain_text("a link, no regular file")
    assert await play.page.get_by_text("The program printed nothing").count() == 0


async def test_the_next_run_and_clear_take_them_away(open_page, site):
    play = await opened(open_page, site)
    made = play.page.locator("#made")
    await play.run("open('x.txt', 'w').write('1')\n")
    await play.ended("Finished with exit code 0")
    await expect(made).to_be_visible()
    await play.run("print(1)\n")
    await play.says("1")
    await play.ended("Finished with exit code 0")
    await expect(made).to_be_hidden()
    await play.run("open('x.txt', 'w').write('1')\n")
    await expect(made).to_be_visible()
    await play.ended("Finished with exit code 0")
    await play.page.get_by_role("button", name="Clear").click()
    await expect(made).to_be_hidden()


async def test_a_module_that_is_not_there_is_no_riddle(open_page, site):
    play = await opened(open_page, site)
    packages = [{"name": "python3", "version": "3"}, {"name": "python3-numpy", "version": "1"}]
    await play.page.route(
        "**/v1/languages/python", lambda route: route.fulfill(json={"packages": packages})
    )
    await play.run("import pandas\n")
    await play.ended("exit code 1")
    await play.says("pandas is none of your files, and not installed here.")
    await play.says("Beside Python's own modules there are: numpy.")
    assert "python3" not in (await play.log.inner_text()).split("pandas is none")[1]
