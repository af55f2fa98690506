#!/usr/bin/env python3
#
# ksmctl libvirt-xml: what it makes of a guest's XML, and what libvirt says
#
# SPDX-License-Identifier: GPL-2.0-or-later

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/vm"))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import check, check_equal, wait_for  # noqa: E402
from ksmtest.libvirt import Bed, domain_xml  # noqa: E402

QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
OTHER = "http://example.org/notes/1.0"
USAGE = 2


class XmlBed(Bed):
    def __init__(self, arguments, directory, stack):
        super().__init__(arguments, directory, stack)
        self.libvirt = self.host()

    def edit(self, text, *arguments):
        """What becomes of XML, which has to be valid."""
        after = self.libvirt.run("ksmctl", "libvirt-xml", "--file=-",
                                 *arguments, stdin=text)
        self.libvirt.write("/run/after.xml", after)
        self.libvirt.run("virt-xml-validate", "/run/after.xml", "domain")
        return after

    def fails(self, status, *arguments, stdin=""):
        return self.libvirt.run("ksmctl", "libvirt-xml", *arguments,
                                stdin=stdin, status=status)


def words(text):
    """The words for QEMU's command line."""
    return [arg.get("value") for arg in
            ET.fromstring(text).iterfind(f"{{{QEMU}}}commandline/"
                                         f"{{{QEMU}}}arg")]


def same_but_commandline(before, after):
    """Is all else of AFTER what it was, comments too?"""
    def rest(text):
        root = ET.fromstring(text, ET.XMLParser(
            target=ET.TreeBuilder(insert_comments=True)))
        for part in root.findall(f"{{{QEMU}}}commandline"):
            root.remove(part)
        return [(element.tag, sorted(element.attrib.items()),
                 (element.text or "").strip()) for element in root.iter()]
    return rest(before) == rest(after)


def bare(bed, *arguments, inside="", **options):
    """A domain with ARGUMENTS for QEMU, and more INSIDE."""
    return domain_xml("guest", bed.libvirt.emulator, arguments=arguments,
                      **options).replace("</domain>", inside + "</domain>")


def test_add(bed):
    """A guest gets an object; nothing else changes, and once is enough."""
    for before in (bare(bed), bare(bed, "-foo", "bar"), bare(
            bed, inside="<!-- ksm & <co> -->\n  <description>ä ,=&amp;&lt;"
            "</description>")):
        before = before.replace("<domain ", "<!-- first -->\n<domain ", 1)
        after = bed.edit(before)
        check_equal(words(after), words(before) + ["-object", "ksm,id=ksm0"],
                    "words")
        check(same_but_commandline(before, after), after)
        check("<!-- first -->" in after, after)
        check_equal(bed.edit(after), after, "the same again")
        removed = bed.edit(after, "--remove")
        check_equal(words(removed), words(before), "words")
        check(same_but_commandline(before, removed), removed)
        check_equal("commandline" in removed, bool(words(before)), removed)
        check_equal(bed.edit(removed, "--remove"), removed, "again")


def test_change(bed):
    """Properties are added, changed and taken away; others stay."""
    after = bed.edit(bare(bed, "-object", "ksm,id=k,run=off,new-thing=1"),
                     "max-cpu-percent=20", "run=on")
    check_equal(words(after), [
        "-object", "ksm,id=k,run=on,new-thing=1,max-cpu-percent=20"], "words")
    after = bed.edit(after, "run=", "max-cpu-percent=",
                     "rendezvous.path=/run/a,b<&\"'/k.sock")
    check_equal(words(after), [
        "-object", "ksm,id=k,new-thing=1,rendezvous.type=unix,"
        "rendezvous.path=/run/a,,b<&\"'/k.sock"], "words")
    after = bed.edit(after, "rendezvous.type=", "rendezvous.path=")
    check_equal(words(after), ["-object", "ksm,id=k,new-thing=1"], "words")
    after = bed.edit(bare(bed), "--emulator=/opt/a <&>b/qemu")
    check_equal(ET.fromstring(after).findtext("devices/emulator"),
                "/opt/a <&>b/qemu", "emulator")


def test_found(bed):
    """The object is found however QEMU may be told of it, and no other."""
    for option in ("ksm,id=ksm0", "qom-type=ksm,id=ksm0",
                   "id=ksm0,qom-type=ksm"):
        after = bed.edit(bare(bed, "--object", option), "run=off")
        check_equal(words(after), ["--object", "ksm,id=ksm0,run=off"], option)
    for option in ("ksmx,id=ksm0", "iothread,id=ksm", "rng-random,id=a,b=ksm",
                   '{"qom-type": "iothread", "id": "ksm"}', "{", "",
                   "ksm,,id=ksm0"):
        before = bare(bed, "-object", option, "-name", "ksm,id=ksm0")
        check_equal(words(bed.edit(before)), words(before) +
                    ["-object", "ksm,id=ksm0"], option)
        check_equal(words(bed.edit(before, "--remove")), words(before), option)
    before = bare(bed, "-object", '{"qom-type": "ksm", "id": "k"}')
    said = bed.fails(1, "--file=-", stdin=before)
    check("JSON" in said and "--remove" in said, said)
    check_equal(words(bed.edit(before, "--remove")), [], "words")
    # QEMU refuses a second one.
    before = bare(bed, "-object", "ksm,id=a", "-foo", "-object", "ksm,id=b")
    check_equal(words(bed.edit(before)), ["-object", "ksm,id=a", "-foo"],
                "words")
    check_equal(words(bed.edit(before, "--remove")), ["-foo"], "words")
    check_equal(words(bed.edit(bare(bed, "-foo", "-object"), "--remove")),
                ["-foo", "-object"], "words")


def test_namespace(bed):
    """The namespace is used as it is declared, or gets a prefix."""
    for before in (
            bare(bed).replace("xmlns:qemu=", "xmlns:q="),
            bare(bed).replace(f"xmlns:qemu='{QEMU}'", ""),
            bare(bed, inside=f"<metadata><qemu:a xmlns:qemu='{OTHER}'/>"
                 "</metadata>"),
            bare(bed, inside="<metadata><qemu:a/></metadata>").replace(
                QEMU, OTHER)):
        after = bed.edit(before)
        check_equal(words(after), ["-object", "ksm,id=ksm0"], before)
        check_equal(after.count(QEMU), 1, f"declarations in {after}")
        check_equal(after.count(OTHER), before.count(OTHER), after)
        bed.libvirt.define(after)
        kept = bed.libvirt.virsh("dumpxml", "guest")
        check_equal(words(kept), words(after), "what libvirt keeps")
        bed.libvirt.virsh("undefine", "guest")


def test_refused(bed):
    """What the object doesn't take, and what is no guest: the way out."""
    for argument, expected in (
            ("max-cpu-percent=101", "1 to 100"),
            ("max-cpu-percent=x", "1 to 100"), ("backend=zfs", "ksmfs"),
            ("run=1", "on, off"), ("no-such=1", "max-cpu-percent"),
            ("id=x", "no such property"), ("run", "not NAME=VALUE"),
            ("stable-passes=8", "1 to 7"), ("rendezvous.type=fd", "unix"),
            ("rendezvous.path=a", "path from /"),
            ("rendezvous.path=/" + 107 * "x", "107"),
            ("rendezvous.type=unix", "without a path"),
            ("iothread=a\x01", "control"),
            ("max-cpu-percent=\x1b[2J", "control")):
        said = bed.fails(USAGE, "--file=-", argument, stdin=bare(bed))
        check(expected in said, f"{argument!r}: {said}")
    for arguments, expected in (
            ((), "DOMAIN"), (("--file=-", "--define"), "--define"),
            (("--file=-", "--remove", "run=on"), "--remove"),
            (("--file=-", "--emulator=qemu"), "--emulator")):
        said = bed.fails(USAGE, *arguments, stdin=bare(bed))
        check(expected in said, f"{arguments}: {said}")
    for text, expected in (
            ("", "not XML"), ("<domain>", "line 1"), ("<a/>", "<domain>"),
            ("<domain xmlns='x:y'/>", "<domain>"),
            ("<!DOCTYPE domain [<!ENTITY a 'b'>]><domain>&a;</domain>",
             "DOCTYPE")):
        said = bed.fails(1, "--file=-", stdin=text)
        check(expected in said, f"{text}: {said}")
    said = bed.fails(1, "--file=/no/such")
    check("/no/such" in said, said)


def test_define(bed):
    """A guest of libvirt, whatever its name, is changed, and runs so."""
    host = bed.libvirt
    name = "-e vil\"'$(touch x)&lt;&amp;"
    plain = name.replace("&lt;", "<").replace("&amp;", "&")
    host.define(bare(bed).replace("<name>guest", f"<name>{name}"))
    connect = f"--connect={host.uri}"
    printed = host.run("ksmctl", "libvirt-xml", connect, "--", plain)
    check_equal(words(printed), ["-object", "ksm,id=ksm0"], "printed")
    check_equal(words(host.virsh("dumpxml", "--domain", plain)), [],
                "what libvirt has")
    host.run("ksmctl", "libvirt-xml", connect, "--define", "--", plain,
             "max-cpu-percent=20")
    host.virsh("start", "--domain", plain)
    wait_for(host.engines, "the engine to join ksmtuned")
    host.virsh("destroy", "--domain", plain)
    host.run("ksmctl", "libvirt-xml", connect, "--define", "--remove", "--",
             plain)
    check_equal(words(host.virsh("dumpxml", "--domain", plain)), [], "words")


def test_define_secret(bed):
    """Passwords are asked for only where the guest would lose them."""
    host = bed.libvirt
    host.write("/run/fake/virsh", '#!/bin/sh\necho "$@" >> /run/asked\n'
               "echo '<domain/>'\n")
    host.path("/run/fake/virsh").chmod(0o755)
    for more in [], ["--define"]:
        host.run("env", "PATH=/run/fake:/usr/local/sbin:/usr/bin", "ksmctl",
                 "libvirt-xml", "--connect=x:y", *more, "guest")
    check_equal(host.read("/run/asked").splitlines(), [
        "--connect=x:y dumpxml --inactive --domain guest",
        "--connect=x:y dumpxml --inactive --domain guest --security-info",
        # Whether somebody has changed it meanwhile.
        "--connect=x:y dumpxml --inactive --domain guest --security-info",
        "--connect=x:y define --validate --file /dev/stdin"], "virsh")


def test_define_changed(bed):
    """What somebody else has just changed is not undone."""
    host = bed.libvirt
    host.write("/run/fake/virsh", '#!/bin/sh\necho "$2" >> /run/asked\n'
               'echo "<domain><!-- $$ --></domain>"\n')
    host.path("/run/fake/virsh").chmod(0o755)
    result = host.run("env", "PATH=/run/fake:/usr/local/sbin:/usr/bin",
                      "ksmctl", "libvirt-xml", "--connect=x:y", "guest",
                      "--define", status=1)
    check("changed it just now" in result, result)
    check("define" not in host.read("/run/asked"), "it is defined")


def test_define_refused(bed):
    """What libvirt says of a guest that it has not, and of a wrong one."""
    host = bed.libvirt
    connect = f"--connect={host.uri}"
    said = bed.fails(1, connect, "no-such-guest")
    check("no-such-guest" in said and "virsh" in said, said)
    host.define(bare(bed))
    before = host.virsh("dumpxml", "guest")
    said = bed.fails(1, connect, "--define", "guest",
                     "--emulator=/no/such/qemu")
    check("/no/such/qemu" in said, said)
    check_equal(host.virsh("dumpxml", "guest"), before, "the guest")
    said = bed.fails(1, "--connect=qemu+unix:///system?socket=/none", "guest")
    check("/none" in said, said)


if __name__ == "__main__":
    cases.main("ksmctl libvirt-xml, and what libvirt says to it.", globals(),
               XmlBed)
