"""The manual pages as text: their sections, and the blocks of their examples as a reader would paste them."""
import pathlib
import re
import subprocess

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs/man"

ESCAPES = {r"\e": "\\", r"\&": "", r"\(dq": '"', r"\(aq": "'", r"\-": "-", r"\(ga": "`", r"\(ti": "~", r"\(ha": "^"}


def pages():
    """All pages, by path."""
    return sorted(path for path in FOLDER.iterdir() if re.fullmatch(r"\.[1-9]", path.suffix))


def sections(page):
    """{"NAME": its source …} in the page's order."""
    parts = re.split(r"(?m)^\.Sh (.*)\n", page.read_text())
    return dict(zip(parts[1::2], parts[2::2]))


def examples(page):
    """The literal blocks of EXAMPLES, each a list of lines without its escapes."""
    source = sections(page).get("EXAMPLES", "")
    blocks = re.findall(r"(?ms)^\.Bd -literal[^\n]*\n(.*?)^\.Ed$|^\.EX\n(.*?)^\.EE$", source)
    return [[unescaped(line) for line in (mdoc or man).splitlines()] for mdoc, man in blocks]


def unescaped(line):
    return re.sub(r"\\(?:\(..|.)", lambda match: ESCAPES[match.group()], line)


def rendered(page):
    """As `man` shows it, on a wide terminal."""
    done = subprocess.run(["man", "-E", "UTF-8", "-l", page], capture_output=True, text=True, check=True,
                          env={"PATH": "/usr/bin:/bin", "MANWIDTH": "300", "LC_ALL": "C.UTF-8", "GROFF_NO_SGR": "1"})  # fmt: skip
    return re.sub(".\x08", "", done.stdout)
