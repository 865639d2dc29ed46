"""What the tests of installation share: what is installed where, and what must hold for each file of it."""
import pathlib
import stat
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def dev():
    """dev(*words, **environment) runs `./dev`; returns what it printed. The checkout is the same before and after."""

    def run(*words, env=None):
        before = checkout()
        done = subprocess.run([ROOT / "dev", *words], env=env, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert checkout() == before
        return done.stdout

    return run


def checkout():
    """What git sees of the checkout, and what else lies in its root: build folders that were there before, too."""
    known = subprocess.run(["git", "status", "--porcelain", "--untracked-files=all"], cwd=ROOT, capture_output=True, text=True)
    return known.stdout, sorted(path.name for path in ROOT.iterdir() if path.name != "build-release")


def installed(root):
    """{path below root: path} of all that is no folder."""
    return {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if not path.is_dir() or path.is_symlink()}


def assert_stands_alone(files):
    """No link and no text that leads back to where it was built; nobody but the owner may write; one program."""
    assert files
    for name, path in files.items():
        assert not path.is_symlink(), name
        assert not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH), name
        assert str(ROOT).encode() not in path.read_bytes(), f"{name} names the source folder"
    programs = [name for name, path in files.items() if path.stat().st_mode & stat.S_IXUSR]
    assert [name for name in programs if not name.endswith("bin/chainctl")] == []


def assert_works(program, folder, man):
    """The program says its version, knows an empty state folder from none, and has its pages below `man`."""
    shown = subprocess.run([program, "--version"], capture_output=True, text=True)
    assert (shown.returncode, shown.stderr) == (0, "") and shown.stdout.startswith("chainctl "), shown
    listed = subprocess.run([program, "vm", "list", "--json", "--state", folder / "state"], capture_output=True, text=True)
    assert listed.returncode in (0, 1), listed
    for page in ("chainctl", "chainctl-snapshot", "chainctl.conf"):
        found = subprocess.run(["man", "-M", man, "--where", page], capture_output=True, text=True)
        assert found.returncode == 0 and found.stdout.startswith(str(man)), found
        text = subprocess.run(["man", "-M", man, page], capture_output=True, text=True)
        assert text.returncode == 0 and "EXAMPLES" in text.stdout, text
