"""Long paths and awkward ones, a clock that is set back, and two state directories that know one machine."""
import pathlib
import shutil
import signal
import tempfile

import pytest

from support import disks, images, process
from support.chainctl import finish
from support.proxy import Proxy

HEADER_LIMIT = 1023  # bytes that a qcow2 header has for the name of its backing file
PATH_MAX = 4096
AWKWARD = ["with space", "with,comma", 'quo"te', "apos'trophe", "per%cent%s%n", "new\nline", "json:{}", "nbd:localhost:1", "-rf",
           "ünïcode"]  # fmt: skip
LIKE_OPTIONS = ["json:{}", "nbd:localhost:1", "-rf", "with,comma"]


def deep(folder, length, name):
    """A folder so deep that NAME in it has a path of that many bytes."""
    left = length - len(bytes(folder)) - len(name) - 1
    while left > 0:
        step = min(left, 200) if left != 201 else 199
        folder /= "d" * (step - 1)
        left -= step
    folder.mkdir(parents=True)
    assert len(bytes(folder / name)) == length
    return folder


# ---- long paths ----


@pytest.mark.parametrize("length", [HEADER_LIMIT, HEADER_LIMIT + 1, 2000, PATH_MAX - 100])
def test_image_whose_path_is_long_is_snapshotted_or_refused_as_its_overlay_can_name_it(qemu, chainctl, folder, tmp_path, length):
    base = images.create(deep(folder, length, "vda.qcow2") / "vda.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", base)), chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    vm.qemu_io("vda", "write -P 1 0 64k")
    if length > HEADER_LIMIT:
        with disks.unchanged(vm, folder):
            error = ctl.fails(9, "snapshot", "vm", "one", "--dir", tmp_path)
        assert str(HEADER_LIMIT) in error["message"] and error["hint"]
        assert ctl.ok("list", "vm")["snapshots"] == [] and not list(tmp_path.glob("vda.one*"))
    else:
        ctl.ok("snapshot", "vm", "one", "--dir", tmp_path)
        overlay = tmp_path / "vda.one.qcow2"
        assert images.info(overlay)["backing-filename"] == str(base)
        vm.kill()
        assert images.to_raw(overlay, tmp_path / "raw").read_bytes()[:65536] == b"\1" * 65536
    assert ctl.ok("check", "vm")["problems"] == []
    assert ctl.ok("path", "vm", "vda")["path"] == str(base if length > HEADER_LIMIT else overlay)


@pytest.mark.parametrize("length", [HEADER_LIMIT, HEADER_LIMIT + 1, PATH_MAX - 10, PATH_MAX + 200])
def test_overlay_folder_whose_path_is_long_works_for_good_or_is_refused(vm, chainctl, folder, tmp_path, length):
    """An overlay that could never get an overlay of its own would be a dead end."""
    if length < PATH_MAX:
        target = deep(tmp_path, length, "vda.one.qcow2")
    else:
        target = tmp_path / "/".join(["d" * 200] * 21)
    ctl = chainctl()
    disks.register(ctl, vm, "--quiesce", "off")
    before = disks.files(folder), disks.nodes(vm)
    first = ctl.run("snapshot", "vm", "one", "--dir", target)
    if first.status:
        assert first.status in (1, 2, 3, 9) and len(first.json["error"]["message"]) < 3 * PATH_MAX, first
        assert (disks.files(folder), disks.nodes(vm)) == before and ctl.ok("list", "vm")["snapshots"] == []
        assert length > HEADER_LIMIT
    else:
        assert vm.monitor().chain("vda")[0] == str(target / "vda.one.qcow2")
        ctl.ok("snapshot", "vm", "two", "--dir", folder)
        assert len(vm.monitor().chain("vda")) == 3
    assert ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("length", [200, 1500, PATH_MAX - 10])
def test_monitor_whose_path_is_long_is_reached(vm, chainctl, tmp_path, length):
    """A socket's address holds 107 bytes."""
    socket = deep(tmp_path / "s", length, "qmp") / "qmp"
    socket.symlink_to(vm.qmp)
    ctl = chainctl()
    ctl.ok("vm", "add", "vm", "--qmp", socket, "--quiesce", "off")
    ctl.ok("snapshot", "vm", "one")
    assert len(vm.monitor().chain("vda")) == 2 and ctl.ok("check", "vm")["problems"] == []


@pytest.mark.parametrize("length", [300, 1500])
def test_state_directory_whose_path_is_long_works_or_is_refused(vm, chainctl, tmp_path, length):
    """SQLite takes no path of more than 512 bytes."""
    state = deep(tmp_path, length, "state") / "state"
    ctl = chainctl(state)
    result = ctl.run("vm", "add", "vm", "--qmp", vm.qmp, "--quiesce", "off")
    if length > 512:
        assert result.status == 2 and str(state) in result.json["error"]["message"], result
        assert not (state / "chainctl.db").exists()
    else:
        ctl.ok("snapshot", "vm", "one")
        assert len(vm.monitor().chain("vda")) == 2 and (state / "chainctl.db").exists()


def test_paths_that_no_file_can_have_are_refused_and_make_nothing(vm, chainctl, tmp_path):
    long = tmp_path / "/".join(["d" * 200] * 21)
    for ctl, words in (
        (chainctl(), ["vm", "add", "vm", "--qmp", long / "qmp"]),
        (chainctl(), ["vm", "add", "vm", "--qmp", vm.folder / ("q" * 256)]),
        (chainctl(long), ["vm", "add", "vm", "--qmp", vm.qmp]),
    ):
        result = ctl.run(*words)
        assert result.status in (1, 2, 4) and result.json["error"]["message"], result
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("ddd")]


# ---- awkward names ----


@pytest.mark.parametrize("word, relative", [*[(word, False) for word in AWKWARD], *[(word, True) for word in LIKE_OPTIONS]])
def test_awkward_folders_are_taken_as_they_are_called(vm, chainctl, folder, tmp_path, word, relative):
    """For --dir, --state and --qmp at once; relative, where a word could be taken for something else than a file."""
    (tmp_path / word).mkdir()
    short = pathlib.Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))
    try:
        (short / word).symlink_to(vm.qmp)
        place = word if relative else tmp_path / word
        ctl = chainctl(tmp_path / word)
        ctl.state_dir = f"./{word}" if word.startswith("-") and relative else place
        ctl.ok("vm", "add", "vm", "--qmp", f"unix:{short / word}", "--quiesce", "off", cwd=tmp_path)
        ctl.ok("snapshot", "vm", "one", f"--dir={place}", cwd=tmp_path)
        overlay = tmp_path / word / "vda.one.qcow2"
        assert vm.monitor().chain("vda") == [str(overlay), str(folder / "vda.qcow2")]
        assert ctl.ok("path", "vm", "vda", cwd=tmp_path)["path"] == str(overlay)
        ctl.ok("snapshot", "vm", "two", cwd=tmp_path)
        assert images.info(tmp_path / word / "vda.two.qcow2")["backing-filename"] == str(overlay)
        assert ctl.ok("check", "vm", cwd=tmp_path)["problems"] == []
        made = {path.name for path in (tmp_path / word).iterdir()}
        assert {"chainctl.db", "locks", "vda.one.qcow2", "vdb.two.qcow2"} <= made
        assert {path.name for path in tmp_path.iterdir()} == {"images", word}, "and nothing elsewhere"
    finally:
        shutil.rmtree(short)


# ---- the clock ----


def test_order_is_that_of_the_snapshots_though_the_clock_is_set_back(vm, chainctl):
    if not shutil.which("faketime"):
        pytest.skip("faketime is not installed")
    ctl = chainctl(env={"FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    disks.register(ctl, vm, "--quiesce", "off")
    days = {"third": "+0d", "first": "-3d", "second": "-400d"}
    for name, offset in days.items():
        ctl.ok("snapshot", "vm", name, prefix=["faketime", "-f", offset])
    listed = ctl.ok("list", "vm")["snapshots"]
    assert [entry["name"] for entry in listed] == list(days)
    created = [entry["created"] for entry in listed]
    assert created == sorted(created, reverse=True), "the clock did go backwards"
    assert ctl.ok("show", "vm", "latest")["snapshot"]["name"] == "second"
    human = ctl.run("list", "vm", json_output=False).out
    assert sorted(days, key=human.index) == list(days)
    tree = ctl.ok("tree", "vm")["disks"][0]
    names = [name for image in tree["images"] for name in image["snapshots"]]
    assert names == list(days) and tree["active"].endswith(".second.qcow2")
    assert [entry["verb"] for entry in ctl.ok("log", "vm")["operations"]] == ["snapshot"] * 3
    assert ctl.ok("check", "vm")["problems"] == []
    ctl.ok("snapshot", "vm", "now")
    assert ctl.ok("show", "vm", "latest")["snapshot"]["name"] == "now"


def test_default_name_is_free_though_the_clock_stands_still(vm, chainctl):
    if not shutil.which("faketime"):
        pytest.skip("faketime is not installed")
    ctl = chainctl(env={"FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    disks.register(ctl, vm, "--quiesce", "off")
    still = ["faketime", "-f", "2001-02-03 04:05:06"]
    names = [ctl.ok("snapshot", "vm", prefix=still)["snapshot"]["name"] for _ in range(3)]
    assert names == ["20010203T040506Z", "20010203T040506Z-2", "20010203T040506Z-3"]
    assert [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]] == names


# ---- two state directories ----


def test_snapshot_taken_with_one_database_is_drift_for_another(vm, chainctl, folder, tmp_path):
    one, other = chainctl(tmp_path / "one"), chainctl(tmp_path / "other")
    for ctl in (one, other):
        disks.register(ctl, vm, "--quiesce", "off")
    one.ok("snapshot", "vm", "first")
    with disks.unchanged(vm, folder):
        assert other.fails(9, "snapshot", "vm", "second")["code"] == "drift"
        plain = other.run("path", "vm", "vda", json_output=False)
        assert (plain.status, plain.out) == (9, "")
        checked = other.run("check", "vm")
        assert checked.status == 7, checked
        assert {(problem["code"], problem["disk"]) for problem in checked.json["problems"]} >= {
            ("wrong-active-image", "vda"), ("wrong-active-image", "vdb"),
        }  # fmt: skip
    one.ok("snapshot", "vm", "second")
    assert vm.monitor().chain("vda")[0] == str(folder / "vda.second.qcow2")
    assert one.ok("check", "vm")["problems"] == []


def test_two_databases_at_once_end_in_one_chain_that_one_of_them_knows(vm, chainctl, folder, tmp_path):
    """Their locks are not shared; QEMU's monitor serves one of them at a time."""
    both = [chainctl(tmp_path / "one"), chainctl(tmp_path / "other")]
    for ctl in both:
        disks.register(ctl, vm, "--quiesce", "off")
    started = [ctl.start("snapshot", "vm", "same") for ctl in both]
    statuses = [finish(one).status for one in started]
    assert sorted(statuses) == [0, 9], statuses
    winner, loser = (both if statuses[0] == 0 else both[::-1])
    assert [len(vm.monitor().chain(disk)) for disk in ("vda", "vdb")] == [2, 2]
    assert winner.ok("check", "vm")["problems"] == [] and loser.ok("list", "vm")["snapshots"] == []
    made = {path.name for path in folder.iterdir() if path.suffix == ".qcow2"}
    assert made == {"vda.qcow2", "vda.same.qcow2", "vdb.qcow2", "vdb.same.qcow2"}


@pytest.mark.parametrize("moment, count", [("blockdev-add", 2), ("transaction", 1)])
def test_what_a_crashed_operation_left_stops_another_database_and_is_taken_back_by_its_own(vm, chainctl, folder, tmp_path, moment, count):
    answered = []

    def strike(command):
        """Once QEMU has done all of them: what was only sent it may throw away, or do later, when its client hangs up."""
        answered.append(command)
        if running and answered.count(moment) == count:
            running.pop().send_signal(signal.SIGKILL)
            return False
        return True

    one, other, running = chainctl(tmp_path / "one"), chainctl(tmp_path / "other"), []
    disks.register(other, vm, "--quiesce", "off")
    nodes, files = disks.nodes(vm), disks.files(folder)
    with Proxy(vm.folder / "m", vm.qmp, [], after=strike):
        one.ok("vm", "add", "vm", "--qmp", vm.folder / "m", "--quiesce", "off")
        running.append(started := one.start("snapshot", "vm", "crashed"))
        assert finish(started).status == -signal.SIGKILL
    process.wait_until(lambda: set(disks.nodes(vm)) > set(nodes), 60, "a node that was left")
    with disks.unchanged(vm, folder):
        error = other.fails(9, "snapshot", "vm", "mine")
        assert "cc-" in error["message"] or "vda.crashed" in error["message"], error
        assert error["hint"] and other.run("check", "vm").status == 7
        plain = other.run("path", "vm", "vda", json_output=False)
        assert (plain.status, plain.out) == (9, "")
    with Proxy(vm.folder / "m", vm.qmp, []):
        one.ok("recover", "vm")
        assert one.ok("check", "vm")["problems"] == []
    if one.ok("list", "vm")["snapshots"]:  # QEMU had got the transaction all the same
        other.fails(9, "snapshot", "vm", "mine")
    else:
        assert disks.nodes(vm) == nodes and disks.files(folder) == files
        other.ok("snapshot", "vm", "mine")
        assert other.ok("check", "vm")["problems"] == []
