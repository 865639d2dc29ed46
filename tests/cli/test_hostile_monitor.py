"""A monitor that lies, stalls or dies: a clean error within the time, no crash, and nothing that has changed."""
import contextlib
import json
import time

import pytest

from documents import only_document
from support.chainctl import finish
from support.qmp import Qmp
from support.storage import fleet

from cli_vm import contents, file_names, point_at
from peers import GREETING, proxy, says, scripted_monitor

SECONDS = 0.5
PATIENCE = 6  # for all of a run whose peer is silent: its time-outs, and a machine that is busy
UNHURRIED = 20  # where the peer answers, which a machine that is busy must not be taken for silence


def run_in_time(chainctl, *words, statuses, seconds=SECONDS):
    """A run against a bad peer: in time, by itself, with one of these statuses and one document. Returns its Result."""
    started = time.monotonic()
    result = chainctl.run(*words, "--timeout", str(seconds), timeout=PATIENCE + 50)
    took = time.monotonic() - started
    assert result.status in statuses, result
    assert took < PATIENCE - SECONDS + seconds, f"{took:.1f} s with --timeout {seconds}: {result}"
    document = only_document(result.out)
    if result.status:
        assert document["ok"] is False and document["error"]["message"].strip(), result
        assert len(document["error"]["message"]) < 4000, "an error message repeats what the peer said"
    return result


DEEP = b"[" * 200_000
BAD_GREETINGS = {
    "no greeting": (),
    "garbage": (b"\x00\x01\xff\xfe garbage\r\n",),
    "http": (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
    "empty lines": (b"\r\n\r\n\r\n",),
    "not an object": (b"[1,2,3]\r\n",),
    "a number": (b"42\r\n",),
    "an object of another kind": (b'{"hello": "world"}\r\n',),
    "greeting of wrong types": (b'{"QMP": 7}\r\n',),
    "null greeting": (b'{"QMP": null}\r\n',),
    "version of wrong types": (b'{"QMP": {"version": {"qemu": "ten"}, "capabilities": 3}}\r\n',),
    "half a greeting": (GREETING[:40],),
    "deeply nested": (DEEP, b"\r\n"),
    "two gigabytes that never end": (b'{"QMP": "' + b"x" * (8 << 20),),
    "NUL inside": (b'{"QMP": {"ver\x00sion": 1}}\r\n',),
    "only a byte order mark": (b"\xef\xbb\xbf\r\n",),
    "greeting and then silence": (GREETING,),
    "greeting and garbage": (GREETING, b"\xff\xff\xff\r\n{{{{\r\n"),
    "greeting and an answer to nothing": (GREETING, b'{"return": {}, "id": "never asked"}\r\n'),
    "greeting twice": (GREETING, GREETING),
}


@pytest.mark.parametrize("then_close", [False, True], ids=["and stays", "and closes"])
def test_peer_that_is_no_monitor_is_exit_4_or_1_in_time(chainctl, then_close):
    """All such peers at once, since most of the time is spent waiting for them."""
    with contextlib.ExitStack() as stack:
        peers = {what: stack.enter_context(says(*said, then_close=then_close)) for what, said in BAD_GREETINGS.items()}
        begun = time.monotonic()
        words = ["--timeout", str(SECONDS)]
        started = {what: chainctl().start("vm", "add", f"vm{number}", "--qmp", peer.path, *words)
                   for number, (what, peer) in enumerate(peers.items())}  # fmt: skip
        results = {what: finish(one) for what, one in started.items()}
        assert time.monotonic() - begun < PATIENCE + 4
    for what, result in results.items():
        assert result.status in (1, 4), (what, result)
        error = only_document(result.out)["error"]
        assert len(error["message"]) < 4000 and (str(peers[what].path) in error["message"] or "'vm" in error["message"]), (what, error)
    assert chainctl().ok("vm", "list")["vms"] == []


def test_registered_vm_whose_monitor_is_silent_is_unreachable_and_readers_say_so(vm):
    vm.chainctl.ok("snapshot", "vm1", "old")
    with says() as peer:
        point_at(vm, peer.path)
        before = vm.untouched()
        told = run_in_time(vm.chainctl, "vm", "list", statuses=(0,))
        assert told.json["vms"][0]["state"] == "unreachable"
        assert [s["name"] for s in run_in_time(vm.chainctl, "list", "vm1", statuses=(0,)).json["snapshots"]] == ["old"]
        run_in_time(vm.chainctl, "snapshot", "vm1", "new", statuses=(4,))
        run_in_time(vm.chainctl, "path", "vm1", "vda", statuses=(4,))
        run_in_time(vm.chainctl, "check", "vm1", statuses=(4, 7))
        assert vm.untouched() == before


def test_list_of_vms_shows_the_others_and_waits_once_for_all_that_are_silent(chainctl, image_folder):
    """Half of them say nothing, or nothing after their greeting; one after the other, they would cost four times as much."""
    ctl, seconds, silent = chainctl(), 4, ("a", "c", "e", "f")
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(fleet(ctl, image_folder, "abcdefgh"))
        for name in silent:
            peer = stack.enter_context(says(GREETING) if name == "f" else says())
            made[name].qmp.unlink()
            made[name].qmp.symlink_to(peer.path)
        for words in (["vm", "list"], ["check", "--all"]):
            begun = time.monotonic()
            told = ctl.run(*words, "--timeout", str(seconds), timeout=60)
            assert seconds <= time.monotonic() - begun < 2 * seconds, told
            if words == ["vm", "list"]:
                assert told.status == 0 and [one["code"] for one in told.json["warnings"]] == ["unreachable"] * len(silent)
                assert {vm["name"]: vm["state"] for vm in told.json["vms"]} == {
                    name: "unreachable" if name in silent else "running" for name in "abcdefgh"}  # fmt: skip
            else:
                assert [one["vm"] for one in told.json["results"] if one["ok"]] == list("bdgh")


LIES = {
    "a string": "lie", "a huge number": 1e300, "null": None, "an empty object": {}, "an array of null": [None],
    "an array of empty objects": [{}], "nested arrays": [[[]]], "a huge string": "x" * 300_000,
}  # fmt: skip
ASKED = ["query-block", "query-named-block-nodes", "query-status", "query-jobs", "query-migrate", "qom-get", "query-blockstats", "query-uuid",
         "query-qmp-schema"]  # fmt: skip


@pytest.mark.parametrize("command", ASKED)
def test_wrong_types_in_a_reply_are_no_crash_and_change_nothing(vm, command):
    """Every lie for one command; what is never asked may lie as it likes, and then the run is right."""
    lie = None
    told = []

    def change(asked, reply):
        if asked != command or "return" not in reply:
            return reply
        told.append(asked)
        return {**reply, "return": lie}

    with proxy(vm.qemu.qmp, change) as peer:
        point_at(vm, peer.path)
        before = vm.untouched()
        for lie in LIES.values():
            told.clear()
            result = run_in_time(vm.chainctl, "snapshot", "vm1", "s", "--dry-run", statuses=range(0, 11))
            assert result.status or not told or command not in ("query-block", "query-named-block-nodes"), (lie, result)
            run_in_time(vm.chainctl, "vm", "show", "vm1", statuses=range(0, 11))
        assert vm.untouched() == before


def spoil(value, key, replacement):
    """The document with every value of that key replaced."""
    if isinstance(value, dict):
        return {name: replacement if name == key else spoil(part, key, replacement) for name, part in value.items()}
    return [spoil(part, key, replacement) for part in value] if isinstance(value, list) else value


KEYS = ["image", "filename", "virtual-size", "node-name", "device", "qdev", "inserted", "file", "drv", "format", "backing-image", "ro", "type", "name",
        "cache", "direct", "actual-size", "backing_file", "status", "running", "children", "detect_zeroes"]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_wrong_type_of_one_key_anywhere_is_no_crash_and_changes_nothing(vm, key):
    wrong = None

    def change(_, reply):
        return {**reply, "return": spoil(reply["return"], key, wrong)} if "return" in reply else reply

    with proxy(vm.qemu.qmp, change) as peer:
        point_at(vm, peer.path)
        before = vm.untouched()
        for wrong in (-1, "", [], {}, None, "\x1b[31m\u0000x"):
            run_in_time(vm.chainctl, "snapshot", "vm1", "s", "--dry-run", statuses=range(0, 11))
        run_in_time(vm.chainctl, "check", "vm1", statuses=range(0, 11))
        assert vm.untouched() == before


FIRST = ["query-status", "query-uuid", "query-migrate", "query-jobs", "x-debug-query-block-graph", "qom-get", "query-named-block-nodes",
         "query-block", "query-blockstats", "blockdev-add", "transaction"]  # fmt: skip
SECOND = ["query-status", "query-uuid", "query-migrate", "query-jobs", "x-debug-query-block-graph", "qom-get", "blockdev-add", "transaction"]
DONE_WITHOUT = {"qom-get"}
STEPS = [("first", step) for step in FIRST] + [("second", step) for step in SECOND[SECOND.index("x-debug-query-block-graph") :]]


def each(steps):
    return pytest.mark.parametrize("run, step", steps, ids=[f"{run} run, {step}" for run, step in steps])


def begin(vm, run):
    """The names of the snapshots that there are: a second run is one that finds the chains as the first one left them."""
    if run == "second":
        vm.chainctl.ok("snapshot", "vm1", "before")
    return ["before"] if run == "second" else []


@pytest.mark.parametrize("run, commands", [("first", FIRST), ("second", SECOND)])
def test_each_command_of_a_run_is_among_the_steps_that_are_tried(vm, run, commands):
    begin(vm, run)
    asked = []
    with proxy(vm.qemu.qmp, asked=asked) as peer:
        point_at(vm, peer.path)
        vm.chainctl.ok("snapshot", "vm1", "s")
    assert list(dict.fromkeys(asked)) == ["qmp_capabilities", *commands]


@each(STEPS)
def test_error_of_qemu_at_any_step_undoes_all(vm, run, step):
    begin(vm, run)
    with proxy(vm.qemu.qmp, refused=[step]) as peer:
        point_at(vm, peer.path)
        files, graph = contents(vm.folder), vm.graph()
        result = run_in_time(vm.chainctl, "snapshot", "vm1", "s", statuses=range(0, 11), seconds=UNHURRIED)
        if step in DONE_WITHOUT:
            assert result.status == 0, result
        else:
            assert result.status and "the peer's own words" in result.json["error"]["message"], result
            human = vm.chainctl.run("snapshot", "vm1", "s", json_output=False)
            assert human.status == result.status and "\x1b" not in human.err, human
            assert (contents(vm.folder), vm.graph()) == (files, graph), "not all was undone"
        point_at(vm, vm.qemu.qmp)
        vm.chainctl.ok("snapshot", "vm1", "after")
        assert vm.chainctl.ok("check", "vm1")["problems"] == []


@pytest.mark.parametrize("silent", [False, True], ids=["closes", "is silent"])
@each(STEPS)
def test_monitor_that_dies_at_any_step_leaves_what_the_next_command_can_bring_in_order(vm, run, step, silent):
    def change(asked, reply):
        return (None if silent else ConnectionError) if asked == step else reply

    before = begin(vm, run)
    with proxy(vm.qemu.qmp, change) as peer:
        point_at(vm, peer.path)
        result = vm.chainctl.run("snapshot", "vm1", "s", "--timeout", str(SECONDS))
        found_out = step in DONE_WITHOUT | {"transaction"} and result.status == 0  # of a transaction: it asked again
        assert found_out or result.status in range(1, 11) and only_document(result.out)["error"]["message"], result
    point_at(vm, vm.qemu.qmp)
    vm.chainctl.ok("snapshot", "vm1", "after")
    names = [snapshot["name"] for snapshot in vm.chainctl.ok("list", "vm1")["snapshots"]]
    assert names in ([*before, "after"], [*before, "s", "after"])
    assert vm.chainctl.ok("check", "vm1")["problems"] == []
    for disk in vm.paths:
        told = vm.chainctl.ok("tree", "vm1")["disks"][list(vm.paths).index(disk)]
        live = vm.qemu.monitor().chain(disk)
        assert [image["path"] for image in told["images"]] == live[::-1]
        assert len(live) == len(names) + 1
    assert file_names(vm.folder) == vm.files_of(names)
    assert result.status != 1 or "s" not in names, "exit 1 says that all of it was undone"


def test_events_in_between_and_replies_in_pieces_are_understood(vm):
    noise = json.dumps({"event": "POWERDOWN", "timestamp": {"seconds": 1, "microseconds": 1}, "data": {"x": ["y"] * 100}}).encode() + b"\r\n"

    def change(_, reply):
        return noise * 3 + json.dumps(reply).encode() + b"\r\n" + noise

    with proxy(vm.qemu.qmp, change) as peer:
        point_at(vm, peer.path)
        assert vm.chainctl.ok("snapshot", "vm1", "s")["snapshot"]["name"] == "s"


@pytest.mark.parametrize("noise", [b'{"event": 7}\r\n', b'{"event": "SHUTDOWN"}\r\n', b'{"event": "BLOCK_JOB_COMPLETED", "data": 3}\r\n',
                                   b'{"event": "JOB_STATUS_CHANGE", "data": {"id": 1, "status": []}}\r\n', b'{"return": [], "id": 999999}\r\n',
                                   b'{"error": 3, "id": 999999}\r\n', b'{}\r\n', b"\xff\xfe\r\n"])  # fmt: skip
def test_lying_events_are_no_crash(vm, noise):
    def change(_, reply):
        return noise + json.dumps(reply).encode() + b"\r\n"

    with proxy(vm.qemu.qmp, change) as peer:
        point_at(vm, peer.path)
        run_in_time(vm.chainctl, "snapshot", "vm1", "s", statuses=range(0, 11))
    point_at(vm, vm.qemu.qmp)
    vm.chainctl.ok("snapshot", "vm1", "after")
    assert vm.chainctl.ok("check", "vm1")["problems"] == []


def test_monitor_that_floods_with_events_does_not_hold_the_time_limit_off(chainctl):
    """A peer that never answers but never is quiet either."""
    from peers import Server

    def serve(connection):
        connection.sendall(GREETING)
        event = b'{"event": "NOISE", "timestamp": {"seconds": 1, "microseconds": 1}}\r\n' * 20
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(event)
                time.sleep(0.02)

    with Server(serve) as peer:
        run_in_time(chainctl(), "vm", "add", "vm1", "--qmp", peer.path, statuses=(1, 4))


def test_vm_without_a_disk_is_registered_or_refused_and_its_snapshot_is_refused(chainctl):
    answers = {"query-block": [], "query-named-block-nodes": [], "query-status": {"running": True, "status": "running"}}
    with scripted_monitor(lambda command, _: answers.get(command, [])) as peer:
        run_in_time(chainctl(), "vm", "add", "vm1", "--qmp", peer.path, statuses=range(0, 11))
        result = run_in_time(chainctl(), "snapshot", "vm1", statuses=range(1, 11))
        assert result.status in (1, 2, 3, 4, 9), result


def test_verb_that_is_interrupted_while_the_monitor_is_silent_ends_at_once(vm):
    import signal

    with says() as peer:
        point_at(vm, peer.path)
        before = vm.untouched()
        for number in (signal.SIGINT, signal.SIGTERM):
            started = vm.chainctl.start("snapshot", "vm1", "s", "--timeout", "60")
            time.sleep(0.3)
            started.send_signal(number)
            begun = time.monotonic()
            result = finish(started)
            assert time.monotonic() - begun < 3 and result.status in (1, 8, -number), result
        assert vm.untouched() == before


def test_qemu_that_has_gone_is_shut_off_for_readers(vm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    vm.qemu.kill()
    assert vm.chainctl.ok("vm", "list")["vms"][0]["state"] == "shut-off"
    assert vm.chainctl.ok("vm", "show", "vm1")["vm"]["state"] == "shut-off"
    assert [s["name"] for s in vm.chainctl.ok("list", "vm1")["snapshots"]] == ["s"]
    assert vm.chainctl.ok("show", "vm1", "s")["snapshot"]["name"] == "s"
    assert vm.chainctl.ok("tree", "vm1")["disks"][0]["active"] == str(vm.folder / "vda.s.qcow2")
    assert vm.chainctl.ok("path", "vm1", "vda")["path"] == str(vm.folder / "vda.s.qcow2")
    assert vm.chainctl.ok("check", "vm1")["problems"] == []
    assert len(vm.chainctl.ok("log", "vm1")["operations"]) == 1


def test_dead_monitor_with_the_locks_held_is_unreachable(vm):
    """The monitor's socket is gone, and the QEMU behind it lives on."""
    vm.qemu.qmp.unlink()
    assert vm.chainctl.ok("vm", "list")["vms"][0]["state"] == "unreachable"
    vm.chainctl.fails(4, "snapshot", "vm1", "s")
    result = vm.chainctl.run("path", "vm1", "vda", json_output=False)
    assert (result.status, result.out) == (4, "")


def test_timeout_of_an_own_monitor_is_not_shared(vm):
    """A monitor that a test holds for a second is waited for, within --timeout."""
    import threading

    other = Qmp(vm.qemu.qmp)
    release = threading.Timer(0.7, other.close)
    release.start()
    assert vm.chainctl.ok("snapshot", "vm1", "s", "--timeout", "10")["snapshot"]["name"] == "s"
    release.join()
