"""A storage daemon has no guest that could be paused for a merge: what was copied is flushed by a node put above it for a
moment. Whoever dies, and wherever, one `recover` leaves no such node, and nothing is lost.
"""
import contextlib

import pytest

from crash_points import Pointed, Stopped
from support import disks, images
from support.chainctl import Chainctl
from support.storage import StorageDaemon, blockdev, export

MIB = 1 << 20
WORDS = {"stream": ("stream", "vm", "--base", "none"), "commit": ("commit", "vm", "--top", "two", "--yes")}
EFFECTS = {"stream": 18, "commit": 18}
DIES = {"chainctl": False, "all": True}


@contextlib.contextmanager
def machine(folder, binary):
    """A daemon whose disk was written to before and after each of three snapshots; (daemon, chainctl)."""
    folder.mkdir()
    golden = images.create(folder / "golden.qcow2", "8M")
    images.write(golden, "write -P 9 0 1M")
    path = images.create(folder / "disk.qcow2", None, backing=golden)
    with StorageDaemon([*blockdev("n", path), *export("disk", "n")]) as daemon:
        ctl = Chainctl(folder / "state", binary=binary)
        ctl.ok("vm", "add", "vm", "--qmp", daemon.qmp)
        for turn, name in enumerate(("one", "two", "three"), 1):
            daemon.qemu_io("disk", f"write -P {turn} {turn}M 1M")
            ctl.ok("snapshot", "vm", name)
        daemon.qemu_io("disk", "write -P 4 4M 1M", "flush")
        yield daemon, ctl


@pytest.fixture(scope="session")
def effects(tmp_path_factory, binary):
    """{verb: the side effects of a run of it}"""
    found = {}
    for verb, words in WORDS.items():
        folder = tmp_path_factory.mktemp(verb)
        with machine(folder / "vm", binary) as (_, ctl):
            pointed = Pointed(ctl, folder)
            assert pointed.run(*words).status == 0
            found[verb] = pointed.effects()
    return found


def assert_reads(path):
    for pattern, at in ((9, 0), (1, 1), (2, 2), (3, 3), (4, 4)):
        assert images.reads(path, pattern, at * MIB, MIB), f"{path}: {pattern}"


@pytest.mark.parametrize("verb", WORDS)
def test_the_side_effects_are_those_that_are_swept(verb, effects):
    names = [point.name for point in effects[verb]]
    assert len(names) == EFFECTS[verb], names
    assert names.index("qmp:blockdev-reopen") < names.index("qmp:job-finalize")


@pytest.mark.parametrize("killed", DIES)
@pytest.mark.parametrize("verb, place", [(verb, place) for verb, count in EFFECTS.items() for place in range(count)])
def test_death_is_recovered_from(verb, place, killed, effects, binary, tmp_path):
    with machine(tmp_path / "vm", binary) as (daemon, ctl):
        stopped = Stopped(ctl, WORDS[verb], effects[verb][place], "before", tmp_path)
        if DIES[killed]:
            daemon.kill()
        stopped.kill()
        ctl.ok("recover", "vm")
        assert ctl.ok("check", "vm")["problems"] == [] and ctl.ok("jobs", "vm")["jobs"] == []
        assert {"open", "detached"}.isdisjoint(entry["state"] for entry in ctl.ok("log", "vm")["operations"])
        if not DIES[killed]:
            assert "preallocate" not in {node["drv"] for node in disks.nodes(daemon).values()}
            daemon.kill()
        assert_reads(ctl.ok("path", "vm", "disk")["path"])
