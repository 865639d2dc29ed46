"""`./dev` itself: a suite of which nothing ran has not passed."""
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

STUB = """#!/bin/sh
echo "${0##*/} $*" >> "$STUB_LOG"
"""


@pytest.fixture
def dev_test(tmp_path):
    """dev_test(*words): `./dev test …` with a meson and a ninja that succeed and do nothing. Returns (process, what they were told)."""
    for name in ("meson", "ninja"):
        (tmp_path / name).write_text(STUB)
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"

    def run(*words):
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CHAINCTL_BUILD": str(tmp_path / "build"),
               "STUB_LOG": str(log)}  # fmt: skip
        done = subprocess.run([ROOT / "dev", "test", *words], env=env, capture_output=True, text=True, timeout=100)
        return done, log.read_text().splitlines()

    return run


@pytest.mark.parametrize("command", ["install", "build", "demo", "lint", "asan"])
def test_a_word_that_would_be_ignored_is_refused(command):
    done = subprocess.run([ROOT / "dev", command, "PREFIX=/opt"], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (2, "") and "'PREFIX=/opt' is not understood" in done.stderr


def configured(folder, tests):
    (folder / "build/meson-info").mkdir(parents=True)
    (folder / "build/build.ninja").touch()
    options = [{"name": "auto_features", "value": "enabled"}, {"name": "tests", "value": tests, "section": "user"}]
    (folder / "build/meson-info/intro-buildoptions.json").write_text(json.dumps(options))


@pytest.mark.parametrize("suite", ["unit", "wire", "asan"])
def test_a_suite_in_c_that_ran_no_test_has_failed(dev_test, suite):
    done, _ = dev_test(suite)
    assert done.returncode == 1, done.stderr
    assert f"suites that failed: {suite}" in done.stdout and "0 passed, 1 failed" in done.stdout


def test_a_folder_that_was_configured_without_tests_is_told_to_have_them(dev_test, tmp_path):
    configured(tmp_path, "auto")
    assert f"meson configure {tmp_path}/build -Dtests=enabled" in dev_test("unit")[1]


def test_a_folder_that_has_tests_is_left_as_it_is(dev_test, tmp_path):
    configured(tmp_path, "enabled")
    assert not [line for line in dev_test("unit")[1] if line.startswith(("meson configure", "meson setup"))]
