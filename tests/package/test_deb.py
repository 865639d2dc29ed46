"""`./dev deb`: a package that the real dpkg installs into a root of its own, and removes again."""
import pathlib
import re
import subprocess

import pytest
from conftest import ROOT, assert_stands_alone, assert_works, installed


def dpkg(root, *words):
    """dpkg with that root; its scripts run outside of it, as there is no shell in it."""
    words = ["dpkg", f"--root={root}", "--force-script-chrootless,not-root,depends,bad-path", *words]
    done = subprocess.run(["fakeroot", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def root(tmp_path):
    """A root without anything but dpkg's own folders."""
    for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    (tmp_path / "root/var/lib/dpkg/status").touch()
    return tmp_path / "root"


def of_package(root):
    return {name: path for name, path in installed(root).items() if not name.startswith(("var/lib/dpkg", "var/log"))}


@pytest.mark.time_limit(280)
def test_the_package_is_installed_works_and_is_removed_without_a_trace(dev, root, tmp_path):
    printed = dev("deb", str(tmp_path / "out")).splitlines()
    assert len(printed) == 1
    package = pathlib.Path(printed[0])
    version = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())[1]
    assert package.parent == tmp_path / "out" and package.name.startswith(f"chainctl_{version}_"), package
    dpkg(root, "--install", package)
    files = of_package(root)
    assert {"usr/bin/chainctl", "usr/share/bash-completion/completions/chainctl", "usr/share/doc/chainctl/copyright",
            "usr/share/man/man1/chainctl.1.gz", "usr/share/zsh/vendor-completions/_chainctl"} <= set(files)  # fmt: skip
    assert_stands_alone(files)
    assert_works(root / "usr/bin/chainctl", tmp_path, root / "usr/share/man")
    assert not [name for name in files if name.startswith("etc/systemd")], "a unit is enabled"
    depends = subprocess.run(["dpkg-deb", "--field", package, "Depends"], capture_output=True, text=True).stdout
    assert all(library in depends for library in ("libglib2.0-0", "libjson-glib-1.0-0", "libsqlite3-0")), depends
    dpkg(root, "--purge", "chainctl")
    assert of_package(root) == {}
