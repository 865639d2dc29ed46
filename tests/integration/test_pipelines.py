"""The scripts of docs/pipelines.md, each as it stands: saved, made executable, and run."""
import json
import pathlib
import re
import subprocess

import pytest

from support import disks, images, nbd, process
from support.chainctl import Chainctl

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/pipelines.md"
SCRIPTS = dict(re.findall(r"^```sh\n(?=#!/bin/sh\n# ([a-z-]+))(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
MIB = 1 << 20


@pytest.fixture
def desk(qemu, tmp_path):
    """(VM, its ctl, a function that runs a script of the page to its end): one snapshot old, data on both images."""
    (tmp_path / "disks").mkdir()
    words, _ = disks.two(tmp_path / "disks")
    vm, ctl = qemu(words, paused=False), Chainctl(tmp_path / "state")
    disks.register(ctl, vm)
    for name in ("vda", "vdb"):
        vm.qemu_io(name, "write -P 7 0 1M")
    ctl.ok("snapshot", "vm", "one")
    vm.qemu_io("vda", "write -P 8 1M 1M")
    return vm, ctl, Desk(tmp_path, ctl)


class Desk:
    def __init__(self, folder, ctl):
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        (self.bin / "chainctl").symlink_to(ctl.binary)
        self.env = {**ctl.env, "PATH": f"{self.bin}:{ctl.env['PATH']}", "CHAINCTL_STATE": str(ctl.state_dir)}
        for name, text in SCRIPTS.items():
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)

    def words(self, name, *words):
        return [self.bin / name, *words]

    def run(self, name, *words):
        done = subprocess.run(list(map(str, self.words(name, *words))), env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        return done


def is_right(path):
    """Whether it is what the guest sees, and stands alone."""
    told = images.info(path)
    return "backing-filename" not in told and images.reads(path, 7, 0, MIB) and images.reads(path, 8, MIB, MIB)


def test_page_has_the_scripts_that_are_run_here():
    assert sorted(SCRIPTS) == ["make-certificates", "nightly-copy", "receive-copy", "send-copy", "snapshot-copy"]


def test_nightly_copy_is_whole_and_seven_are_kept(desk, tmp_path):
    _, _, at = desk
    nights = tmp_path / "nights"
    for day in range(10, 19):
        (nights / f"2026-01-{day}").mkdir(parents=True)
    done = at.run("nightly-copy", "vm", nights)
    kept = sorted(path.name for path in nights.iterdir())
    assert len(kept) == 7 and kept[0] == "2026-01-13"
    assert sorted(path.name for path in (nights / kept[-1]).iterdir()) == ["mirror.json", "vda.qcow2", "vdb.qcow2"]
    assert is_right(nights / kept[-1] / "vda.qcow2")
    told = json.loads((nights / kept[-1] / "mirror.json").read_text())
    assert [mirror["target"] for mirror in told["mirrors"]] == ["vda.qcow2", "vdb.qcow2"]
    assert "vm: not quiesced: no agent is registered" in done.stderr


def test_nightly_copy_that_fails_leaves_those_of_other_nights(desk, tmp_path):
    vm, _, at = desk
    old = tmp_path / "nights/2026-01-10"
    old.mkdir(parents=True)
    vm.kill()
    (tmp_path / "disks/vda.one.qcow2").unlink()
    done = subprocess.run(list(map(str, at.words("nightly-copy", "vm", tmp_path / "nights"))), env=at.env, capture_output=True)
    assert done.returncode != 0
    assert [path.name for path in (tmp_path / "nights").glob("????-??-??")] == [old.name]


def test_copy_over_tls_arrives_at_the_other_host(desk, tmp_path):
    _, _, at = desk
    tls, port, there = tmp_path / "tls", nbd.free_port(), tmp_path / "there"
    at.run("make-certificates", tls, "localhost", "sender")
    sizes = [f"{name}={8 * MIB}" for name in ("vda", "vdb")]
    receive = at.words("receive-copy", f"localhost:{port}", there, tls / "server", *sizes)
    with process.running(receive, env=at.env, stdout=subprocess.PIPE, text=True) as receiver:
        assert [receiver.stdout.readline().split()[0] for _ in sizes] == ["ready:"] * 2
        done = at.run("send-copy", "vm", f"localhost:{port}", tls / "client")
        assert done.stdout.split() == sizes
        assert receiver.wait(40) == 0
    assert is_right(there / "vda.qcow2")


def names(ctl):
    return [one["name"] for one in ctl.ok("list", "vm")["snapshots"]]


def test_snapshot_is_copied_by_a_tool_and_it_alone_is_merged_away(desk, tmp_path):
    vm, ctl, at = desk
    folder = tmp_path / "disks"
    ctl.ok("snapshot", "vm", "two", "--disk", "vda")
    vm.qemu_io("vda", "write -P 9 2M 1M")
    at.run("snapshot-copy", "vm", tmp_path / "copies")
    assert is_right(tmp_path / "copies/vda.qcow2") and images.reads(tmp_path / "copies/vda.qcow2", 9, 2 * MIB, MIB)
    assert names(ctl) == ["one", "two"]
    assert vm.monitor().chain("vda") == [str(folder / name) for name in ("vda.two.qcow2", "vda.one.qcow2", "vda.qcow2")]
    assert vm.monitor().chain("vdb") == [str(folder / name) for name in ("vdb.one.qcow2", "vdb.qcow2")]
    one, two = folder / "vda.qcow2", folder / "vda.one.qcow2"
    assert images.reads(one, 7, 0, MIB) and images.reads(one, 0, MIB, MIB)
    assert images.reads(two, 8, MIB, MIB) and images.reads(two, 0, 2 * MIB, MIB)
    assert ctl.ok("check", "vm")["problems"] == []


def test_snapshot_that_is_copied_is_merged_into_the_base_where_it_is_the_first(desk, tmp_path):
    vm, ctl, at = desk
    ctl.ok("commit", "vm", "--pivot")
    at.run("snapshot-copy", "vm", tmp_path / "copies")
    assert is_right(tmp_path / "copies/vda.qcow2")
    assert names(ctl) == []
    assert vm.monitor().chain("vda") == [str(tmp_path / "disks/vda.qcow2")]
