"""`./dev install` into a folder: all is there, and it works from there."""
import os
import pathlib
import re
import subprocess

import pytest
from conftest import ROOT, assert_stands_alone, assert_works, installed


@pytest.mark.time_limit(280)
def test_an_installed_chainctl_works_and_owes_nothing_to_its_source(dev, tmp_path):
    root = tmp_path / "root"
    dev("install", env={**os.environ, "DESTDIR": str(root), "PREFIX": "/usr"})
    files = installed(root)
    share = root / "usr/share"
    assert {"usr/bin/chainctl", "usr/share/doc/chainctl/NEWS", "usr/share/bash-completion/completions/chainctl",
            "usr/share/zsh/site-functions/_chainctl"} <= set(files)  # fmt: skip
    assert_stands_alone(files)
    assert_works(root / "usr/bin/chainctl", tmp_path, share / "man")
    pages = {path.name for path in (share / "man").rglob("*") if path.is_file()}
    pointed_at = set(re.findall(r"\]\(docs/(\w+\.md)\)", (share / "doc/chainctl/README.md").read_text()))
    developers = {"hacking.md", "testing.md"}
    assert {"moving.md", "pipelines.md"} <= pointed_at - developers <= {path.name for path in (share / "doc/chainctl").iterdir()}
    assert pages == {path.name for path in (ROOT / "docs/man").iterdir() if path.suffix in (".1", ".5", ".7", ".8")}


def test_the_completion_that_is_installed_is_what_the_program_prints():
    build = pathlib.Path(os.environ.get("CHAINCTL_BUILD", ROOT / "build"))
    for shell, name in (("bash", "chainctl"), ("zsh", "_chainctl")):
        subprocess.run(["ninja", "-C", build, f"tools/completion/{name}"], check=True, capture_output=True)
        printed = subprocess.run([build / "tools/chainctl/chainctl", "--completion", shell], capture_output=True)
        assert (build / "tools/completion" / name).read_bytes() == printed.stdout
