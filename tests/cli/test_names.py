"""Which VM, snapshot and disk a command means, and which names may be given."""
import datetime
import sqlite3

import pytest

from documents import ID
from support import images

from cli_vm import disk_words

BARE_COMMANDS = [["snapshot"], ["list"], ["tree"], ["log"], ["check"], ["doctor"]]


@pytest.fixture
def two_vms(vm, qemu):
    """`vm1` and `other`, both registered."""
    other = qemu(disk_words({"vda": images.create(vm.folder / "other.qcow2", "1M")}))
    vm.chainctl.ok("vm", "add", "other", "--qmp", other.qmp)
    return vm


@pytest.mark.parametrize("words", BARE_COMMANDS, ids=" ".join)
def test_the_only_vm_need_not_be_named(vm, words):
    assert vm.chainctl.ok(*words) is not None


@pytest.mark.parametrize("words", BARE_COMMANDS, ids=" ".join)
def test_one_of_several_vms_must_be_named(two_vms, words):
    before = two_vms.untouched()
    error = two_vms.chainctl.fails(2, *words)
    assert "vm1" in f"{error['message']} {error['hint']}" and "other" in f"{error['message']} {error['hint']}"
    assert two_vms.untouched() == before


@pytest.mark.parametrize("words", BARE_COMMANDS, ids=" ".join)
def test_without_any_vm_it_is_exit_3_and_nothing_is_made(chainctl, tmp_path, words):
    chainctl(tmp_path / "none").fails(3, *words)
    assert not (tmp_path / "none").exists()


def test_vm_of_the_environment_is_meant_where_none_is_named(two_vms):
    two_vms.chainctl.env["CHAINCTL_VM"] = "other"
    assert two_vms.chainctl.ok("snapshot")["snapshot"]["vm"] == "other"
    assert len(two_vms.chainctl.ok("list")["snapshots"]) == 1
    assert two_vms.chainctl.ok("list", "vm1")["snapshots"] == [], "the VM that is named goes first"


def test_vm_of_the_environment_that_does_not_exist_is_exit_3_and_no_other_is_taken(vm):
    vm.chainctl.env["CHAINCTL_VM"] = "vn1"
    error = vm.chainctl.fails(3, "snapshot")
    assert "vn1" in error["message"] and "vm1" in f"{error['message']} {error['hint']}"
    assert vm.chainctl.ok("list", "vm1")["snapshots"] == []


def test_empty_vm_of_the_environment_is_none(vm):
    vm.chainctl.env["CHAINCTL_VM"] = ""
    assert vm.chainctl.ok("list")["snapshots"] == []


def test_snapshot_of_an_unknown_vm_is_never_a_snapshot_of_that_name(vm):
    before = vm.untouched()
    for words in (["snapshot", "vm2"], ["snapshot", "vm2", "name"], ["snapshot", "--dry-run", "vm2"], ["snapshot", "VM1"]):
        error = vm.chainctl.fails(3, *words)
        assert "'vm1'" in f"{error['message']} {error['hint']}", error
    vm.chainctl.env["CHAINCTL_VM"] = "vm1"
    vm.chainctl.fails(3, "snapshot", "vm2")
    assert vm.untouched() == before


@pytest.mark.parametrize("words", [["path", "vda"], ["show", "s"], ["guest", "ping"]], ids=" ".join)
def test_vm_may_not_be_left_out_where_another_argument_is_given(vm, words):
    vm.chainctl.ok("snapshot", "vm1", "s")
    for environment in ({}, {"CHAINCTL_VM": "vm1"}):
        vm.chainctl.env.update(environment)
        result = vm.chainctl.run(*words)
        assert result.status in (2, 3), result
        assert result.json["ok"] is False


@pytest.mark.parametrize("words", [["list", "vm"], ["show", "vm", "s"], ["path", "vm", "vda"], ["tree", "mv1"], ["log", "vm11"],
                                   ["check", "vn1"], ["guest", "vm2", "ping"], ["vm", "show", "vm2"], ["vm", "remove", "vm2"]],
                         ids=" ".join)  # fmt: skip
def test_mistyped_vm_is_exit_3_with_the_nearest(shared_vm, words):
    error = shared_vm.chainctl.fails(3, *words)
    assert "'vm1'" in f"{error['message']} {error['hint']}", error


def test_name_that_resembles_no_vm_gets_no_guess(shared_vm):
    error = shared_vm.chainctl.fails(3, "list", "production-database")
    assert "did you mean" not in f"{error['message']} {error['hint']}" and "only 'vm1'" in error["message"]


def test_mistyped_snapshot_is_exit_3_with_the_nearest(vm):
    vm.chainctl.ok("snapshot", "vm1", "before-upgrade")
    error = vm.chainctl.fails(3, "show", "vm1", "before-upgade")
    assert "'before-upgrade'" in f"{error['message']} {error['hint']}"


@pytest.mark.parametrize("words", [["path", "vm1", "vad"], ["snapshot", "vm1", "--disk", "vad"], ["snapshot", "vm1", "--exclude", "vad"]],
                         ids=" ".join)  # fmt: skip
def test_mistyped_disk_is_exit_3_with_the_nearest(shared_vm, words):
    before = shared_vm.untouched()
    error = shared_vm.chainctl.fails(3, *words)
    assert "'vda'" in f"{error['message']} {error['hint']}"
    assert shared_vm.untouched() == before


def test_one_wrong_disk_of_two_fails_the_whole(shared_vm):
    before = shared_vm.untouched()
    shared_vm.chainctl.fails(3, "snapshot", "vm1", "s", "--disk", "vda", "--disk", "nope")
    assert shared_vm.untouched() == before


def test_excluding_every_disk_is_refused(shared_vm):
    before = shared_vm.untouched()
    result = shared_vm.chainctl.run("snapshot", "vm1", "s", "--exclude", "vda", "--exclude", "vdb")
    assert result.status in (2, 3, 9) and result.json["ok"] is False, result
    assert shared_vm.untouched() == before


GOOD_NAMES = ["a", "0", "A.b_c-d", "x" * 64, "Base", "base2", "1.0", "latest2", "ACTIVE"]
BAD_NAMES = ["base", "none", "active", "latest", "", ".a", "-a", "_a", "a b", "a/b", "../a", "ä", "x" * 65, "a\n", "a:b", "a,b", "a*"]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_good_name_is_taken(vm, chainctl, tmp_path, name):
    assert vm.chainctl.ok("snapshot", "vm1", name)["snapshot"]["name"] == name
    assert vm.chainctl.ok("show", "vm1", name)["snapshot"]["name"] == name
    assert (vm.folder / f"vda.{name}.qcow2").exists()
    other = chainctl(tmp_path / "other")
    assert other.ok("vm", "add", name, "--qmp", vm.qemu.qmp)["vm"]["name"] == name
    assert other.ok("vm", "show", name)["vm"]["name"] == name


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_bad_name_is_refused_with_exit_2_and_nothing_is_made(shared_vm, name):
    before = shared_vm.untouched()
    shared_vm.chainctl.fails(2, "snapshot", "vm1", "--", name)
    shared_vm.chainctl.fails(2, "vm", "add", "--qmp", shared_vm.qemu.qmp, "--", name)
    assert shared_vm.untouched() == before


def test_name_of_a_snapshot_that_exists_is_refused(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    before = vm.graph(), vm.chainctl.ok("list", "vm1"), sorted(vm.folder.iterdir())
    result = vm.chainctl.run("snapshot", "vm1", "s")
    assert result.status in (1, 2, 9), result
    assert "'s'" in result.json["error"]["message"]
    assert (vm.graph(), vm.chainctl.ok("list", "vm1"), sorted(vm.folder.iterdir())) == before


def test_name_of_a_vm_that_exists_is_refused(vm, qemu):
    other = qemu(disk_words({"vda": images.create(vm.folder / "other.qcow2", "1M")}))
    before = vm.chainctl.ok("vm", "list")
    result = vm.chainctl.run("vm", "add", "vm1", "--qmp", other.qmp)
    assert result.status in (1, 2, 9), result
    assert "vm1" in result.json["error"]["message"] and "`chainctl vm set vm1`" in result.json["error"]["hint"]
    assert vm.chainctl.ok("vm", "list") == before


@pytest.fixture
def still(vm):
    """Words before chainctl for which the clock stands at half past seven in the evening, in Tokyo."""
    vm.chainctl.env |= {"TZ": "Asia/Tokyo", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    return ["faketime", "-f", "2026-01-02 19:30:05"]


def test_default_name_is_the_time_in_utc_and_is_made_unique(vm, still):
    told = [vm.chainctl.ok("snapshot", "vm1", prefix=still)["snapshot"] for _ in range(4)]
    assert [snapshot["name"] for snapshot in told] == ["20260102T103005Z", *(f"20260102T103005Z-{number}" for number in (2, 3, 4))]
    assert {snapshot["created"][:19] for snapshot in told} == {"2026-01-02T10:30:05"}


def test_default_name_is_the_time_of_the_snapshot(vm):
    before = datetime.datetime.now(datetime.timezone.utc)
    name = vm.chainctl.ok("snapshot", "vm1")["snapshot"]["name"]
    assert f"{before:%Y%m%dT%H%M%SZ}" <= name <= f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%SZ}"


def test_default_name_avoids_a_name_that_the_user_took(vm, still):
    vm.chainctl.ok("snapshot", "vm1", "20260102T103005Z", "--disk", "vdb")
    assert vm.chainctl.ok("snapshot", "vm1", "--disk", "vdb", prefix=still)["snapshot"]["name"] == "20260102T103005Z-2"


def test_overlay_avoids_a_file_that_exists(vm):
    taken = vm.folder / "vda.s.qcow2"
    taken.write_bytes(b"mine")
    told = vm.chainctl.ok("snapshot", "vm1", "s")["snapshot"]
    assert {disk["disk"]: disk["overlay"] for disk in told["disks"]} == {
        "vda": str(vm.folder / "vda.s-2.qcow2"), "vdb": str(vm.folder / "vdb.s.qcow2")}  # fmt: skip
    assert taken.read_bytes() == b"mine"


def test_overlay_keeps_the_stem_of_the_base_down_the_chain(vm):
    for name in ("a", "b", "c"):
        vm.chainctl.ok("snapshot", "vm1", name)
    assert vm.chainctl.ok("path", "vm1", "vda")["path"] == str(vm.folder / "vda.c.qcow2")


def test_latest_is_the_newest_by_sequence(vm):
    error = vm.chainctl.fails(3, "show", "vm1", "latest")
    assert "latest" in error["message"] or "no snapshot" in error["message"]
    for name in ("z", "a"):
        vm.chainctl.ok("snapshot", "vm1", name)
    assert vm.chainctl.ok("show", "vm1", "latest")["snapshot"]["name"] == "a"


def test_snapshot_is_found_by_a_unique_prefix_of_its_id_of_four_or_more(vm):
    made = vm.chainctl.ok("snapshot", "vm1", "s")["snapshot"]["id"]
    for length in (4, 8, 13, 35, 36):
        assert vm.chainctl.ok("show", "vm1", made[:length])["snapshot"]["name"] == "s", length
    vm.chainctl.fails(3, "show", "vm1", made[:3])
    vm.chainctl.fails(3, "show", "vm1", made[:7] + ("0" if made[7] != "0" else "1"))


def test_prefix_of_two_ids_is_refused_and_both_are_told(vm):
    for name in ("one", "two"):
        vm.chainctl.ok("snapshot", "vm1", name)
    with sqlite3.connect(vm.chainctl.state_dir / "chainctl.db") as database:
        for name, letter in (("one", "1"), ("two", "2")):
            database.execute("UPDATE snapshot SET id = ? WHERE name = ?", (f"abcd0000-0000-4000-8000-00000000000{letter}", name))
    database.close()
    result = vm.chainctl.run("show", "vm1", "abcd")
    assert result.status in (2, 3, 9) and result.json["ok"] is False, result
    told = f"{result.json['error']['message']} {result.json['error']['hint']}"
    assert "one" in told and "two" in told, told
    assert vm.chainctl.ok("show", "vm1", "abcd0000-0000-4000-8000-000000000002")["snapshot"]["name"] == "two"


def test_name_goes_before_a_prefix_of_an_id(vm):
    made = vm.chainctl.ok("snapshot", "vm1", "one")["snapshot"]["id"]
    assert ID.fullmatch(made)
    vm.chainctl.ok("snapshot", "vm1", made[:6])
    assert vm.chainctl.ok("show", "vm1", made[:6])["snapshot"]["name"] == made[:6]
    assert vm.chainctl.ok("show", "vm1", made[:8])["snapshot"]["name"] == "one"


def test_snapshot_of_another_vm_is_not_found(two_vms):
    made = two_vms.chainctl.ok("snapshot", "other", "theirs")["snapshot"]
    two_vms.chainctl.fails(3, "show", "vm1", "theirs")
    two_vms.chainctl.fails(3, "show", "vm1", made["id"])
    assert two_vms.chainctl.ok("list", "vm1")["snapshots"] == []


def test_glob_in_a_name_matches_nothing(vm):
    vm.chainctl.ok("snapshot", "vm1", "abcd")
    for pattern in ("a*", "____", "%%%%", "????"):
        vm.chainctl.fails(3, "show", "vm1", pattern)


def test_same_image_is_not_registered_twice(shared_vm):
    before = shared_vm.chainctl.ok("vm", "list")
    error = shared_vm.chainctl.fails(9, "vm", "add", "twin", "--qmp", shared_vm.qemu.qmp)
    assert "is that of VM 'vm1'" in error["message"] and "`chainctl vm set vm1`" in error["hint"]
    assert shared_vm.chainctl.ok("vm", "list") == before


def test_removed_vm_is_forgotten_and_its_images_stay(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    before = sorted(vm.folder.iterdir())
    document = vm.chainctl.ok("vm", "remove", "vm1")
    assert document["vm"]["name"] == "vm1"
    assert sorted(vm.folder.iterdir()) == before
    assert vm.chainctl.ok("vm", "list")["vms"] == []
    vm.chainctl.fails(3, "list", "vm1")
    assert vm.chainctl.ok("vm", "add", "vm1", "--qmp", vm.qemu.qmp)["vm"]["disks"][0]["path"] == str(vm.folder / "vda.s.qcow2")
    assert vm.chainctl.ok("list", "vm1")["snapshots"] == []


def test_tags_are_kept_once_each_and_empty_ones_refused(vm):
    assert vm.chainctl.ok("snapshot", "vm1", "s", "--tag", "a", "--tag", "a")["snapshot"]["tags"] == ["a"]
    vm.chainctl.fails(2, "snapshot", "vm1", "t", "--tag", "")


def test_ignored_disk_is_left_alone_unless_it_is_named(vm, chainctl, tmp_path):
    other = chainctl(tmp_path / "other")
    other.ok("vm", "add", "i", "--qmp", vm.qemu.qmp, "--ignore-disk", "vdb")
    assert [d["disk"] for d in other.ok("snapshot", "i", "s")["snapshot"]["disks"]] == ["vda"]
    assert [d["disk"] for d in other.ok("snapshot", "i", "t", "--disk", "vdb")["snapshot"]["disks"]] == ["vdb"]
    error = chainctl(tmp_path / "third").fails(3, "vm", "add", "i", "--qmp", vm.qemu.qmp, "--ignore-disk", "vdx")
    assert "vdx" in error["message"]


@pytest.mark.parametrize("name", ["v da", "1a", "a,b", "a{b}", "a\nb", "v\udcff"], ids=ascii)
def test_disk_name_that_qemu_could_not_have_is_exit_2(chainctl, tmp_path, name):
    image = images.create(tmp_path / "disk.qcow2", "1M")
    state = chainctl(tmp_path / "state")
    error = state.fails(2, "vm", "add", "web", "--qmp", tmp_path / "none", "--disk", f"{name}={image}")
    assert "name for a disk" in error["message"]
    assert state.ok("vm", "list")["vms"] == []
