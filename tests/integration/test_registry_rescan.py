"""`vm rescan`: what is harmless is taken over, what is not only with --accept; then QEMU is the truth."""
import os

import pytest

from support import disks, images

MIB = 1 << 20
UUID = "0b6d6a52-4f5a-4a0e-9d3b-6d1f2a7c8e90"
ACTIVE = {"vda": "vda.two.qcow2", "vdb": "vdb.two.qcow2"}


@pytest.fixture
def vm(qemu, folder):
    return qemu(disks.two(folder)[0], uuid=UUID)


@pytest.fixture
def ctl(chainctl, vm):
    ctl = chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    for name, pattern in (("one", 2), ("two", 3)):
        vm.qemu_io("vda", f"write -P {pattern - 1} 0 64k")
        ctl.ok("snapshot", "vm", name)
    return ctl


def restart(vm, folder, **heads):
    """The machine again, its disks on other files; None: without that disk."""
    vm.kill()
    heads = {name: file for name, file in {**ACTIVE, **heads}.items() if file}
    vm.arguments = [word for name, file in heads.items() for word in disks.blockdev(name, folder / file)]
    vm.start()


def tree(ctl, disk=0):
    return {os.path.basename(image["path"]): image for image in ctl.ok("tree", "vm")["disks"][disk]["images"]}


def states(ctl, disk=0):
    return {name: image["state"] for name, image in tree(ctl, disk).items()}


def warned(document, code="snapshots-spoiled"):
    return " ".join(one["message"] for one in document["warnings"] if one["code"] == code)


def database(ctl):
    """All that is remembered; not who reads it, or holds a lock."""
    return {path: what for path, what in disks.files(ctl.state_dir).items() if path.name in ("chainctl.db", "chainctl.db-wal")}


def assert_at_peace(ctl, vm):
    """Nothing is wrong any more, and the next snapshot is taken."""
    result = ctl.run("check", "vm")
    assert result.status == 0 and result.json["problems"] == [], result
    ctl.ok("snapshot", "vm", "after")
    assert "vm rescan" in [one["verb"] for one in ctl.ok("log", "vm")["operations"]]


def test_nothing_changed_is_said(ctl, vm, folder):
    with disks.unchanged(vm, folder):
        assert ctl.ok("vm", "rescan", "vm")["changes"] == []
        assert ctl.ok("vm", "rescan", "vm", "--accept")["changes"] == []
    assert "nothing has changed" in ctl.run("vm", "rescan", "vm", json_output=False).out


def test_added_disk_is_registered(ctl, vm, folder):
    images.create(folder / "vdc.qcow2", "4M")
    restart(vm, folder, vdc="vdc.qcow2")
    assert "disk-added" in [one["code"] for one in ctl.ok("snapshot", "vm", "three")["warnings"]]
    restart(vm, folder, vda="vda.three.qcow2", vdb="vdb.three.qcow2", vdc="vdc.qcow2")
    told = ctl.ok("vm", "rescan", "vm")
    assert [change["disk"] for change in told["changes"]] == ["vdc"]
    assert [disk["disk"] for disk in told["vm"]["disks"]] == ["vda", "vdb", "vdc"]
    assert len(ctl.ok("snapshot", "vm", "after")["snapshot"]["disks"]) == 3
    assert ctl.run("check", "vm").json["problems"] == []


def test_added_disk_whose_image_is_another_vms_is_left_out(ctl, vm, qemu, folder):
    other = images.create(folder / "other.qcow2", "4M")
    machine = qemu(disks.blockdev("vda", other))
    disks.register(ctl, machine, name="other")
    machine.kill()
    restart(vm, folder, vdc="other.qcow2")
    told = ctl.ok("vm", "rescan", "vm")
    assert told["changes"] == [] and "other.qcow2" in warned(told, "disk-left-out")


def test_resized_disk_gets_its_size(ctl, vm, folder):
    vm.kill()
    images.qemu_img("resize", folder / "vda.two.qcow2", "16M")
    vm.start()
    restart(vm, folder)
    told = ctl.ok("vm", "rescan", "vm")
    assert [change["disk"] for change in told["changes"]] == ["vda"] and str(16 * MIB) in told["changes"][0]["what"]
    assert told["vm"]["disks"][0]["virtual_size"] == 16 * MIB
    assert_at_peace(ctl, vm)


def test_drift_is_refused_whole_and_each_is_named(ctl, vm, folder):
    images.create(folder / "vdc.qcow2", "4M")
    restart(vm, folder, vda="vda.one.qcow2", vdb=None, vdc="vdc.qcow2")
    before = database(ctl)
    error = ctl.fails(9, "vm", "rescan", "vm")
    assert error["code"] == "drift" and "chainctl vm rescan vm --accept" in error["hint"]
    assert "vda.one.qcow2" in error["message"] and "'vdb'" in error["message"]
    assert database(ctl) == before
    assert "chainctl vm rescan vm --accept" in ctl.fails(9, "snapshot", "vm", "x")["hint"]


def test_old_image_becomes_the_active_one_and_the_spoiled_are_named(ctl, vm, folder):
    restart(vm, folder, vda="vda.one.qcow2")
    told = ctl.ok("vm", "rescan", "vm", "--accept")
    assert "'two'" in warned(told) and "'one'" not in warned(told)
    assert states(ctl) == {"vda.qcow2": "backing", "vda.one.qcow2": "active", "vda.two.qcow2": "branch"}
    assert told["vm"]["disks"][0]["path"] == str(folder / "vda.one.qcow2")
    vm.qemu_io("vda", "write -P 9 1M 64k")
    assert_at_peace(ctl, vm)
    assert tree(ctl)["vda.after.qcow2"]["parent"] == str(folder / "vda.one.qcow2")


def test_the_base_can_become_the_active_image_again(ctl, vm, folder):
    restart(vm, folder, vda="vda.qcow2", vdb="vdb.qcow2")
    told = ctl.ok("vm", "rescan", "vm", "--accept")
    assert "'one'" in warned(told) and "'two'" in warned(told)
    assert_at_peace(ctl, vm)


def test_overlay_of_somebody_else_comes_into_the_tree(ctl, vm, folder):
    """As virsh or a script makes it: [two] <- [theirs, active]."""
    images.create(folder / "theirs.qcow2", None, backing=folder / "vda.two.qcow2")
    restart(vm, folder, vda="theirs.qcow2")
    told = ctl.ok("vm", "rescan", "vm", "--accept")
    assert warned(told) == ""
    assert tree(ctl)["theirs.qcow2"]["parent"] == str(folder / "vda.two.qcow2")
    assert states(ctl)["vda.two.qcow2"] == "backing" and states(ctl)["theirs.qcow2"] == "active"
    assert told["vm"]["disks"][0]["base"] == str(folder / "vda.qcow2")
    assert_at_peace(ctl, vm)


def test_image_that_has_nothing_to_do_with_the_tree_is_a_second_root(ctl, vm, folder):
    template = images.create(folder / "template.qcow2", "8M")
    images.create(folder / "restored.qcow2", None, backing=template)
    restart(vm, folder, vda="restored.qcow2")
    told = ctl.ok("vm", "rescan", "vm", "--accept")
    assert told["vm"]["disks"][0]["base"] == str(folder / "restored.qcow2")
    assert states(ctl) == {"vda.qcow2": "branch", "vda.one.qcow2": "branch", "vda.two.qcow2": "branch",
                           "template.qcow2": "foreign", "restored.qcow2": "active"}  # fmt: skip
    drawn = ctl.run("tree", "vm", json_output=False).out
    assert all(name in drawn for name in ("vda.two.qcow2", "restored.qcow2", "template.qcow2"))
    assert [one["name"] for one in ctl.ok("list", "vm")["snapshots"]] == ["one", "two"]
    assert_at_peace(ctl, vm)


def test_chain_from_which_an_image_was_merged_away_is_followed(ctl, vm, folder):
    """[vda] <- [one] <- [two]: somebody committed [one] into [vda] behind our back."""
    vm.kill()
    images.qemu_img("commit", "-q", folder / "vda.one.qcow2")
    images.qemu_img("rebase", "-u", "-F", "qcow2", "-b", folder / "vda.qcow2", folder / "vda.two.qcow2")
    (folder / "vda.one.qcow2").unlink()
    restart(vm, folder)
    assert ctl.fails(9, "vm", "rescan", "vm")["code"] == "drift"
    told = ctl.ok("vm", "rescan", "vm", "--accept")
    assert "'one'" in warned(told) and "'two'" in warned(told)
    assert tree(ctl)["vda.two.qcow2"]["parent"] == str(folder / "vda.qcow2")
    assert ctl.run("snapshot", "vm", "after").status == 0


def test_chain_that_was_flattened_is_followed(ctl, vm, folder):
    vm.kill()
    images.qemu_img("rebase", "-b", "", folder / "vda.two.qcow2")
    restart(vm, folder)
    assert "ends above" in ctl.fails(9, "vm", "rescan", "vm")["message"]
    ctl.ok("vm", "rescan", "vm", "--accept")
    assert tree(ctl)["vda.two.qcow2"]["parent"] is None
    assert_at_peace(ctl, vm)


def test_disk_without_snapshots_that_is_gone_is_forgotten(chainctl, vm, folder):
    ctl = chainctl()
    disks.register(ctl, vm)
    restart(vm, folder, vda="vda.qcow2", vdb=None)
    told = ctl.ok("vm", "rescan", "vm", "--accept")
    assert [change["disk"] for change in told["changes"]] == ["vdb"]
    assert [disk["disk"] for disk in told["vm"]["disks"]] == ["vda"]
    assert (folder / "vdb.qcow2").exists()


def test_disk_with_snapshots_that_is_gone_is_kept_and_ignored(ctl, vm, folder):
    restart(vm, folder, vdb=None)
    told = ctl.ok("vm", "rescan", "vm", "--accept")
    assert [(disk["disk"], disk["ignored"]) for disk in told["vm"]["disks"]] == [("vda", False), ("vdb", True)]
    assert len(ctl.ok("show", "vm", "one")["snapshot"]["disks"]) == 2
    assert_at_peace(ctl, vm)


def test_other_uuid_is_taken_over(ctl, vm, folder):
    vm.uuid = UUID.replace("0b", "0c")
    restart(vm, folder)
    error = ctl.fails(9, "vm", "rescan", "vm")
    assert UUID in error["message"] and "--accept" in error["hint"]
    told = ctl.ok("vm", "rescan", "vm", "--accept")
    assert told["vm"]["uuid"] == vm.uuid and told["changes"][0]["disk"] is None
    assert_at_peace(ctl, vm)


def test_what_was_written_to_a_frozen_image_is_accepted_with_a_warning(ctl, vm, folder):
    restart(vm, folder, vda="vda.one.qcow2")
    vm.qemu_io("vda", "write -P 9 1M 64k")
    restart(vm, folder)
    assert ctl.fails(9, "snapshot", "vm", "x")["code"] == "drift"
    told = ctl.ok("vm", "rescan", "vm", "--accept")
    assert "'two'" in warned(told) and "'one'" not in warned(told)
    assert_at_peace(ctl, vm)


def test_image_of_another_vm_is_not_accepted(ctl, vm, qemu, folder):
    images.create(folder / "other.qcow2", "8M")
    machine = qemu(disks.blockdev("vda", folder / "other.qcow2"))
    disks.register(ctl, machine, name="other")
    machine.kill()
    restart(vm, folder, vda="other.qcow2")
    error = ctl.fails(9, "vm", "rescan", "vm", "--accept")
    assert "VM 'other'" in error["message"]
    assert states(ctl)["vda.two.qcow2"] == "active"


def test_vm_that_is_shut_off_cannot_be_rescanned(ctl, vm):
    vm.kill()
    assert ctl.fails(4, "vm", "rescan", "vm")["code"] == "shut-off"


def test_sealed_image_that_becomes_active_is_told_to_be_read_only(chainctl, vm, folder, tmp_path):
    (tmp_path / "seal.conf").write_text("[overlay]\nseal=on\n")
    ctl = chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "seal.conf")})
    disks.register(ctl, vm, "--quiesce", "off")
    ctl.ok("snapshot", "vm", "one")
    os.chmod(folder / "vda.qcow2", 0o644)
    restart(vm, folder, vda="vda.qcow2", vdb="vdb.one.qcow2")
    os.chmod(folder / "vda.qcow2", 0o444)
    assert "chmod u+w" in warned(ctl.ok("vm", "rescan", "vm", "--accept"), "read-only-image")
