"""Figures, as ratios within one run; see docs/performance.md, which a whole run writes.

Every row is measured in rounds, the rivals of a row in turn within a round, so that what else the machine does meets
all of them alike. What is told are medians, and for the rivals of a round the median of the rounds' ratios.
"""
import argparse
import contextlib
import datetime
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

import rows_depth  # noqa: E402
import rows_many  # noqa: E402
import rows_merge  # noqa: E402
import rows_mirror  # noqa: E402
import rows_pivot  # noqa: E402
import rows_snapshot  # noqa: E402
import rows_start  # noqa: E402
import rows_writes  # noqa: E402
from figures import table  # noqa: E402
from support import process  # noqa: E402

MIN_ROUNDS = 7
QUIET = 1.0
PAGE = "docs/performance.md"
GROUPS = {"a": rows_snapshot, "b": rows_snapshot, "c": rows_start, "d": rows_depth, "e": rows_writes, "f": rows_many,
          "g": rows_merge, "h": rows_merge, "i": rows_pivot, "j": rows_merge, "k": rows_pivot,
          "l": rows_mirror, "m": rows_mirror, "n": rows_mirror}  # fmt: skip


class Bench:
    """What every group of rows is given: how many rounds, the program, folders, the guest."""

    def __init__(self, folder, rounds, with_libvirt):
        self.folder, self.rounds, self.with_libvirt = folder, rounds, with_libvirt
        self.binary = os.environ["CHAINCTL"]

    @property
    def guest_image(self):
        built = subprocess.run([ROOT / "tests/guest/build"], stdout=subprocess.PIPE, text=True, check=True)
        return pathlib.Path(built.stdout.strip())

    def new_folder(self, name):
        folder = self.folder / name
        folder.mkdir()
        return folder

    def chainctl(self, name, config=None):
        """A function that runs chainctl with a state folder of that name; it must succeed."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CHAINCTL")}
        environment["CHAINCTL_STATE"] = str(self.folder / f"state-{name}")
        if config:
            environment["CHAINCTL_CONFIG"] = str(config)

        def run(*words):
            done = subprocess.run([self.binary, *map(str, words)], env=environment, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            assert done.returncode == 0, f"chainctl {words}: {done.stderr}"

        run.environment = environment
        return run


def measure(options):
    """The rows of all groups that are wanted, in their order."""
    with tempfile.TemporaryDirectory(prefix="chainctl-bench-") as name:
        os.chmod(name, 0o755)  # libvirtd runs as somebody else
        bench = Bench(pathlib.Path(name), options.rounds, options.with_libvirt)
        for module in dict.fromkeys(GROUPS[letter] for letter in options.only):
            for row in module.rows(bench):
                if row.letter in options.only:
                    print(f"  {row.letter} {row.what}: {row.median:.2f} {row.unit}", file=sys.stderr)
                    yield row


def machine():
    """Where and when this ran, as the lines of a list."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    system = next(line.split("=")[1].strip().strip('"') for line in open("/etc/os-release")
                  if line.startswith("PRETTY_NAME="))
    where = subprocess.run(["stat", "--file-system", "--format=%T", tempfile.gettempdir()], stdout=subprocess.PIPE,
                           text=True).stdout.strip()
    qemu = subprocess.run([process.program("qemu-system-x86_64"), "--version"], stdout=subprocess.PIPE, text=True)
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True)
    return [
        f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M %Z}, chainctl at {commit.stdout.strip() or 'a release'}",
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, software emulation (TCG), images on {where}",
        f"{system}, Linux {platform.release()}, {qemu.stdout.splitlines()[0]}",
    ]


def write(path, rows, facts):
    """The page: its prose with the figures of this run in it, all at once."""
    prose = (HERE / "performance.md.in").read_text()
    page = prose.replace("@MACHINE@", "\n".join(f"- {fact}" for fact in facts)).replace("@TABLE@", table(rows))
    beside = path.with_suffix(".new")
    beside.write_text(page)
    beside.rename(path)


def parse():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--with-libvirt", action="store_true", help="virsh too, with a libvirtd of its own")
    parser.add_argument("--rounds", type=int, default=9, metavar="N",
                        help=f"with fewer than {MIN_ROUNDS} nothing is written")
    parser.add_argument("--only", default=",".join(GROUPS), metavar="a,b,…", help="these rows; nothing is written")
    options = parser.parse_args()
    options.only = options.only.split(",")
    options.is_whole = set(options.only) == set(GROUPS) and options.rounds >= MIN_ROUNDS
    if unknown := set(options.only) - set(GROUPS):
        parser.error(f"there are no rows {', '.join(sorted(unknown))}: there are {', '.join(GROUPS)}")
    if options.rounds < 1:
        parser.error("one round at least")
    if options.with_libvirt and not (shutil.which("virsh") and os.geteuid() == 0):
        parser.error("--with-libvirt needs virsh, libvirtd, and root")
    return options


def main():
    options = parse()
    began = os.getloadavg()[0]
    with contextlib.closing(measure(options)) as measured:
        rows = list(measured)
    ended = os.getloadavg()[0]
    facts = [*machine(), f"medians of {options.rounds} rounds; a load of {began:.1f} before, {ended:.1f} after it"]
    if began > QUIET:
        print(f"bench: something else was going on (a load of {began:.1f}): not figures to keep", file=sys.stderr)
    print(*facts, "", table(rows), sep="\n")
    if options.is_whole:
        write(ROOT / PAGE, rows, facts)
        print(f"written to {PAGE}")


if __name__ == "__main__":
    main()
