"""`check` finds what is wrong and says so in one document with exit 7; `path` in doubt prints no path at all."""
import os
import shutil
import subprocess

import pytest

from documents import PROBLEM, matches, only_document
from support import images
from support.process import program

from cli_vm import contents


def check(vm, status):
    """The problems that check finds, held to their shape."""
    result = vm.chainctl.run("check", "vm1")
    assert result.status == status, result
    document = only_document(result.out)
    assert all(matches(problem, PROBLEM) for problem in document["problems"]), document
    if status == 7:
        assert document["ok"] is False and document["error"]["code"] and document["error"]["message"], document
        assert any(problem["severity"] == "error" for problem in document["problems"])
    else:
        assert document["ok"] is True and "error" not in document
    return document["problems"]


def no_path(vm, statuses, disk="vda"):
    """`path` fails, and stdout is empty; with --json its document has no path."""
    for options in ([], ["--blockdev"]):
        result = vm.chainctl.run("path", "vm1", disk, *options, json_output=False)
        assert result.status in statuses and result.out == "" and result.err, result
    document = only_document(vm.chainctl.run("path", "vm1", disk).out)
    assert document["ok"] is False and "path" not in document and "blockdev" not in document


def external_snapshot(vm, name="vda.external.qcow2"):
    """Another program makes a snapshot of vda behind our back."""
    path = images.create(vm.folder / name, "64M", backing=vm.qemu.monitor().chain("vda")[0])
    monitor = vm.qemu.monitor()
    active = next(s["node-name"] for s in monitor.execute("query-blockstats") if "vda" in s["qdev"])
    monitor.execute("blockdev-add", driver="qcow2", node_name="ext", backing=None, file={"driver": "file", "filename": str(path)})
    monitor.execute("blockdev-snapshot", node=active, overlay="ext")
    return path


def test_vm_that_is_well_has_no_problems(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    assert check(vm, 0) == []


def test_overlay_of_another_program_is_found_and_path_is_in_doubt(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    external_snapshot(vm)
    assert any(problem["disk"] == "vda" and problem["severity"] == "error" for problem in check(vm, 7))
    no_path(vm, (9,))
    before = vm.graph(), contents(vm.folder)
    vm.chainctl.fails(9, "snapshot", "vm1", "t")
    assert (vm.graph(), contents(vm.folder)) == before
    assert vm.chainctl.run("path", "vm1", "vdb").status in (0, 9)


def test_active_image_that_is_missing_is_found(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    os.rename(vm.folder / "vda.s.qcow2", vm.folder / "elsewhere")
    assert any(problem["path"] == str(vm.folder / "vda.s.qcow2") for problem in check(vm, 7))
    no_path(vm, (3, 9))
    states = {image["path"]: image["state"] for image in vm.chainctl.ok("tree", "vm1")["disks"][0]["images"]}
    assert states[str(vm.folder / "vda.s.qcow2")] == "missing"
    vm.chainctl.ok("list", "vm1")


def test_frozen_image_that_is_missing_is_found(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    os.rename(vm.paths["vda"], vm.folder / "elsewhere")
    assert any(problem["path"] == str(vm.paths["vda"]) and problem["disk"] == "vda" for problem in check(vm, 7))
    assert vm.chainctl.run("list", "vm1").status == 0


def test_frozen_image_that_was_written_to_is_found(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    subprocess.run([program("qemu-io"), "-c", "write -P 7 0 64k", vm.paths["vda"]], check=True, capture_output=True)
    problems = vm.chainctl.run("check", "vm1").json["problems"]
    assert any(problem["path"] == str(vm.paths["vda"]) for problem in problems), problems


def test_image_replaced_by_another_of_the_same_name_is_found(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    overlay = vm.folder / "vda.s.qcow2"
    os.unlink(overlay)
    images.create(overlay, "64M")  # no backing image: the guest's data is not below it
    assert any(problem["path"] == str(overlay) for problem in check(vm, 7))
    no_path(vm, (9,))


def test_image_that_is_garbage_is_found_and_no_crash(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    (vm.folder / "vda.s.qcow2").write_bytes(b"QFI\xfb" + b"\xff" * 5000)
    assert any(problem["disk"] == "vda" for problem in check(vm, 7))
    no_path(vm, (1, 4, 9))
    assert vm.chainctl.run("tree", "vm1").status in range(0, 11)


def test_backing_file_that_points_elsewhere_is_found(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    other = vm.folder / "copy.qcow2"
    shutil.copy(vm.paths["vda"], other)
    images.qemu_img("rebase", "-u", "-b", other, "-F", "qcow2", vm.folder / "vda.s.qcow2")
    assert any(problem["disk"] == "vda" for problem in check(vm, 7))
    no_path(vm, (9,))


def test_check_says_the_same_to_people_and_changes_nothing(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    os.unlink(vm.folder / "vda.s.qcow2")
    before = contents(vm.folder), contents(vm.chainctl.state_dir)
    problems = check(vm, 7)
    human = vm.chainctl.run("check", "vm1", json_output=False)
    assert human.status == 7
    assert all(problem["message"] in human.out + human.err for problem in problems), human
    assert (contents(vm.folder), contents(vm.chainctl.state_dir)) == before


def test_unknown_disk_prints_no_path(vm):
    no_path(vm, (3,), disk="vdz")


def test_path_of_a_shut_off_vm_is_its_active_image(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    result = vm.chainctl.run("path", "vm1", "vda", json_output=False)
    assert (result.status, result.out, result.err) == (0, f"{vm.folder / 'vda.s.qcow2'}\n", "")


def test_image_that_another_process_holds_makes_a_dead_vm_unreachable(vm, qemu):
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    qemu(["-blockdev", f"driver=qcow2,node-name=x,file.driver=file,file.filename={vm.folder / 'vda.s.qcow2'}"])
    assert vm.chainctl.ok("vm", "list")["vms"][0]["state"] == "unreachable"
    no_path(vm, (4, 9))
    vm.chainctl.fails(4, "snapshot", "vm1", "t")


@pytest.mark.parametrize("words, status", [
    (["snapshot", "vm1", "s", "--dir", "/nowhere/at/all"], (1, 3, 4)), (["snapshot", "vm1", "s", "--dir", "/dev/null"], (1, 2, 3, 4)),
    (["snapshot", "vm1", "s", "--reuse", "vda=/nowhere/x.qcow2"], (3,)), (["snapshot", "vm1", "s", "--reuse", "vdx=/nowhere/x.qcow2"], (3,)),
])  # fmt: skip
def test_snapshot_that_cannot_be_made_changes_nothing(vm, words, status):
    before = vm.graph(), contents(vm.folder)
    result = vm.chainctl.run(*words)
    assert result.status in status and result.json["error"]["message"], result
    assert (vm.graph(), contents(vm.folder)) == before
    assert vm.chainctl.ok("list", "vm1")["snapshots"] == []


def test_reuse_of_an_image_that_is_too_small_or_in_use_is_refused(vm):
    small = images.create(vm.folder / "small.qcow2", "1M")
    for path in (small, vm.paths["vda"], vm.paths["vdb"]):
        before = vm.graph(), contents(vm.folder)
        result = vm.chainctl.run("snapshot", "vm1", "s", "--disk", "vda", "--reuse", f"vda={path}")
        assert result.status in (1, 2, 9), (path, result)
        assert (vm.graph(), contents(vm.folder)) == before, path
