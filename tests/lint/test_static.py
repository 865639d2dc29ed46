"""What cppcheck and clang-tidy find in the code as the build compiles it.

They read compile_commands.json of the build folder CHAINCTL_BUILD (default: build).
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import house
import pytest

BUILD = (house.ROOT / os.environ.get("CHAINCTL_BUILD", "build")).resolve()
JOBS = str(os.cpu_count() or 1)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")

# GLib's macros that cppcheck's own description of GLib lacks.
CPPCHECK_MACROS = ["-DG_GNUC_PRINTF(a,b)=", "-DG_DEFINE_EXTENDED_ERROR(a,b)=", "-DG_DEFINE_QUARK(a,b)="]
CPPCHECK = ["cppcheck", "--library=gtk", "--enable=warning,performance,portability", "--inline-suppr", "--quiet",
            "--error-exitcode=1", "--template={file}:{line}: {id}: {message}", f"-j{JOBS}", *CPPCHECK_MACROS]


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="module")
def commands():
    """How each file of the project is compiled, the bad code and what is gone since excepted."""
    database = BUILD / "compile_commands.json"
    if not database.is_file():
        pytest.skip(f"{database} is missing: build first, or name the build folder in CHAINCTL_BUILD")
    entries = json.loads(database.read_text())
    return [entry for entry in entries if (pathlib.Path(entry["directory"]) / entry["file"]).is_file()]


def test_every_product_file_is_compiled(commands):
    """What the build does not know, nothing here looks at."""
    compiled = {(pathlib.Path(entry["directory"]) / entry["file"]).resolve() for entry in commands}
    missing = [path for path in house.project_files(".c", folders=house.PRODUCT) if house.ROOT / path not in compiled]
    assert not missing, missing


def test_cppcheck_finds_nothing(commands, tmp_path):
    need("cppcheck")
    # The libraries' headers make it thirty times as slow, and tell it nothing that its description of GLib does not.
    own = [{**entry, "command": re.sub(r" -I/usr\S*", "", entry["command"])} for entry in commands]
    (tmp_path / "compile_commands.json").write_text(json.dumps(own))
    result = subprocess.run([*CPPCHECK, f"--project={tmp_path / 'compile_commands.json'}"],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr + result.stdout


@pytest.mark.time_limit(900)
def test_clang_tidy_finds_nothing(commands, tmp_path):
    need("clang-tidy", "run-clang-tidy")
    (tmp_path / "compile_commands.json").write_text(json.dumps(commands))
    result = subprocess.run(["run-clang-tidy", "-p", tmp_path, f"-j{JOBS}", "-quiet",
                             f"{re.escape(str(house.ROOT))}/({'|'.join(house.PRODUCT)})/"],
                            capture_output=True, text=True)
    said = COLOURS.sub("", result.stdout + result.stderr)
    found = sorted(set(re.findall(r"^.*: (?:warning|error): .*$", said, flags=re.M)))
    assert result.returncode == 0 and not found, "\n".join(found) or said[-4000:]


BAD = "int f (const int *p);\nint f (const int *p)\n{\n  int unset[2];\n  if (p == 0)\n    return *p;\n  return unset[2];\n}\n"


def test_cppcheck_would_find_a_mistake(tmp_path):
    need("cppcheck")
    (tmp_path / "bad.c").write_text(BAD)
    result = subprocess.run([*CPPCHECK, tmp_path / "bad.c"], capture_output=True, text=True)
    assert result.returncode == 1 and "arrayIndexOutOfBounds" in result.stderr


def test_clang_tidy_would_find_a_mistake(tmp_path):
    need("clang-tidy")
    (tmp_path / "bad.c").write_text(BAD)
    result = subprocess.run(["clang-tidy", "--quiet", f"--config-file={house.ROOT / '.clang-tidy'}",
                             tmp_path / "bad.c", "--", "-std=gnu17"], capture_output=True, text=True)
    assert result.returncode != 0 and "clang-analyzer-core.NullDereference" in result.stdout


def test_python_files_compile_and_use_what_they_import():
    paths = list(house.project_files(".py"))
    assert paths
    for path in paths:
        compile((house.ROOT / path).read_text(), path, "exec")
    try:
        import pyflakes  # noqa: F401
    except ImportError:
        pytest.skip("pyflakes is not installed; that all compile was checked")
    result = subprocess.run([sys.executable, "-m", "pyflakes", *paths], cwd=house.ROOT, capture_output=True, text=True)
    said = [line for line in result.stdout.splitlines() if "noqa" not in source_line(line)]
    assert not said, "\n".join(said)


def source_line(complaint):
    path, number = complaint.split(":")[:2]
    return (house.ROOT / path).read_text().splitlines()[int(number) - 1]
