"""Every C file is in the meson.build of its folder, and no meson.build names a file that is not there."""
import pathlib
import re

import house
import pytest

# The guest's image is built by a script of its own, not by meson.
NOT_BY_MESON = {"tests/guest/ledger.c"}


def named(meson, folder):
    """The C files that a meson.build names: 'x.c', or 'test-' + name + '.c' for each of a list of names."""
    files = set(re.findall(r"(?<!\+ )'([^'\s]+\.c)'", meson))
    for loop in re.finditer(r"(?s)foreach (\w+)(?:, \w+)? : [\[{](.*?)[\]}]\n(.*?)\nendforeach", meson):
        variable, values, body = loop.groups()
        names = re.findall(r"'([^']+)'\s*:", values) or re.findall(r"'([^']+)'", values)
        for before, after in re.findall(rf"(?:'([^']*)' \+ )?\b{variable} \+ '([^']*\.c)'", body):
            files |= {before + name + after for name in names}
    return {f"{folder}/{file}" for file in files}


def breaches(folder, present):
    """@present: paths of the C files in @folder."""
    meson = house.ROOT / folder / "meson.build"
    listed = named(meson.read_text(), folder) if meson.is_file() else set()
    missing = [f"{path} is in no meson.build" for path in sorted(present - listed)]
    return missing + [f"{path} is in meson.build and not there" for path in sorted(listed - present)]


def folders():
    found = {}
    for path in house.project_files(".c"):
        if path not in NOT_BY_MESON:
            found.setdefault(str(pathlib.PurePath(path).parent), set()).add(path)
    return sorted(found.items())


@pytest.mark.parametrize("folder, present", folders(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_c_file_is_in_its_meson_build(folder, present):
    assert not breaches(folder, present)


def test_a_forgotten_file_and_a_lost_one_are_found():
    present = {"qmp/forgotten.c"} | set(house.project_files(".c", folders=("qmp",)))
    assert breaches("qmp", present) == ["qmp/forgotten.c is in no meson.build"]
    assert breaches("qmp", present - {"qmp/forgotten.c", "qmp/call.c"}) == ["qmp/call.c is in meson.build and not there"]


def test_names_made_in_a_loop_are_understood():
    text = "foreach name : ['a', 'b']\n  executable('test-' + name, 'test-' + name + '.c')\nendforeach\n"
    assert named(text, "tests/unit") == {"tests/unit/test-a.c", "tests/unit/test-b.c"}
