"""A run that changes something leaves one record in the host's journal, for timers that nobody watches."""
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile

import pytest


# The journal's folder is bound over the host's, in a mount namespace of the program's own.
INTO = 'mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal && exec "$@"'


class Journal:
    """The socket of a journald, and what was sent to it. Its protocol: systemd.io/JOURNAL_NATIVE_PROTOCOL"""

    def __init__(self, folder):
        self.prefix = ["unshare", "--mount", "--propagation=private", "sh", "-c", INTO, str(folder)]
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "socket"))
        self.socket.setblocking(False)

    def records(self):
        found = []
        try:
            while True:
                found.append(parse(self.socket.recv(1 << 16)))
        except BlockingIOError:
            return found


def parse(datagram):
    fields = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", datagram[:8])
            value, datagram = datagram[8 : 8 + length], datagram[9 + length :]
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def journal():
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("cannot make a mount namespace here")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))
    made = Journal(folder)
    yield made
    made.socket.close()
    shutil.rmtree(folder)


def test_snapshot_leaves_one_record(vm, journal):
    vm.chainctl.ok("snapshot", "vm1", "s", prefix=journal.prefix)
    (record,) = journal.records()
    (operation,) = vm.chainctl.ok("log", "vm1")["operations"]
    assert record["MESSAGE"] == "snapshot vm1: done"
    assert {name: value for name, value in record.items() if name != "MESSAGE"} == {
        "PRIORITY": "6", "SYSLOG_IDENTIFIER": "chainctl", "CHAINCTL_VERB": "snapshot", "CHAINCTL_VM": "vm1",
        "CHAINCTL_OP": operation["op"], "CHAINCTL_OUTCOME": "done", "CHAINCTL_STATUS": "0"}  # fmt: skip


def test_failure_is_an_error_with_its_word_and_status(vm, journal):
    vm.chainctl.ok("snapshot", "vm1", "s")
    error = vm.chainctl.fails(1, "snapshot", "vm1", "s", prefix=journal.prefix)
    (record,) = journal.records()
    assert (record["PRIORITY"], record["CHAINCTL_OUTCOME"], record["CHAINCTL_STATUS"]) == ("3", error["code"], "1")
    assert error["message"] in record["MESSAGE"] and "CHAINCTL_OP" not in record


def test_warning_is_a_warning(running_vm, journal):
    words = ["vm", "add", "vm1", "--qmp", running_vm.qemu.qmp, "--agent", "unix:/nowhere"]
    taken = running_vm.chainctl.ok(*words, prefix=journal.prefix)
    assert taken["warnings"]
    (record,) = journal.records()
    assert (record["PRIORITY"], record["CHAINCTL_OUTCOME"], record["CHAINCTL_VM"]) == ("4", "done", "vm1")
    assert taken["warnings"][0]["message"] in record["MESSAGE"]


def test_several_vms_have_a_record_each(vm, journal):
    assert vm.chainctl.run("snapshot", "--vm", "vm1,none", prefix=journal.prefix).status == 3
    records = journal.records()
    assert [(record["CHAINCTL_VM"], record["CHAINCTL_STATUS"]) for record in records] == [("vm1", "0"), ("none", "3")]
    assert records[0]["CHAINCTL_OP"] == vm.chainctl.ok("log", "vm1")["operations"][0]["op"]


def test_what_only_looks_and_what_only_pretends_leaves_none(vm, journal):
    for words in (["list", "vm1"], ["check", "vm1"], ["vm", "list"], ["path", "vm1", "vda"], ["recover"], ["snapshot", "vm1", "s", "--dry-run"]):
        vm.chainctl.ok(*words, prefix=journal.prefix)
    vm.chainctl.run("snapshot", "--help", prefix=journal.prefix)
    assert journal.records() == []


def test_terminal_has_been_told_already(vm, journal):
    primary, secondary = os.openpty()
    result = vm.chainctl.run("snapshot", "vm1", "s", prefix=journal.prefix, stderr=secondary)
    os.close(primary)
    os.close(secondary)
    assert result.status == 0 and journal.records() == []


def test_journal_that_takes_nothing_delays_nothing(vm, journal):
    """Its queue is full: a writer that waits would wait for ever."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.sendto(b"MESSAGE=x\n", journal.socket.getsockname())
        assert vm.chainctl.run("snapshot", "vm1", "s", prefix=journal.prefix).status == 0
    assert all(record == {"MESSAGE": "x"} for record in journal.records())


def test_name_that_is_no_line_is_one_field(vm, journal):
    result = vm.chainctl.run("vm", "remove", "no\nsuch\nVM", prefix=journal.prefix)
    (record,) = journal.records()
    assert result.status == 3 and record["CHAINCTL_VM"] == "no\nsuch\nVM"
    assert record["CHAINCTL_STATUS"] == "3"
