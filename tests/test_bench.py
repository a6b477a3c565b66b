"""What the benches make of their results."""

import json
import xml.etree.ElementTree as ET

from bench import kit, picture


def test_the_pictures_show_each_language_and_fetch_nothing(tmp_path):
    (tmp_path / "ahead.json").write_bytes((kit.RESULTS / "ahead.json").read_bytes())
    found = json.loads((tmp_path / "ahead.json").read_text())
    files = picture.write(tmp_path)
    assert [file.name for file in files] == ["ahead-first-line.svg", "ahead-exit.svg"]
    for file in files:
        texts = {element.text for element in ET.parse(file).iter() if element.text}
        assert set(picture.shares(found, "exit")) <= texts
        assert "src=" not in file.read_text()
        assert "href=" not in file.read_text()


def test_without_results_there_is_no_picture(tmp_path):
    assert picture.write(tmp_path) == []


def test_a_share_is_of_the_bare_median():
    times = {way: {"first_line": [ms]} for way, ms in [("ahead", 2), ("warm", 9), ("bare", 4)]}
    shares = picture.shares({"c": {"milliseconds": times}, "took_s": 3}, "first_line")
    assert shares == {"c": {"ahead": [0.5], "warm": [2.0], "bare": [1.0]}}
