"""The demo: a real small guest that never stops writing, snapshots of it, the way back and forth, and short chains again.

Boots the guest with two disks. In it a writer puts a numbered, checksummed
record on the first disk, syncs it, then the same number on the second, for
ever: at any one instant the second disk has the first one's number, or one
less. Each frozen image is then read back with qemu-img and debugfs. A guest
that went back boots into its old data: its writer goes on from the record that
the snapshot ended with.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from support import ledger  # noqa: E402
from support.guest import Guest  # noqa: E402

HERE = pathlib.Path(__file__).parent
BINARY = os.environ["CHAINCTL"]
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def bold(text):
    return f"\033[1m{text}\033[0m" if COLOUR else text


def chapter(text):
    print(flush=True)
    say(bold(text))


def say(text):
    """A line of prose; a terminal gets it broken at words, as chainctl's own."""
    columns = os.get_terminal_size().columns if sys.stdout.isatty() else 0
    print(textwrap.fill(text, columns, subsequent_indent="    ", break_long_words=False) if columns > 40 else text, flush=True)


def run(*words):
    """Runs a command as a person would, and shows both; stdout is the terminal's where it is one."""
    print(f"{bold('$ chainctl')} {' '.join(words)}", flush=True)
    subprocess.run([BINARY, *words], check=True)


def ask(*words):
    """The same, for its JSON."""
    answer = subprocess.run([BINARY, *words, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout)


def take_snapshots(guest):
    for name in ("monday", "tuesday", "wednesday"):
        run("snapshot", "web", name, "--tag", "demo")
        guest.wait_ledger_advance()


def prove(snapshot):
    """Both disks of a snapshot: clean file systems, whole ledgers, one instant."""
    images = [pathlib.Path(disk["image"]) for disk in snapshot["disks"]]
    ledger.assert_quiesced(*images)
    first, second = (ledger.read(image) for image in images)
    say(f"  {snapshot['name']:<10} file systems clean; ledger whole up to record {first} on vda, {second} on vdb;"
        f" frozen_us {snapshot['frozen_us']}")


def show_all():
    chapter("What chainctl remembers")
    run("list", "web")
    print()
    run("tree", "web")
    chapter("Proof: each frozen image, read back with qemu-img, e2fsck and debugfs")
    for snapshot in ask("list", "web")["snapshots"]:
        prove(snapshot)
    run("check", "web")


def images_of(snapshot):
    return [pathlib.Path(disk["image"]) for disk in ask("show", "web", snapshot)["snapshot"]["disks"]]


def go_to(guest, snapshot):
    """A rollback, and the proof of it: the guest's ledger goes on from where that snapshot's ends."""
    seen = len(guest.console_text())
    run("rollback", "web", snapshot)
    went_on = int(guest.wait_console(r"^ledger: epoch [0-9a-f]+ goes on from (\d+)$", after=seen)[1])
    recorded = ledger.assert_quiesced(*images_of(snapshot))
    assert went_on == recorded, f"the guest goes on from {went_on}, and the snapshot ends with {recorded}"
    guest.wait_ready()
    guest.wait_ledger_advance()
    say(f"  the guest has booted, and its ledger goes on from record {went_on}: the last one of '{snapshot}'")


def go_back_and_forth(guest):
    chapter("Back to monday: QEMU stays, the guest reboots into its old data")
    go_to(guest, "monday")
    automatic = next(one["name"] for one in ask("list", "web")["snapshots"] if one["automatic"])
    chapter("And forward again: what was left behind is a snapshot, too")
    go_to(guest, automatic)
    print()
    run("tree", "web")


def grow_short(guest):
    chapter("Short chains again, while the guest writes: all above monday becomes one image")
    before = guest.wait_ledger_advance()
    run("commit", "web", "--base", "monday", "--pivot", "--yes")
    guest.wait_ledger_advance()
    run("tree", "web")
    chapter("Proof: a last snapshot; no record is missing, from the first one to those of after the merge")
    prove(ask("snapshot", "web", "thursday")["snapshot"])
    assert ledger.read(images_of("thursday")[0]) > before
    prove(ask("show", "web", "monday")["snapshot"])
    run("check", "web")


def main():
    started = time.monotonic()
    chapter("Building the guest: Debian's kernel and qemu-guest-agent, a ledger writer, two disks")
    built = subprocess.run([HERE / "guest" / "build"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="chainctl-demo-") as folder:
        os.environ["CHAINCTL_STATE"] = f"{folder}/state"
        (pathlib.Path(folder) / "images").mkdir()
        with Guest(pathlib.Path(built), pathlib.Path(folder) / "images") as guest:
            guest.wait_ready()
            guest.wait_ledger_advance()
            chapter("A VM becomes known")
            run("vm", "add", "web", "--qmp", str(guest.qmp), "--agent", f"unix:{guest.agent_socket}")
            chapter("Three snapshots while the guest writes")
            take_snapshots(guest)
            show_all()
            go_back_and_forth(guest)
            grow_short(guest)
    chapter(f"Done in {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
