#!/usr/bin/env python3
"""The static binary in a folder with nothing else in it: it resolves names and speaks https all the same.

    sudo ANVIL=... python3 tests/packaging/empty_chroot.py lottery

The folder holds the binary, /etc/hosts or /etc/resolv.conf, and the certificate of an authority of the test's own. One name
stands in /etc/hosts, the other is known to a DNS server of the test's own alone. Behind both stands anvil, with TLS before
it. Without that authority the endpoint has to be refused, by the ones that are inside the binary.
"""
import http.server
import os
import pathlib
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.request

from practice import CHAIN_ID, Chain

IN_HOSTS, IN_DNS = "in-hosts.test", "in-dns.test"


def certificates(folder):
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, cwd=folder, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=an authority", "-days", "2")
    openssl("req", *key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=an endpoint")
    (folder / "names").write_text(f"subjectAltName=DNS:{IN_HOSTS},DNS:{IN_DNS}\n")
    signed_by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    openssl("x509", "-req", "-in", "request.pem", "-out", "cert.pem", *signed_by)


def tls_before(url, folder):
    class Relay(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            request = urllib.request.Request(url, body, {"content-type": "application/json"})
            with urllib.request.urlopen(request) as response:
                answer = response.read()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


class Names(socketserver.BaseRequestHandler):
    """Answers each question for the one name's IPv4 address; no other name exists."""

    asked = set()

    def handle(self):
        question, reply_to = self.request
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        name, kind = ".".join(labels), question[at + 2]
        Names.asked.add(name)
        is_known = name == IN_DNS
        has_answer = is_known and kind == 1
        flags = b"\x81\x80" if is_known else b"\x81\x83"
        header = question[:2] + flags + b"\0\1" + (b"\0\1" if has_answer else b"\0\0") + b"\0\0\0\0"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x05\0\x04" + socket.inet_aton("127.0.0.1")
        reply_to.sendto(header + question[12:at + 5] + (answer if has_answer else b""), self.client_address)


def check(root, chain, url, *settings):
    """What `lottery check` says of the endpoint when the folder is all there is."""
    values = [f"blockchain.rpc_url={url}", f"blockchain.chain_id={CHAIN_ID}"]
    values += [f"blockchain.contract_address={chain.contract}", *settings]
    arguments = [argument for value in values for argument in ("--set", value)]
    enter = lambda: (os.chroot(root), os.chdir("/"))
    ran = subprocess.run(["/lottery", "check", *arguments], preexec_fn=enter, env={}, capture_output=True, text=True)
    return ran.stdout + ran.stderr


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        root = folder / "root"
        (root / "etc").mkdir(parents=True)
        shutil.copy(sys.argv[1], root / "lottery")
        certificates(folder)
        shutil.copy(folder / "ca.pem", root)
        names = socketserver.ThreadingUDPServer(("127.0.0.1", 53), Names)
        threading.Thread(target=names.serve_forever, daemon=True).start()
        chain = Chain(betting_secs=60)
        try:
            port = tls_before(chain.url, folder)
            trusted = "blockchain.ca_file=/ca.pem"
            (root / "etc/hosts").write_text(f"127.0.0.1 {IN_HOSTS}\n")
            (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
            for name in (IN_HOSTS, IN_DNS):
                said = check(root, chain, f"https://{name}:{port}", trusted)
                print(said)
                assert f"https://{name}:{port}  getRound" in said and "NO" not in said, name
            assert IN_DNS in Names.asked, "the name server was not asked"
            said = check(root, chain, f"https://{IN_HOSTS}:{port}")
            print(said)
            assert "certificate" in said.lower() and "NO" in said, "an unknown authority is trusted"
            said = check(root, chain, f"https://nowhere.test:{port}", trusted)
            print(said)
            unknown = "has a host name that is not found"
            assert "NO" in said and "nowhere.test" in said and unknown in said, "a name that nobody knows is told wrongly"
        finally:
            chain.end()
        files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        print("https and names with these files alone:", ", ".join(files))


main()
