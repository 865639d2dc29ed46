"""`exec` starts a VM on what is active now, for real; where there is doubt, nothing is started."""
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys

import pytest

from support import disks, images, process
from support.chainctl import finish
from support.qemu import Qemu

# Prints its arguments, one a line, so that what was started can be told.
SHOW = [sys.executable, "-c", "import sys; print(*sys.argv[1:], sep='\\n')"]
WORDS = [word for name in ("vda", "vdb")
         for word in ("-blockdev", f"{{{name}}},node-name={name}-format", "-device", f"virtio-blk-pci,id={name},drive={name}-format")]  # fmt: skip


class Started(Qemu):
    """A QEMU that `chainctl exec` starts, of a command line that is never edited."""

    def __init__(self, ctl, words):
        super().__init__(words)
        self.ctl = ctl

    def command_line(self, monitor_fd):
        return [self.ctl.binary, "--state", self.ctl.state_dir, "exec", "vm", "--", *super().command_line(monitor_fd)]


@pytest.fixture
def ctl(chainctl, vm, folder):
    """A VM with a snapshot, shut off."""
    made = chainctl()
    disks.register(made, vm)
    vm.qemu_io("vda", "write -P 1 0 64k")
    made.ok("snapshot", "vm", "one")
    vm.qemu_io("vda", "write -P 2 64k 64k")
    vm.kill()
    return made


def run(ctl, *command, options=(), **more):
    return ctl.run("exec", "vm", *options, "--", *command, json_output=False, **more)


def blockdev(path):
    return f"driver=qcow2,file.driver=file,file.filename={path}"


def not_started(ctl, tmp_path, status, *words, options=(), **more):
    """The command is not started; with --dry-run it is refused too. Returns the error."""
    marker = tmp_path / "started"
    error = ctl.fails(status, "exec", "vm", *options, "--", "touch", marker, *words, **more)
    assert ctl.fails(status, "exec", "vm", "--dry-run", *options, "--", "touch", marker, *words, **more) == error
    assert not marker.exists()
    return error


def test_each_disk_is_named_by_its_active_image(ctl, folder):
    vda, vdb = blockdev(folder / "vda.one.qcow2"), blockdev(folder / "vdb.one.qcow2")
    told = run(ctl, *SHOW, "-blockdev", "{vda},node-name=a", "x{vdb}y{vdb}", "{vda}")
    assert (told.status, told.err) == (0, "")
    assert told.out.splitlines() == ["-blockdev", f"{vda},node-name=a", f"x{vdb}y{vdb}", vda]


def test_what_is_no_placeholder_is_left_alone(ctl):
    words = ['{"driver":"qcow2"}', "{}", "{", "}", "{vda", "${HOME}", "{a,b}", "{3}", "{a b}", "{{"]
    assert run(ctl, *SHOW, *words, options=["-q"]).out.splitlines() == words


def test_a_disk_that_is_none_starts_nothing(ctl, tmp_path):
    error = not_started(ctl, tmp_path, 3, "{vda}", "{vdc}")
    assert "'vdc'" in error["message"] and error["code"] == "no-such-disk"
    assert re.search(r"\{vd[ab]\}", error["hint"])


def test_comma_in_a_path_is_doubled(qemu, chainctl, folder, tmp_path):
    path = images.create(folder / "a,b.qcow2", "8M")
    vm, ctl = qemu(disks.blockdev("vda", path)), chainctl()
    disks.register(ctl, vm)
    vm.kill()
    assert run(ctl, *SHOW, "{vda}").out == blockdev(str(path).replace(",", ",,")) + "\n"
    ctl_words = ["-blockdev", "{vda},node-name=vda-format", "-device", "virtio-blk-pci,id=vda,drive=vda-format"]
    with Started(ctl, ctl_words) as started:
        assert started.monitor().chain("vda") == [str(path)]


def test_vm_started_twice_by_the_same_words_goes_on_with_its_data(ctl, folder):
    with Started(ctl, WORDS) as vm:
        assert vm.monitor().chain("vda") == [str(folder / "vda.one.qcow2"), str(folder / "vda.qcow2")]
        vm.qemu_io("vda", "read -P 1 0 64k", "read -P 2 64k 64k", "write -P 3 128k 64k")
        with sqlite3.connect(ctl.state_dir / "chainctl.db") as database:
            database.execute("UPDATE vm SET qmp = ?", (os.fsencode(vm.qmp),))
        database.close()
        ctl.ok("snapshot", "vm", "two")
        vm.qemu_io("vda", "write -P 4 192k 64k")
        vm.kill()
        vm.start()
        assert vm.monitor().chain("vda")[0] == str(folder / "vda.two.qcow2")
        vm.qemu_io("vda", "read -P 1 0 64k", "read -P 2 64k 64k", "read -P 3 128k 64k", "read -P 4 192k 64k")
        assert ctl.ok("check", "vm")["problems"] == []


def test_vm_that_runs_is_not_started_again(chainctl, vm, tmp_path):
    ctl = chainctl()
    disks.register(ctl, vm)
    assert "runs already" in not_started(ctl, tmp_path, 9, "{vda}")["message"]


def test_vm_whose_images_are_in_use_is_not_started(ctl, qemu, folder, tmp_path):
    qemu(disks.blockdev("vda", folder / "vda.one.qcow2"))
    assert not_started(ctl, tmp_path, 4, "{vda}")["code"] == "unreachable"


@pytest.mark.parametrize("name", ["vda.one.qcow2", "vda.qcow2"])
def test_chain_with_an_image_missing_starts_nothing(ctl, folder, tmp_path, name):
    (folder / name).rename(tmp_path / "elsewhere")
    assert name in not_started(ctl, tmp_path, 9, "{vdb}")["message"]


def test_frozen_image_that_was_written_to_starts_nothing(ctl, folder, tmp_path):
    images.write(folder / "vda.qcow2", "write -P 9 0 64k")
    assert "vda.qcow2" in not_started(ctl, tmp_path, 9, "{vda}", "{vdb}")["message"]


@pytest.mark.parametrize("form", ["file={path},if=virtio", "{path}", '{{"file":{{"filename":"{path}"}}}}', "file:{path}",
                                  "qemu-io -c '{path}'"])  # fmt: skip
def test_argument_that_names_a_frozen_image_starts_nothing(ctl, folder, tmp_path, form):
    error = not_started(ctl, tmp_path, 9, "{vda}", "{vdb}", form.format(path=folder / "vda.qcow2"))
    assert "spoil" in error["message"] and "'one'" in error["message"]
    assert str(folder / "vda.one.qcow2") in error["message"] and "{vda}" in error["hint"]


def test_frozen_image_by_another_name_starts_nothing(ctl, folder, tmp_path):
    (tmp_path / "link").symlink_to(folder / "vda.qcow2")
    not_started(ctl, tmp_path, 9, "{vdb}", f"file={tmp_path / 'link'},format=qcow2")
    not_started(ctl, tmp_path, 9, "{vdb}", "file=vda.qcow2", cwd=folder)


def test_path_that_only_begins_like_a_frozen_image_is_no_wrong_one(ctl, folder):
    words = [f"{folder / 'vda.qcow2'}.log", f"/elsewhere{folder / 'vda.qcow2'}"]
    assert run(ctl, *SHOW, *words, options=["-q"]).out.splitlines() == words


def test_template_under_the_base_may_be_named(qemu, chainctl, folder):
    template = images.create(folder / "template.qcow2", "8M")
    path = images.create(folder / "vda.qcow2", None, backing=template, backing_fmt="qcow2")
    vm, ctl = qemu(disks.blockdev("vda", path)), chainctl()
    disks.register(ctl, vm)
    vm.kill()
    assert run(ctl, *SHOW, "{vda}", template).status == 0


def test_disk_that_nothing_names_is_warned_of(ctl, folder):
    told = run(ctl, *SHOW, "{vda}")
    assert told.status == 0 and "'vdb'" in told.err and "'vda'" not in told.err
    told = ctl.run("exec", "vm", "--", *SHOW, "{vda}", f"file={folder / 'vdb.one.qcow2'}")
    assert (told.status, told.err) == (0, "")


def test_json_says_nothing_where_the_command_is_started(ctl):
    told = ctl.run("exec", "vm", "--", *SHOW, "{vda}x", "{vdb}")
    assert told.json is None and told.out.splitlines()[0].endswith("x")


def test_ignored_disk_is_replaced_where_it_is_named_and_not_missed_where_it_is_not(chainctl, vm, folder):
    ctl = chainctl()
    disks.register(ctl, vm, "--ignore-disk", "vdb")
    vm.kill()
    told = run(ctl, *SHOW, "{vda}")
    assert (told.status, told.err) == (0, "")
    assert run(ctl, *SHOW, "{vda}{vdb}").out == blockdev(folder / "vda.qcow2") + blockdev(folder / "vdb.qcow2") + "\n"


def test_disk_that_is_a_part_of_a_file_is_never_named_by_the_file(qemu, chainctl, folder):
    """It can only be ignored; whoever started it by its file would start it on other data."""
    image, other = images.create(folder / "vda.raw", "8M", "raw"), images.create(folder / "vdb.qcow2", "8M")
    words = [*disks.blockdev("vda", image, "raw", top="offset=1048576,size=4194304"), *disks.blockdev("vdb", other)]
    vm, ctl = qemu(words), chainctl()
    disks.register(ctl, vm, "--ignore-disk", "vda")

    def refused(*command):
        told = ctl.run(*command, json_output=False)
        assert told.status == 9 and "part of the file" in told.err and not told.out, told

    refused("path", "vm", "vda")
    refused("path", "vm", "vda", "--blockdev")
    assert ctl.ok("path", "vm", "vdb")["path"] == str(other)
    vm.kill()
    refused("path", "vm", "vda", "--blockdev")
    refused("exec", "vm", "--", *SHOW, "{vda}{vdb}")
    assert run(ctl, *SHOW, "{vdb}").out == blockdev(other) + "\n"


def test_raw_image_and_block_device(qemu, chainctl, folder):
    path = images.create(folder / "vda.raw", "8M", "raw")
    vm, ctl = qemu(disks.blockdev("vda", path, "raw")), chainctl()
    disks.register(ctl, vm)
    vm.kill()
    assert run(ctl, *SHOW, "{vda}").out == f"driver=raw,file.driver=file,file.filename={path}\n"


def test_dry_run_prints_what_a_shell_could_start(ctl, folder):
    words = ["printf", "%s\\n", "a b", "it's {vda}", "{vdb}"]
    told = run(ctl, *words, options=["--dry-run"])
    assert told.status == 0
    started = run(ctl, *words)
    assert subprocess.run(["sh", "-c", told.out], capture_output=True, text=True).stdout == started.out
    (step,) = ctl.ok("exec", "vm", "--dry-run", "--", *words)["plan"]
    assert (step["execute"], step["arguments"]["argv"]) == ("exec", shlex.split(told.out))


def test_command_that_does_not_exist_is_said(ctl, tmp_path):
    error = ctl.fails(1, "exec", "vm", "--", "no-such-program", "{vda}", "{vdb}")
    assert "'no-such-program'" in error["message"]
    (tmp_path / "plain").write_text("x")
    assert str(tmp_path / "plain") in ctl.fails(1, "exec", "vm", "--", tmp_path / "plain", "{vda}")["message"]
    (tmp_path / "bad").write_text("#!/no/such/interpreter\n")
    (tmp_path / "bad").chmod(0o755)
    assert "nothing was started" in ctl.fails(1, "exec", "vm", "--", tmp_path / "bad", "{vda}")["message"]
    told = run(ctl, tmp_path / "bad", "{vda}")
    assert told.err.count("warning") == 1 and told.err.count("nothing was started") == 1


@pytest.mark.parametrize("words", [["exec"], ["exec", "vm"], ["exec", "vm", "--"], ["exec", "vm", "true"], ["exec", "--"],
                                   ["exec", "vm", "x", "--", "true"], ["exec", "vm", "--", ""]])  # fmt: skip
def test_command_line_without_a_command_is_wrong(ctl, words):
    assert ctl.fails(2, *words)["code"] == "usage"


def test_only_vm_need_not_be_named_and_options_of_the_command_are_its_own(ctl):
    told = ctl.run("exec", "-q", "--", *SHOW, "--json", "--help", "--state", "x", json_output=False)
    assert (told.status, told.err, told.out.splitlines()) == (0, "", ["--json", "--help", "--state", "x"])


def test_exit_status_and_environment_are_the_commands_own(ctl):
    told = run(ctl, "sh", "-c", 'echo "$CHAINCTL_X"; exit 42', options=["-q"], prefix=["env", "CHAINCTL_X=kept"])
    assert (told.status, told.out) == (42, "kept\n")


def test_what_was_interrupted_is_recovered_first(chainctl, vm, folder):
    """A snapshot whose process died after the switch: the VM starts on the overlay that it made."""
    ctl = chainctl()
    disks.register(ctl, vm)
    ctl.ok("snapshot", "vm", "one")
    vm.qemu_io("vda", "write -P 1 0 64k")
    vm.qemu_io("vdb", "write -P 1 0 64k")
    vm.kill()
    with sqlite3.connect(ctl.state_dir / "chainctl.db") as database:
        database.execute("UPDATE operation SET state = 'open', ended_us = NULL")
    database.close()
    told = run(ctl, *SHOW, "{vda}", "{vdb}")
    assert told.status == 0 and "interrupted operation" in told.err
    assert told.out.splitlines()[0] == blockdev(folder / "vda.one.qcow2")
    assert [op["state"] for op in ctl.ok("log", "vm")["operations"]] == ["done"]


def test_command_does_not_inherit_the_lock_nor_any_descriptor_of_ours(ctl):
    reader, writer = os.pipe()
    told = run(ctl, "sh", "-c", "ls -l /proc/$$/fd; cat /proc/$$/status", options=["-q"], pass_fds=[writer])
    os.close(reader)
    os.close(writer)
    numbers = {int(number) for number in re.findall(r" (\d+) -> (?!/proc)", told.out)}
    assert numbers <= {0, 1, 2, writer} and writer in numbers, told.out
    assert "chainctl.db" not in told.out and ".lock" not in told.out
    ctl.ok("vm", "remove", "vm")


def test_vm_that_another_operation_holds_is_not_started(ctl, tmp_path):
    lock = ctl.state_dir / "locks/vm.lock"
    with process.running(["flock", "--no-fork", lock, "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        not_started(ctl, tmp_path, 6, "{vda}")


def signals_of(ctl, key, **options):
    """The mask of that name in the started command's own status."""
    told = run(ctl, "cat", "/proc/self/status", options=["-q"], **options)
    return int(re.search(rf"{key}:\s*(\w+)", told.out)[1], 16)


def test_signals_are_to_the_command_as_they_were_to_us(ctl):
    """SIGPIPE is ignored by chainctl and not by what it becomes; what nohup had ignored stays ignored."""

    def bit(number):
        return 1 << (number - 1)

    taken = bit(signal.SIGPIPE) | bit(signal.SIGINT) | bit(signal.SIGTERM) | bit(signal.SIGHUP)
    plain = ("import os,signal,sys; [signal.signal(number, signal.SIG_DFL) for number in signal.valid_signals() - {9, 19}];"
             "os.execvp(sys.argv[1], sys.argv[1:])")  # fmt: skip
    ignoring = plain.replace("os.execvp", "signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execvp")
    blocking = plain.replace("os.execvp", "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); os.execvp")
    assert signals_of(ctl, "SigIgn", prefix=[sys.executable, "-c", plain]) & taken == 0
    assert signals_of(ctl, "SigIgn", prefix=[sys.executable, "-c", ignoring]) & bit(signal.SIGHUP)
    assert signals_of(ctl, "SigBlk", prefix=[sys.executable, "-c", blocking]) == bit(signal.SIGUSR1)


def test_wait_waits_for_the_operation_and_then_starts(ctl):
    lock = ctl.state_dir / "locks/vm.lock"
    with process.running(["flock", "--no-fork", lock, "sh", "-c", "echo; read line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        started = ctl.start("exec", "vm", "--wait=60", "-q", "--", *SHOW, "{vda}", json_output=False)
        holder.stdin.write(b"\n")
        holder.stdin.close()
        assert finish(started).status == 0
