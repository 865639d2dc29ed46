"""Form that a tool decides: clang-format with the project's own file, for all C."""
import shutil
import subprocess

import house
import pytest


def check(paths, cwd=house.ROOT):
    return subprocess.run(["clang-format", "--dry-run", "-Werror", *paths], cwd=cwd, capture_output=True, text=True)


@pytest.fixture(autouse=True)
def clang_format():
    if shutil.which("clang-format") is None:
        pytest.skip("clang-format is not installed")


def test_all_c_is_as_clang_format_leaves_it():
    result = check(list(house.project_files(".c", ".h")))
    files = sorted({line.split(":")[0] for line in result.stderr.splitlines() if ": error:" in line})
    assert result.returncode == 0, f"run clang-format -i on: {' '.join(files)}\n{result.stderr[:4000]}"


def test_code_of_another_form_is_found(tmp_path):
    (tmp_path / ".clang-format").write_text((house.ROOT / ".clang-format").read_text())
    (tmp_path / "x.c").write_text("int f(void) { return 0; }\n")
    assert "x.c:1:" in check(["x.c"], cwd=tmp_path).stderr
