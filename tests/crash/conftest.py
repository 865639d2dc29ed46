"""What the crash tests share: the build with points, the images that a machine starts from, the points of a run."""
import os
import pathlib
import shutil

import pytest

from crash_machine import Machine, Templates
from crash_points import Pointed

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def binary(tmp_path_factory):
    """The chainctl of $CHAINCTL_POINTS_BUILD, else of build-points/. A copy: it stays the same all the while."""
    build = ROOT / os.environ.get("CHAINCTL_POINTS_BUILD", "build-points")
    made = build / "tools/chainctl/chainctl"
    assert made.exists(), f"no {made}: `meson setup {build} -Dpoints=true` and `ninja -C {build}` make it"
    return shutil.copy(made, tmp_path_factory.mktemp("binary"))


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    return Templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture
def machine(templates, binary, tmp_path):
    """machine(disks=1, paused=False) is a Machine, not yet started: use it in a with-block."""
    made = []

    def make(**options):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Machine(templates, folder, binary, **options))
        return made[-1]

    return make


@pytest.fixture(scope="session")
def reference(templates, binary, tmp_path_factory):
    """reference(scenario): the side effects of a run of it that nothing disturbs, with their numbers."""
    known = {}

    def look(scenario):
        if scenario not in known:
            folder = tmp_path_factory.mktemp("reference")
            with Machine(templates, folder, binary, **scenario.machine_options()) as made:
                scenario.verb.prepare(made)
                pointed = Pointed(made.ctl, folder)
                pointed.run(*scenario.verb.words)
            known[scenario] = pointed.effects()
        return known[scenario]

    return look
