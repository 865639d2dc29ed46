"""The JSON documents: one on stdout, each with the keys, types and order that scripts rely on, in every locale."""
import base64
import os
import re
import subprocess

import pytest

from documents import ID, assert_failure, assert_success, only_document
from support import images

from cli_vm import RegisteredVm, disk_words

VM_VERBS = {
    "vm show": ["vm", "show", "vm1"],
    "vm list": ["vm", "list"],
    "vm set": ["vm", "set", "vm1", "--quiesce", "off"],
    "vm rescan": ["vm", "rescan", "vm1"],
    "vm discover": ["vm", "discover"],
    "snapshot": ["snapshot", "vm1", "again"],
    "list": ["list", "vm1"],
    "show": ["show", "vm1", "first"],
    "tree": ["tree", "vm1"],
    "path": ["path", "vm1", "vda"],
    "log": ["log", "vm1"],
    "check": ["check", "vm1"],
    "doctor": ["doctor", "vm1"],
    "vm remove": ["vm", "remove", "vm1"],
}


@pytest.mark.parametrize("command", VM_VERBS)
def test_document_of_a_command_has_its_keys_and_types_and_stands_alone(vm, command):
    vm.chainctl.ok("snapshot", "vm1", "first", "--disk", "vda", "--tag", "a", "--description", "d")
    result = vm.chainctl.run(*VM_VERBS[command])
    assert result.status == 0, result
    assert_success(command, only_document(result.out))


def test_documents_of_the_database_and_of_a_move_have_their_keys_and_types(vm, chainctl, image_folder, tmp_path):
    vm.chainctl.ok("snapshot", "vm1", "first")
    other = chainctl(tmp_path / "other")
    export = vm.chainctl.run("vm", "export", "vm1")
    (tmp_path / "vm1.json").write_text(export.out)
    assert_success("vm export", only_document(export.out))
    for command, ctl, argument in [
        ("vm import", other, tmp_path / "vm1.json"),
        ("state backup", vm.chainctl, tmp_path / "copy.db"),
        ("state restore", vm.chainctl, tmp_path / "copy.db"),
        ("state rebuild", chainctl(tmp_path / "third"), image_folder),
    ]:
        result = ctl.run(*command.split(), argument)
        assert result.status == 0, result
        assert_success(command, only_document(result.out))


def test_vm_add_document(vm, chainctl, tmp_path):
    result = chainctl(tmp_path / "other").run("vm", "add", "vm1", "--qmp", vm.qemu.qmp)
    document = only_document(result.out)
    assert_success("vm add", document)
    told = document["vm"]
    assert (told["name"], told["state"], told["quiesce"], told["agent"]) == ("vm1", "paused", "auto", None)
    assert told["qmp"].endswith(str(vm.qemu.qmp))
    assert [(disk["disk"], disk["path"], disk["base"]) for disk in told["disks"]] == [
        (name, str(path), str(path)) for name, path in vm.paths.items()
    ]
    assert [(disk["format"], disk["virtual_size"]) for disk in told["disks"]] == [("qcow2", 64 << 20), ("raw", 32 << 20)]


def test_uuid_of_a_vm_is_lower_case(qemu, chainctl, image_folder):
    path = images.create(image_folder / "vda.qcow2", "1M")
    made = qemu(disk_words({"vda": path}), uuid="ABCDEF01-2345-6789-ABCD-EF0123456789")
    told = chainctl().ok("vm", "add", "vm1", "--qmp", made.qmp)["vm"]
    assert told["uuid"] == "abcdef01-2345-6789-abcd-ef0123456789"


def test_vm_list_leaves_the_disks_out(vm):
    (told,) = vm.chainctl.ok("vm", "list")["vms"]
    assert "disks" not in told and told["name"] == "vm1"


def test_snapshot_document_says_what_was_made(vm):
    document = vm.chainctl.ok("snapshot", "vm1", "s", "--tag", "b", "--tag", "a", "--description", "ä \"q\"", "--protect")
    told = document["snapshot"]
    assert_success("snapshot", document)
    assert (told["name"], told["vm"], told["description"]) == ("s", "vm1", 'ä "q"')
    assert sorted(told["tags"]) == ["a", "b"]
    assert told["protected"] is True and told["automatic"] is False
    assert told["consistency"] == "crash" and told["reason"] and told["frozen_us"] is None
    assert document["frozen_us"] is None
    overlays = {"vda": str(vm.folder / "vda.s.qcow2"), "vdb": str(vm.folder / "vdb.s.qcow2")}
    assert told["disks"] == [{"disk": n, "image": str(vm.paths[n]), "overlay": o} for n, o in overlays.items()]
    assert document["active"] == [{"disk": n, "before": str(vm.paths[n]), "after": o} for n, o in overlays.items()]
    assert vm.chainctl.ok("show", "vm1", "s")["snapshot"] == told


def test_disks_stand_in_guest_order_and_not_by_name(qemu, chainctl, image_folder):
    names = ["zeta", "alpha", "mid"]
    paths = {name: images.create(image_folder / f"{name}.qcow2", "1M") for name in names}
    made = RegisteredVm("vm1", qemu(disk_words(paths)), chainctl(), paths)
    told = made.chainctl.ok("vm", "add", "vm1", "--qmp", made.qemu.qmp)
    assert [disk["disk"] for disk in told["vm"]["disks"]] == names
    taken = made.chainctl.ok("snapshot", "vm1", "s", "--disk", "mid", "--disk", "zeta")
    assert [disk["disk"] for disk in taken["snapshot"]["disks"]] == ["zeta", "mid"]
    assert [disk["disk"] for disk in taken["active"]] == ["zeta", "mid"]
    assert [disk["disk"] for disk in made.chainctl.ok("tree", "vm1")["disks"]] == names
    assert [disk["disk"] for disk in made.chainctl.ok("vm", "show", "vm1")["vm"]["disks"]] == names


def test_list_is_oldest_first_and_sized_by_what_is_allocated(vm):
    for name in ("z", "m", "a"):
        vm.chainctl.ok("snapshot", "vm1", name)
    told = vm.chainctl.ok("list", "vm1")["snapshots"]
    assert [snapshot["name"] for snapshot in told] == ["z", "m", "a"]
    for snapshot in told:
        allocated = sum(os.stat(disk["image"]).st_blocks * 512 for disk in snapshot["disks"])
        assert snapshot["size"] == allocated, snapshot


def test_list_of_a_vm_without_snapshots_is_an_empty_array(vm):
    assert vm.chainctl.ok("list", "vm1")["snapshots"] == []
    assert vm.chainctl.ok("log", "vm1")["operations"] == []


def test_tree_document_says_which_image_is_what(vm):
    vm.chainctl.ok("snapshot", "vm1", "one")
    vm.chainctl.ok("snapshot", "vm1", "two", "--disk", "vda")
    vda, vdb = vm.chainctl.ok("tree", "vm1")["disks"]
    f = vm.folder
    assert (vda["active"], vda["base"]) == (str(f / "vda.two.qcow2"), str(f / "vda.qcow2"))
    assert [(i["path"], i["parent"], i["state"], i["snapshots"]) for i in vda["images"]] == [
        (str(f / "vda.qcow2"), None, "backing", ["one"]),
        (str(f / "vda.one.qcow2"), str(f / "vda.qcow2"), "backing", ["two"]),
        (str(f / "vda.two.qcow2"), str(f / "vda.one.qcow2"), "active", []),
    ]
    for image in vda["images"] + vdb["images"]:
        assert image["allocated"] == os.stat(image["path"]).st_blocks * 512
    assert [image["format"] for image in vdb["images"]] == ["raw", "qcow2"]


def test_image_below_the_base_is_foreign(qemu, chainctl, image_folder):
    golden = images.create(image_folder / "golden.qcow2", "8M")
    path = images.create(image_folder / "vda.qcow2", None, backing=golden)
    made = qemu(disk_words({"vda": path}))
    assert chainctl().ok("vm", "add", "vm1", "--qmp", made.qmp)["vm"]["disks"][0]["base"] == str(path)
    (vda,) = chainctl().ok("tree", "vm1")["disks"]
    assert [(i["path"], i["state"]) for i in vda["images"]] == [(str(golden), "foreign"), (str(path), "active")]
    assert vda["base"] == str(path)


def test_log_is_in_order_and_names_the_caller(vm):
    vm.chainctl.ok("snapshot", "vm1", "one")
    vm.chainctl.fails(3, "snapshot", "vm1", "two", "--disk", "vdx")
    vm.chainctl.ok("snapshot", "vm1", "three")
    told = vm.chainctl.ok("log", "vm1")["operations"]
    done = [operation for operation in told if operation["state"] == "done"]
    assert [operation["verb"] for operation in done] == ["snapshot", "snapshot"]
    assert [operation["started"] for operation in told] == sorted(operation["started"] for operation in told)
    assert all(operation["ended"] and operation["error"] is None and operation["by"] for operation in done)


def test_path_document_and_its_line_are_what_qemu_has_open(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    told = vm.chainctl.ok("path", "vm1", "vdb")
    assert (told["path"], told["format"]) == (vm.qemu.monitor().chain("vdb")[0], "qcow2")
    alone = vm.chainctl.run("path", "vm1", "vdb", json_output=False)
    assert (alone.status, alone.out, alone.err) == (0, told["path"] + "\n", "")
    blockdev = vm.chainctl.run("path", "vm1", "vdb", "--blockdev", json_output=False)
    assert (blockdev.out, blockdev.err) == (told["blockdev"] + "\n", "")


def test_commas_of_a_path_are_escaped_in_the_blockdev_value(qemu, chainctl, tmp_path):
    folder = tmp_path / "a,b"
    folder.mkdir()
    path = images.create(folder / "c,d.raw", "1M", "raw")
    made = qemu(disk_words({"vda": path}))
    chainctl().ok("vm", "add", "vm1", "--qmp", made.qmp)
    told = chainctl().ok("path", "vm1", "vda")
    assert told["path"] == str(path)
    assert "file.filename=" + str(path).replace(",", ",,") in told["blockdev"]
    assert qemu(["-blockdev", f"{told['blockdev']},node-name=n,read-only=on,file.locking=off"]).pid


def test_path_that_is_not_utf8_comes_with_its_bytes(qemu, chainctl, image_folder):
    name = os.fsencode(image_folder) + b"/\xff\xfe.raw"
    with open(name, "wb") as file:
        file.truncate(1 << 20)
    link = image_folder / "plain.raw"
    os.link(name, link)
    file = os.fsdecode(name)
    made = qemu(["-drive", f"if=none,format=raw,id=d0,file={file}", "-device", "virtio-blk-pci,drive=d0,id=vda"])
    result = chainctl().run("vm", "add", "vm1", "--qmp", made.qmp)
    if result.status != 0:  # QEMU itself says such a name in broken JSON; a refusal is then right, a crash is not
        assert result.status in (1, 9), result
        assert_failure("vm add", only_document(result.out))
        return
    (disk,) = only_document(result.out)["vm"]["disks"]
    assert base64.b64decode(disk["path_b64"]) == name
    disk["path"].encode("utf-8")


LOCALES = ["de_DE.UTF-8", "ar_EG.UTF-8"]


@pytest.fixture(scope="session", params=LOCALES)
def foreign_locale(request, tmp_path_factory):
    """The environment of a locale that writes numbers in another way, made here where localedef can."""
    folder = tmp_path_factory.mktemp("locales")
    name = request.param
    try:
        words = ["localedef", "-c", "-i", name.split(".")[0], "-f", "UTF-8", folder / name]
        subprocess.run(words, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no localedef")
    if not (folder / name).exists():
        pytest.skip(f"localedef has no source of {name}")
    return {"LOCPATH": str(folder), "LC_ALL": name, "LANG": name, "LANGUAGE": name[:2]}


def test_numbers_and_times_are_the_same_in_every_locale(vm, foreign_locale):
    vm.chainctl.ok("snapshot", "vm1", "s")
    before = [vm.chainctl.run(*VM_VERBS[verb]).out for verb in ("list", "tree", "vm show", "log", "check")]
    vm.chainctl.env.update(foreign_locale)
    assert [vm.chainctl.run(*VM_VERBS[verb]).out for verb in ("list", "tree", "vm show", "log", "check")] == before


def test_timezone_of_the_caller_does_not_reach_json(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    utc = vm.chainctl.run("list", "vm1").out
    vm.chainctl.env["TZ"] = "Asia/Kolkata"
    assert vm.chainctl.run("list", "vm1").out == utc


def test_human_times_are_local_with_their_offset(vm):
    created = vm.chainctl.ok("snapshot", "vm1", "s")["snapshot"]["created"]
    vm.chainctl.env["TZ"] = "XXX-05:30"
    for words in (["list", "vm1"], ["show", "vm1", "s"], ["log", "vm1"]):
        shown = vm.chainctl.run(*words, json_output=False).out
        assert re.search(r"\+05:?30", shown), f"{words}: {shown}"
        assert created[11:16] not in shown, f"{words} shows UTC: {shown}"


def test_ids_of_snapshots_are_those_that_show_finds(vm):
    made = vm.chainctl.ok("snapshot", "vm1", "s")["snapshot"]["id"]
    assert ID.fullmatch(made)
    assert vm.chainctl.ok("show", "vm1", made)["snapshot"]["name"] == "s"
    assert vm.chainctl.ok("show", "vm1", made.upper()[:8].lower())["snapshot"]["id"] == made


def test_relative_paths_become_absolute(vm, chainctl, tmp_path):
    other = chainctl(tmp_path / "other")
    told = other.ok("vm", "add", "rel", "--qmp", vm.qemu.qmp.name, cwd=vm.qemu.folder)["vm"]
    assert told["qmp"] == str(vm.qemu.qmp)
    overlays = tmp_path / "overlays"
    overlays.mkdir()
    taken = other.ok("snapshot", "rel", "s", "--dir", "overlays", cwd=tmp_path)["snapshot"]
    assert {os.path.dirname(disk["overlay"]) for disk in taken["disks"]} == {str(overlays)}


def test_unix_prefix_of_the_monitor_is_understood(vm, chainctl, tmp_path):
    told = chainctl(tmp_path / "other").ok("vm", "add", "u", "--qmp", f"unix:{vm.qemu.qmp}")["vm"]
    assert told["qmp"].removeprefix("unix:") == str(vm.qemu.qmp)


def test_floppy_and_cdrom_are_no_disks_and_it_is_said(qemu, chainctl, image_folder):
    vda = images.create(image_folder / "vda.qcow2", "1M")
    iso = images.create(image_folder / "cd.raw", "1M", "raw")
    words = ["-drive", f"if=none,id=cd0,format=raw,media=cdrom,file={iso}", "-device", "ide-cd,drive=cd0,id=cd"]
    made = qemu(disk_words({"vda": vda}) + words)
    document = chainctl().ok("vm", "add", "vm1", "--qmp", made.qmp)
    assert [disk["disk"] for disk in document["vm"]["disks"]] == ["vda"]
    shown = chainctl().run("vm", "show", "vm1", json_output=False)
    assert re.search(r"\bcd0?\b", shown.out + shown.err), "the CD-ROM is not said"


def test_disk_without_an_id_is_named_by_its_block_backend(qemu, chainctl, image_folder):
    path = images.create(image_folder / "vda.qcow2", "1M")
    made = qemu(["-drive", f"if=none,id=drive0,format=qcow2,file={path}", "-device", "virtio-blk-pci,drive=drive0"])
    assert [d["disk"] for d in chainctl().ok("vm", "add", "vm1", "--qmp", made.qmp)["vm"]["disks"]] == ["drive0"]


def test_disk_without_any_name_is_named_by_its_own_part_of_the_qom_path(qemu, chainctl, image_folder):
    path = images.create(image_folder / "vda.qcow2", "1M")
    words = ["-blockdev", f"driver=qcow2,node-name=n,file.driver=file,file.filename={path}"]
    made = qemu(words + ["-device", "virtio-blk-pci,drive=n"])
    (disk,) = chainctl().ok("vm", "add", "vm1", "--qmp", made.qmp)["vm"]["disks"]
    assert re.fullmatch(r"device\[\d+\]", disk["disk"])
    assert chainctl().ok("path", "vm1", disk["disk"])["path"] == str(path)
