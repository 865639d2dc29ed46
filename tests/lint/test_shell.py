"""All shell scripts, whatever their name, pass shellcheck."""
import shutil
import subprocess

import house
import pytest


def scripts():
    """Files of the project that begin as shell scripts do."""
    for path in house.project_files(""):
        with open(house.ROOT / path, "rb") as file:
            first = file.readline(80)
        if first.startswith(b"#!") and first.split()[-1].rpartition(b"/")[2] in (b"sh", b"bash", b"dash"):
            yield path


@pytest.fixture(autouse=True)
def shellcheck():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")


def test_scripts_are_found():
    assert {"dev", ".ci/run", "tests/guest/build", "tests/fuzz/run"} <= set(scripts())


@pytest.mark.parametrize("path", scripts())
def test_a_script_passes_shellcheck(path):
    result = subprocess.run(["shellcheck", "--format=gcc", path], cwd=house.ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_a_bad_script_is_found(tmp_path):
    script = tmp_path / "bad"
    script.write_text("#!/bin/sh\nrm $1\n")
    assert "SC2086" in subprocess.run(["shellcheck", script], capture_output=True, text=True).stdout
