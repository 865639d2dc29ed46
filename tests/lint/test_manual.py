"""The manual pages: sound for mandoc, in one form, all installed, and no reference that leads nowhere."""
import pathlib
import re
import shutil
import subprocess
import sys

import house
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support import manual  # noqa: E402

# In this order; what a page of a command may leave out is not among those that it needs.
ORDER = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "GLOBAL OPTIONS", "JSON", "ENVIRONMENT", "FILES", "EXIT STATUS",
         "EXAMPLES", "SEE ALSO"]  # fmt: skip
NEEDED = {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"}


@pytest.mark.parametrize("page", manual.pages(), ids=lambda page: page.name)
def test_mandoc_has_nothing_to_say(page):
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    said = subprocess.run(["mandoc", "-T", "lint", "-W", "style", page], capture_output=True, text=True).stdout
    # Whether a page that is referred to is there is asked below: they are not installed.
    lines = [line for line in said.splitlines() if "referenced manual not found" not in line and "mandoc.db" not in line]
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("page", manual.pages(), ids=lambda page: page.name)
def test_sections_stand_in_the_usual_order(page):
    found = list(manual.sections(page))
    assert found == sorted(found, key=ORDER.index)
    if page.name.startswith("chainctl-") and page.suffix == ".1":
        assert NEEDED <= set(found), NEEDED - set(found)


def test_every_page_is_installed_and_no_other():
    listed = re.findall(r"'([\w.-]+\.\d)'", (manual.FOLDER / "meson.build").read_text())
    assert sorted(listed) == [page.name for page in manual.pages()]


@pytest.mark.parametrize("page", manual.pages(), ids=lambda page: page.name)
def test_references_lead_to_a_page_and_are_in_order(page):
    known = {(one.stem, one.suffix[1:]) for one in manual.pages()}
    references = re.findall(r"(?m)^\.Xr (\S+) (\d)", page.read_text())
    assert not {one for one in references if one[0].startswith("chain")} - known
    also = re.findall(r"(?m)^\.Xr (\S+) (\d)", manual.sections(page)["SEE ALSO"])
    assert also == sorted(also, key=lambda one: (one[1], one[0]))


def test_a_bad_page_is_found(tmp_path):
    (tmp_path / "bad.1").write_text(".Dd November 21, 2026\n.Dt BAD 1\n.Os\n.Sh NAME\n.Nm bad\n.Nd x\n.Bd -literal\n")
    said = subprocess.run(["mandoc", "-T", "lint", tmp_path / "bad.1"], capture_output=True, text=True)
    assert "Bd" in said.stdout


def test_the_debian_package_has_the_version_of_the_program():
    version = re.search(r"version: '([^']+)'", (house.ROOT / "meson.build").read_text())[1]
    assert (house.ROOT / "debian/changelog").read_text().startswith(f"chainctl ({version}) ")
    assert (house.ROOT / "NEWS").read_text().startswith(version)
