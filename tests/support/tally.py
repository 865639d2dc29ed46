"""Counts every test of a run.

Reads the JUnit XML that the suites left behind (meson's and pytest's), names
what failed and why what was skipped was, and closes with the one line
`N passed, N failed, N skipped`. A suite that failed without naming a test
(a build that broke, a time budget that ran out) counts as one failure.
"""

import argparse
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree


def cases(folders):
    for folder in folders:
        for path in sorted(pathlib.Path(folder).glob("*.xml")):
            for case in ElementTree.parse(path).getroot().iter("testcase"):
                yield case


def skip_reasons(folders):
    """Test name -> reason, from the TAP in meson's logs: its XML leaves the reasons out."""
    reasons = {}
    for folder in folders:
        for path in pathlib.Path(folder).glob("junit-*.txt"):
            for line in path.read_text(errors="replace").splitlines():
                match = re.match(r"ok \d+ - (\S+) # SKIP (.*)", line.strip())
                if match:
                    reasons[match[1]] = match[2]
    return reasons


def verdict(case):
    for child in case:
        if child.tag in ("failure", "error"):
            return "failed", child.get("message") or (child.text or "").strip().split("\n")[0]
        if child.tag == "skipped":
            return "skipped", child.get("message") or (child.text or "").strip()
    return "passed", ""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--failed", default="", help="names of the suites whose command failed")
    options = parser.parse_args()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    reasons = skip_reasons(options.folders)
    for case in cases(options.folders):
        what, why = verdict(case)
        counts[what] += 1
        why = why or reasons.get(case.get("name").split(" - ")[-1], "")
        if what != "passed":
            print(f"{what}: {case.get('classname')}: {case.get('name')}: {why}")
    suites = options.failed.split()
    if suites and counts["failed"] == 0:
        counts["failed"] = len(suites)
    if suites:
        print("suites that failed:", *suites)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(1 if counts["failed"] or not counts["passed"] else 0)


if __name__ == "__main__":
    main()
