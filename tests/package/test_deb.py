"""`./dev deb`: a package that the real dpkg installs into a root of its own, and removes again."""
import pathlib
import re
import shutil
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


@pytest.fixture(scope="module")
def package(dev, tmp_path_factory):
    """The package's path, as `./dev deb` prints it."""
    out = tmp_path_factory.mktemp("out")
    printed = dev("deb", str(out)).splitlines()
    assert len(printed) == 1 and pathlib.Path(printed[0]).parent == out, printed
    return pathlib.Path(printed[0])


def test_the_package_is_installed_works_and_is_removed_without_a_trace(package, root, tmp_path):
    version = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())[1]
    assert package.name.startswith(f"chainctl_{version}_")
    dpkg(root, "--install", package)
    files = of_package(root)
    assert {"usr/bin/chainctl", "usr/share/bash-completion/completions/chainctl", "usr/share/doc/chainctl/copyright",
            "usr/share/man/man1/chainctl.1.gz", "usr/share/zsh/vendor-completions/_chainctl"} <= set(files)  # fmt: skip
    assert_stands_alone(files)
    assert_works(root / "usr/bin/chainctl", tmp_path, root / "usr/share/man")
    dpkg(root, "--purge", "chainctl")
    assert of_package(root) == {}


def test_the_units_are_all_there_and_none_is_enabled(package, root):
    dpkg(root, "--install", package)
    units = {path.name for name, path in of_package(root).items() if "systemd/system/" in name}
    sources = (ROOT / "data/systemd").glob("*.*er*") if (ROOT / "data/systemd").is_dir() else []
    assert units == {path.name.removesuffix(".in") for path in sources}
    assert not [name for name in of_package(root) if name.startswith("etc/")], "a unit is enabled"


def test_the_package_asks_for_the_libraries_and_recommends_qemu(package):
    def field(name):
        return subprocess.run(["dpkg-deb", "--field", package, name], capture_output=True, text=True).stdout

    libraries = ("libc6", "libglib2.0-0", "libjson-glib-1.0-0", "libsqlite3-0")
    assert [library for library in libraries if library not in field("Depends")] == []
    assert "qemu" not in field("Depends") and "qemu-utils" in field("Recommends")


def test_lintian_has_no_error_to_tell(package):
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    said = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", package], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout
