#!/usr/bin/env python3
"""From a fresh Debian and the package to a drawn round, by the README's commands alone.

    sudo ANVIL=... python3 tests/packaging/from_nothing.py lottery.deb

Boots a Debian of its own (debootstrap makes it, or DEBIAN names a folder with one that has systemd and sudo; it is copied),
with its own systemd, in systemd-nspawn. The commands come from the README, word for word; the only stand-in is that of
the person at the editor. The chain is anvil's. Prints what the machine said, and fails if nothing was drawn; where no
such machine can be made or booted it ends with 75.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from practice import CHAIN_ID, OPERATOR_KEY, Chain, readme_commands

BOOT_SECS, ROUND_SECS = 180, 120
NO_MACHINE = 75

# What the README asks to be entered: where the chain is, which one, and the contract.
EDITOR = r"""#!/bin/sh
sed -i 's|"rpc_url": .*|"rpc_url": "{url}",|; s|"chain_id": .*|"chain_id": {chain_id}, "contract_address": "{contract}"|' "$1"
"""

SESSION = """#!/bin/bash
cd /root
exec >/root/said 2>&1
set -ex
{commands}
touch /root/installed
set +x
until [ -e /root/drawn ]; do sleep 0.5; done
until lottery status | grep -q "^round  *2"; do sleep 0.5; done
set -x
lottery status || echo "status: exit code $?"
systemctl status lottery --no-pager
systemctl show lottery -p NRestarts
"""

UNIT = """[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/root/session
ExecStopPost=/bin/systemctl --force poweroff
"""


def debian(root):
    made = os.environ.get("DEBIAN")
    if made:
        subprocess.run(["cp", "-a", made, root], check=True)
        return
    packages = "--include=systemd,systemd-sysv,sudo,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", packages, "bookworm", root], check=True, stdout=subprocess.DEVNULL)


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)


def prepare(root, deb, chain):
    home = root / "root"
    shutil.copy(deb, home / "lottery.deb")
    (home / "operator.key").write_text(OPERATOR_KEY + "\n")
    editor = EDITOR.format(url=chain.url, chain_id=CHAIN_ID, contract=chain.contract)
    executable(root / "usr/local/bin/editor", editor)
    # The package is there already: it was made on another machine.
    commands = [line for line in readme_commands("dpkg -i lottery.deb") if "build-deb" not in line]
    executable(home / "session", SESSION.format(commands="\n".join(commands)))
    units = root / "etc/systemd/system"
    (units / "session.service").write_text(UNIT)
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    (units / "multi-user.target.wants/session.service").symlink_to("../session.service")


def wait_for(seconds, what, machine, is_there):
    until = time.monotonic() + seconds
    while not is_there():
        if machine.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"never {what}")
        time.sleep(0.5)


def play(root, chain):
    command = ["systemd-nspawn", "--quiet", f"--directory={root}", "--register=no", "--keep-unit"]
    command += ["--console=read-only", "--boot"]
    machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(BOOT_SECS, "installed", machine, (root / "root/installed").exists)
        chain.bet()
        wait_for(ROUND_SECS, "drawn", machine, chain.drawn_by)
        (root / "root/drawn").touch()
        machine.wait(60)
    finally:
        machine.kill()
        machine.wait()


def no_machine(why):
    print(why)
    sys.exit(NO_MACHINE)


def main():
    deb = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "debian"
        try:
            debian(root)
        except (OSError, subprocess.CalledProcessError) as error:
            no_machine(f"no Debian: {error}")
        chain = Chain(betting_secs=20)
        said = root / "root/said"
        try:
            prepare(root, deb, chain)
            play(root, chain)
            drawn_by = chain.drawn_by()
        except (OSError, RuntimeError) as error:
            if not said.exists():
                no_machine(f"it does not boot: {error}")
            raise
        finally:
            chain.end()
            print(said.read_text() if said.exists() else "the machine said nothing")
        text = said.read_text()
        assert drawn_by == chain.operator, drawn_by
        assert "ready       yes" in text and "exit code" not in text, "status is not well"
        assert 'Status: "' in text and "NRestarts=0" in text, "systemd was not told how the round is"
        print("from nothing to a drawn round: done")


main()
