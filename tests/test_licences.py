"""All that wsrunner is made of may be passed on with it."""

from tests.licences import of_python, of_the_browser

FREE = ("MIT", "BSD", "Apache", "PSF", "Python Software Foundation", "MPL-2.0", "ISC")
PROGRAMS = {"websocat"}
"""Started by people and tests as programs of their own; no part of the package."""


def test_every_package_has_a_licence_that_lets_it_be_passed_on():
    licences = of_python() | of_the_browser()
    assert {"aiohttp", "@codemirror/view"} <= set(licences)
    others = {name: told for name, told in licences.items() if not told.startswith(FREE)}
    assert set(others) <= PROGRAMS, others
