"""`vm add --own` and `--adopt`: what was there before chainctl came becomes the VM's own, and its snapshots."""
import os

import pytest

from support import disks, images


@pytest.fixture
def ctl(chainctl):
    return chainctl()


def chain(folder, *names, size="8M"):
    """Images each on the one before it, the oldest first; each with a byte of its own. Returns the paths."""
    paths = []
    for number, name in enumerate(names, 1):
        paths.append(images.create(folder / name, None if paths else size, backing=paths[-1] if paths else None,
                                   backing_fmt="qcow2"))  # fmt: skip
        images.write(paths[-1], f"write -P {number} {number}M 64k")
        os.utime(paths[-1], (1_000_000_000 + number, 1_000_000_000 + number))
    return paths


def add(ctl, machine, *words, name="vm"):
    return ctl.ok("vm", "add", name, "--qmp", machine.qmp, *words)


def bases(document):
    return [os.path.basename(disk["base"]) for disk in document["vm"]["disks"]]


def states(ctl, disk=0, name="vm"):
    return [(os.path.basename(image["path"]), image["state"], image["snapshots"])
            for image in ctl.ok("tree", name)["disks"][disk]["images"]]  # fmt: skip


def test_own_makes_the_named_image_the_base(qemu, ctl, folder):
    deep, base, active = chain(folder, "deep.qcow2", "base.qcow2", "active.qcow2")
    told = add(ctl, qemu(disks.blockdev("vda", active)), "--own", base, "--quiesce", "off")
    assert bases(told) == ["base.qcow2"] and told["adopted"] == []
    assert states(ctl) == [("deep.qcow2", "foreign", []), ("base.qcow2", "backing", []), ("active.qcow2", "active", [])]
    assert ctl.ok("list", "vm")["snapshots"] == []
    assert ctl.ok("snapshot", "vm", "s")["snapshot"]["disks"][0]["overlay"] == str(folder / "base.s.qcow2")
    assert ctl.run("check", "vm").json["problems"] == []


def test_own_may_be_repeated_and_be_relative(qemu, ctl, folder, monkeypatch):
    one, other = chain(folder, "a.qcow2", "a1.qcow2"), chain(folder, "b.qcow2", "b1.qcow2")
    monkeypatch.chdir(folder)
    told = add(ctl, qemu([*disks.blockdev("vda", one[1]), *disks.blockdev("vdb", other[1])]),
               "--own", "a.qcow2", "--own", "b.qcow2")  # fmt: skip
    assert bases(told) == ["a.qcow2", "b.qcow2"]


def test_image_to_own_that_is_in_no_chain_is_refused_and_nothing_is_registered(qemu, ctl, folder):
    paths = chain(folder, "base.qcow2", "active.qcow2")
    machine = qemu(disks.blockdev("vda", paths[1]))
    error = ctl.fails(3, "vm", "add", "vm", "--qmp", machine.qmp, "--own", folder / "other.qcow2")
    assert error["code"] == "no-such-image" and "other.qcow2" in error["message"]
    assert ctl.ok("vm", "list")["vms"] == []


def test_overlays_become_snapshots_in_their_order(qemu, ctl, folder):
    paths = chain(folder, "web.qcow2", "web.monday.qcow2", "web.tuesday", "web.v1.2.qcow2")
    told = add(ctl, qemu(disks.blockdev("vda", paths[3])), "--adopt", "--quiesce", "off")
    assert told["adopted"] == ["monday", "tuesday", "v1.2"]
    assert told["vm"]["disks"][0]["base"] == str(paths[0])
    snapshots = ctl.ok("list", "vm")["snapshots"]
    assert [(one["name"], one["consistency"], one["created"]) for one in snapshots] == [
        ("monday", "crash", "2001-09-09T01:46:41.000000Z"),
        ("tuesday", "crash", "2001-09-09T01:46:42.000000Z"),
        ("v1.2", "crash", "2001-09-09T01:46:43.000000Z"),
    ]
    assert all("adopted" in one["reason"] for one in snapshots)
    assert [one["disks"] for one in snapshots] == [
        [{"disk": "vda", "image": str(below), "overlay": str(above)}] for below, above in zip(paths, paths[1:])
    ]
    assert [names for _, _, names in states(ctl)] == [["monday"], ["tuesday"], ["v1.2"], []]
    assert ctl.run("check", "vm").json["problems"] == []
    ctl.ok("snapshot", "vm", "mine")
    assert [one["name"] for one in ctl.ok("list", "vm")["snapshots"]][-1] == "mine"


def test_disks_are_grouped_by_name_and_level(qemu, ctl, folder):
    vda = chain(folder, "vda.qcow2", "vda.s1.qcow2", "what-is-this.qcow2")
    vdb = chain(folder, "vdb.qcow2", "vdb.s1.qcow2", "nobody-knows.qcow2")
    told = add(ctl, qemu([*disks.blockdev("vda", vda[2]), *disks.blockdev("vdb", vdb[2])]), "--adopt")
    assert told["adopted"] == ["s1", "adopted-2"]
    assert [[part["disk"] for part in one["disks"]] for one in ctl.ok("list", "vm")["snapshots"]] == [["vda", "vdb"]] * 2


def test_names_that_no_snapshot_may_have_are_replaced(qemu, ctl, folder):
    (folder / "again").mkdir()
    paths = chain(folder, "disk.qcow2", "disk.base.qcow2", "disk.s p.qcow2", "disk.dup.qcow2", "again/disk.dup.qcow2")
    told = add(ctl, qemu(disks.blockdev("vda", paths[4])), "--adopt")
    assert told["adopted"] == ["adopted-1", "adopted-2", "dup", "adopted-4"]


def test_order_is_that_of_the_chain_where_times_contradict_it(qemu, ctl, folder):
    paths = chain(folder, "d.qcow2", "d.a.qcow2", "d.b.qcow2", "d.c.qcow2")
    os.utime(paths[0], (2_000_000_000, 2_000_000_000))
    assert add(ctl, qemu(disks.blockdev("vda", paths[3])), "--adopt")["adopted"] == ["a", "b", "c"]


def test_golden_image_is_not_adopted(qemu, ctl, folder):
    paths = chain(folder, "golden.qcow2", "web.qcow2", "web.s.qcow2")
    os.chmod(paths[0], 0o444)
    told = add(ctl, qemu(disks.blockdev("vda", paths[2])), "--adopt")
    assert (bases(told), told["adopted"]) == (["web.qcow2"], ["s"])
    assert states(ctl)[0] == ("golden.qcow2", "foreign", [])


def test_image_that_another_vm_uses_is_not_adopted(qemu, ctl, folder):
    template, one = chain(folder, "template.qcow2", "one.qcow2")
    other = images.create(folder / "other.qcow2", None, backing=template)
    add(ctl, qemu(disks.blockdev("vda", other)), name="other")
    told = add(ctl, qemu(disks.blockdev("vda", one)), "--adopt")
    assert (bases(told), told["adopted"]) == (["one.qcow2"], [])
    error = ctl.fails(9, "vm", "set", "vm", "--own", template)
    assert "VM 'other'" in error["message"]


def test_image_below_two_disks_of_the_vm_is_not_adopted(qemu, ctl, folder):
    template, one = chain(folder, "template.qcow2", "vda.qcow2")
    two = images.create(folder / "vdb.qcow2", None, backing=template)
    told = add(ctl, qemu([*disks.blockdev("vda", one), *disks.blockdev("vdb", two)]), "--adopt")
    assert bases(told) == ["vda.qcow2", "vdb.qcow2"]


def test_adopt_goes_down_to_what_is_owned_and_no_further(qemu, ctl, folder):
    paths = chain(folder, "deep.qcow2", "disk.qcow2", "disk.a.qcow2", "disk.b.qcow2")
    told = add(ctl, qemu(disks.blockdev("vda", paths[3])), "--adopt", "--own", paths[1])
    assert (bases(told), told["adopted"]) == (["disk.qcow2"], ["a", "b"])


def test_base_is_said_to_people(qemu, ctl, folder):
    paths = chain(folder, "disk.qcow2", "disk.a.qcow2")
    machine = qemu(disks.blockdev("vda", paths[1]))
    said = ctl.run("vm", "add", "vm", "--qmp", machine.qmp, "--adopt", json_output=False).out
    assert f"base of vda: {paths[0]}" in said and "adopted as a snapshot: a" in said


def test_dry_run_of_adopt_changes_nothing(qemu, ctl, folder):
    paths = chain(folder, "disk.qcow2", "disk.a.qcow2")
    assert add(ctl, qemu(disks.blockdev("vda", paths[1])), "--adopt", "--dry-run")["adopted"] == ["a"]
    assert not ctl.state_dir.exists()
