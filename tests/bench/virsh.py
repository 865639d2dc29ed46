"""The same guest as a domain of a libvirtd of its own: run as "nobody" in session mode, with all of its files in the
bench's folder, no systemd, no cgroups, no security driver. The tap takes the place of the agent's socket before the
guest runs, so libvirtd speaks to the agent through the same instrument as the others.
"""
import contextlib
import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
from xml.sax.saxutils import escape

from support import images, process
from support.guest import KERNEL_WORDS
from tap import Tap

USER = "nobody"
DOMAIN = """<domain type='qemu'>
  <name>vm</name>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{folder}/vmlinuz</kernel>
    <initrd>{folder}/initramfs.cpio</initrd>
    <cmdline>{words}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <devices>
    <emulator>{emulator}</emulator>
{disks}
    <controller type='usb' model='none'/>
    <serial type='file'><source path='{console}'/></serial>
    <channel type='unix'>
      <source mode='bind' path='{agent}'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <memballoon model='none'/>
  </devices>
</domain>
"""
DISK = """    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{path}'/>
      <target dev='{name}' bus='virtio'/>
      <serial>{name}</serial>
    </disk>"""


class Domain:
    """`with Domain(bench) as domain: domain.quiesced("name")`"""

    name = "virsh"

    def __init__(self, bench):
        self.folder = bench.new_folder("virsh")
        self.agent, self.console = self.folder / "agent", self.folder / "console.log"
        self.socket = self.folder / "run/libvirt/libvirt-sock"
        self.tap = self.keeper = None
        self.user = pwd.getpwnam(USER)
        for name in ("vmlinuz", "initramfs.cpio"):
            shutil.copy(bench.guest_image / name, self.folder / name)
        self.paths = {name: images.create(self.folder / f"{name}.qcow2") for name in ("vda", "vdb")}
        self.environment = {"HOME": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder / "run"),
                            "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def __enter__(self):
        self._write_configuration()
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._end)
            self._start()
            on_failure.pop_all()
        return self

    def __exit__(self, *_):
        self._end()

    def virsh(self, *words):
        done = subprocess.run(self._words(*words), env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"virsh {words}: {done.stderr}"

    def quiesced(self, label):
        self.virsh("snapshot-create-as", "vm", label, "--disk-only", "--quiesce", "--atomic")

    def plain(self, label):
        self.virsh("snapshot-create-as", "vm", label, "--disk-only", "--atomic")

    def pause(self):
        self.virsh("suspend", "vm")

    def resume(self):
        self.virsh("resume", "vm")

    def _start(self):
        words = ["setpriv", f"--reuid={USER}", f"--regid={self.user.pw_gid}", "--clear-groups"]
        words += [process.program("libvirtd"), "--config", self.folder / "libvirtd.conf"]
        self.keeper = multiprocessing.get_context("fork").Process(target=self._keep, args=[words])
        self.keeper.start()
        process.wait_until(self._serves, 20, "libvirtd's socket")
        self.virsh("create", self.folder / "vm.xml", "--paused")
        self.agent.rename(self.folder / "agent.qemu")
        self.tap = Tap(self.agent, self.folder / "agent.qemu").__enter__()
        self.resume()
        process.wait_until(lambda: b"chainctl-guest: ready" in self.console.read_bytes(), 90, "the guest of libvirtd")
        process.wait_until(self._has_agent, 30, "libvirtd's connection to the agent")

    def _end(self):
        if self.tap:
            self.tap.__exit__()
        if self.keeper:
            self.keeper.terminate()
            self.keeper.join()

    def _keep(self, words):
        """libvirtd's parent, who also takes in what it leaves to itself, such as QEMU: a dead one that nobody takes in
        is one that libvirtd waits for. At its end it ends them all."""
        process.become_subreaper()
        with open(self.folder / "libvirtd.log", "wb") as log:
            daemon = process.spawn(words, env=self.environment, stdout=log, stderr=log, cwd=self.folder)
        signal.signal(signal.SIGTERM, lambda *_: daemon.kill())
        while os.wait()[0] != daemon.pid:
            pass
        for pid in process.alive_children():
            process.kill_child(pid)

    def _words(self, *words):
        """As root, who may use anybody's socket."""
        return ["virsh", "-c", f"qemu:///session?socket={self.socket}", *map(str, words)]

    def _serves(self):
        assert self.keeper.is_alive(), (self.folder / "libvirtd.log").read_text()
        return self.socket.exists()

    def _has_agent(self):
        asked = self._words("qemu-agent-command", "vm", '{"execute":"guest-ping"}')
        return subprocess.run(asked, env=self.environment, capture_output=True, timeout=60).returncode == 0

    def _write_configuration(self):
        (self.folder / "libvirtd.conf").write_text('log_level = 3\nlog_outputs = "3:stderr"\n')
        (self.folder / "run").mkdir()
        (self.folder / ".config/libvirt").mkdir(parents=True)
        (self.folder / ".config/libvirt/qemu.conf").write_text('stdio_handler = "file"\nsecurity_driver = "none"\n')
        disks = "\n".join(DISK.format(name=name, path=path) for name, path in self.paths.items())
        (self.folder / "vm.xml").write_text(DOMAIN.format(
            folder=self.folder, words=escape(KERNEL_WORDS), disks=disks, agent=self.agent, console=self.console,
            emulator=process.program("qemu-system-x86_64")))
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, self.user.pw_uid, self.user.pw_gid)
