"""The units that are installed: systemd finds nothing wrong with them, and a VM that is started by one, from a file that
nobody edits, is on its newest images after snapshots, crashes and reboots."""
import contextlib
import os
import re
import shutil
import subprocess

import pytest

from support import disks, images, ledger, process, systemd
from support.chainctl import ROOT
from support.guest import Guest
from support.qemu import Qemu

BUILD = (ROOT / os.environ.get("CHAINCTL_BUILD", "build")).resolve() / "data/systemd"
SOURCE = ROOT / "data/systemd"
UNITS = ["chainctl-qemu@.service", "chainctl-recover.service", "chainctl-recover.timer", "chainctl-snapshot.service",
         "chainctl-snapshot.timer"]  # fmt: skip
def text_of(unit):
    """As it is installed."""
    made = BUILD / unit
    return (made if made.exists() else SOURCE / unit).read_text()


def words_of(unit, key, ctl, environment="", instance="vm"):
    """What systemd would execute; the program and its state are the test's."""
    (line,) = systemd.values(systemd.parse_unit(text_of(unit)), "Service", key)
    words, _ = systemd.command(line, instance, systemd.parse_environment(environment))
    assert words[0].endswith("/bin/chainctl"), words
    return [ctl.binary, "--state", ctl.state_dir, *words[1:]]


def quoted(words):
    """As the value of a variable in an EnvironmentFile; a line for each option."""
    text = " ".join(("\\\n  " if word.startswith("-") else "") + (f"'{word}'" if " " in word else word) for word in words)
    return f'"{text}"'


class ByUnit:
    """For a Qemu: started by hand until `by_unit` is set, and by the unit from then on, of one EnvironmentFile."""

    by_unit = ctl = None

    def command_line(self, monitor_fd):
        words = [str(word) for word in super().command_line(monitor_fd)]
        if not self.by_unit:
            return words
        # Nothing in it but the number of a descriptor, which is the test's, is another from start to start.
        file = self.folder / "vm.env"
        made = f"# The VM.\nQEMU={words[0]}\n\nQEMU_ARGS={quoted(words[1:])}\n"
        assert not file.exists() or re.sub(r"fd=\d+", "", file.read_text()) == re.sub(r"fd=\d+", "", made)
        file.write_text(made)
        assert str(next(iter(self.disk_images.values()))) not in made
        return words_of("chainctl-qemu@.service", "ExecStart", self.ctl, made)

    def words_of_disk(self, name, path, serial=""):
        if not self.by_unit:
            return disks.blockdev(name, path, more=serial)
        return ["-blockdev", f"{{{name}}},node-name={name}-format",
                "-device", f"virtio-blk-pci,id={name},drive={name}-format" + (f",{serial}" if serial else "")]  # fmt: skip


class Bare(ByUnit, Qemu):
    """With one disk, and no guest."""

    def command_line(self, monitor_fd):
        (path,) = self.disk_images.values()
        self.arguments = [*self.words_of_disk("vda", path), "-name", "a name of several words"]
        return super().command_line(monitor_fd)


class Booted(ByUnit, Guest):
    """The real guest."""

    def _words_of_disk(self, name, path, form):
        return self.words_of_disk(name, path, f"serial={name}")

    @property
    def disk_images(self):
        return self.images


def test_vm_that_the_unit_starts_is_on_its_newest_images_each_time(chainctl, folder):
    ctl, newest = chainctl(), images.create(folder / "vda.qcow2", "8M")
    with contextlib.ExitStack() as stack:
        vm = Bare()
        vm.ctl, vm.disk_images = ctl, {"vda": newest}
        stack.enter_context(vm)
        disks.register(ctl, vm)
        vm.by_unit = True
        for number in range(1, 4):
            vm.kill()
            vm.start()
            assert vm.monitor().chain("vda")[0] == str(newest)
            assert vm.monitor().execute("query-name")["name"] == "a name of several words"
            vm.qemu_io("vda", *(f"read -P {pattern} {pattern}M 64k" for pattern in range(1, number)))
            ctl.ok("snapshot", "vm", f"s{number}")
            newest = folder / f"vda.s{number}.qcow2"
            vm.qemu_io("vda", f"write -P {number} {number}M 64k")
        vm.kill()
        ctl.ok("snapshot", "vm", "offline")
        vm.start()
        assert vm.monitor().chain("vda")[0] == str(folder / "vda.offline.qcow2")
        vm.qemu_io("vda", "read -P 1 1M 64k", "read -P 2 2M 64k", "read -P 3 3M 64k")
        assert ctl.ok("check", "vm")["problems"] == []


def test_unit_starts_the_vm_on_the_branch_that_it_went_back_to(chainctl, folder):
    """The same words after each rollback, and after the merge of what is left; while it runs, and shut off."""
    ctl, path = chainctl(), images.create(folder / "vda.qcow2", "8M")
    with contextlib.ExitStack() as stack:
        vm = Bare(paused=False)
        vm.ctl, vm.disk_images = ctl, {"vda": path}
        stack.enter_context(vm)
        disks.register(ctl, vm)
        vm.by_unit = True

        def start_again(*patterns):
            vm.kill()
            vm.start()
            assert vm.monitor().chain("vda")[0] == ctl.ok("path", "vm", "vda")["path"]
            vm.qemu_io("vda", *(f"read -P {pattern} {region}M 64k" for region, pattern in enumerate(patterns)))
            assert ctl.ok("check", "vm")["problems"] == []

        for number, name in enumerate(("one", "two")):
            vm.qemu_io("vda", f"write -P {number + 1} {number}M 64k")
            ctl.ok("snapshot", "vm", name)
        vm.qemu_io("vda", "write -P 3 2M 64k")
        automatic = ctl.ok("rollback", "vm", "one", "--reset", "never")["rollback"]["automatic_snapshot"]
        vm.qemu_io("vda", "write -P 4 3M 64k")
        start_again(1, 0, 0, 4)
        vm.kill()
        ctl.ok("rollback", "vm", automatic)
        vm.start()
        start_again(1, 2, 3, 0)
        ctl.ok("rollback", "vm", "two", "--discard", "--reset", "never")
        start_again(1, 2, 0, 0)
        ctl.ok("stream", "vm")
        assert len(vm.monitor().chain("vda")) == 1
        start_again(1, 2, 0, 0)


def test_real_guest_goes_on_where_it_was_cut_off(guest_image, chainctl, tmp_path):
    ctl = chainctl()
    with Booted(guest_image, tmp_path) as vm:
        vm.ctl = ctl
        vm.wait_ready()
        ctl.ok("vm", "add", "vm", "--qmp", vm.qmp, "--agent", f"unix:{vm.agent_socket}")
        vm.by_unit = True
        seen = []
        for name in ("one", "two"):
            vm.wait_ledger_advance()
            assert ctl.ok("snapshot", "vm", name)["snapshot"]["consistency"] == "filesystem"
            vm.wait_ledger_advance()
            seen.append(vm.ledger_position())
            vm.kill()
            vm.start()
            vm.wait_ready()
            assert vm.monitor().chain("vda")[0] == str(tmp_path / f"vda.{name}.qcow2")
        vm.wait_ledger_advance()
        assert vm.ledger_position() > seen[1] > seen[0], "the guest goes on with what it had written"
        assert ctl.ok("check", "vm")["problems"] == []
        vm.kill()
        for snapshot in ctl.ok("list", "vm")["snapshots"]:
            ledger.assert_quiesced(*[disk["image"] for disk in snapshot["disks"]])


def test_unit_that_is_stopped_presses_the_power_button_and_waits_for_qemu(chainctl, folder, tmp_path):
    (line,) = systemd.values(systemd.parse_unit(text_of("chainctl-qemu@.service")), "Service", "ExecStop")
    words, prefix = systemd.command(line, "vm", {})
    assert prefix == "-", "without a button, or with one that fails, SIGTERM comes next"
    with process.running(["sleep", "60"]) as main:
        stop = f"kill {main.pid}; echo pressed > '{tmp_path / 'button'}'"
        stopping = process.spawn(words, env={**os.environ, "MAINPID": str(main.pid), "QEMU_STOP": stop})
        main.wait(60)
        assert stopping.wait(60) == 0 and (tmp_path / "button").exists()
    assert subprocess.run(words, env={**os.environ, "MAINPID": "1"}, timeout=60).returncode == 1
    assert subprocess.run(words, env={**os.environ, "QEMU_STOP": "true"}, timeout=60).returncode == 1


@pytest.mark.parametrize("unit", ["chainctl-recover.service", "chainctl-snapshot.service"])
def test_command_of_a_timer_is_one_that_works(vm, chainctl, unit):
    ctl = chainctl()
    disks.register(ctl, vm)
    done = subprocess.run([str(word) for word in words_of(unit, "ExecStart", ctl)], capture_output=True, text=True)
    assert done.returncode == 0, done
    assert len(ctl.ok("list", "vm")["snapshots"]) == (unit == "chainctl-snapshot.service")


def test_systemd_finds_nothing_wrong_with_the_units(chainctl, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    program = chainctl().binary
    for unit in UNITS:
        text = re.sub(r"(?<==)\S*/bin/chainctl\b", str(program), text_of(unit))
        (tmp_path / unit).write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *UNITS], cwd=tmp_path, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "chainctl" in line]
    assert done.returncode == 0 and not said, done.stderr


def test_environment_file_is_read_as_systemd_reads_it():
    text = "# no\nA=one two\nB=\"x \\\n  'y z' \\\"q\\\" \\n\"\n C='a\\b'\nD=\n;E=1\n"
    assert systemd.parse_environment(text) == {"A": "one two", "B": "x   'y z' \"q\" \\n", "C": "a\\b", "D": ""}
    words, prefix = systemd.command("-/bin/x %i $A ${A}b $$A 'x $A c' $D", "vm", {"A": "one 'two three'", "D": ""})
    assert (prefix, words) == ("-", ["/bin/x", "vm", "one", "two three", "one 'two three'b", "$A", "x $A c"])
