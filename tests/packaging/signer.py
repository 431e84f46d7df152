"""A signer by eth-account behind a few lines of HTTP: the call of web3signer and nodes, or clef's.

usage: signer.py PORT PRIVATE_KEY web3signer|clef

It is what the tests sign with elsewhere, and shows what a signer has to do at the least. It has no rules and asks nobody:
not for real money.
"""
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from eth_account import Account
from eth_utils import to_checksum_address

PORT, KEY, DIALECT = int(sys.argv[1]), sys.argv[2], sys.argv[3]
METHOD = {"web3signer": "eth_signTransaction", "clef": "account_signTransaction"}[DIALECT]
ACCOUNT = Account.from_key(KEY)


def answer(call):
    if call["method"] != METHOD:
        return {"error": {"code": -32601, "message": f"the method {call['method']} does not exist/is not available"}}
    asked = dict(call["params"][0])
    if to_checksum_address(asked.pop("from")) != ACCOUNT.address:
        return {"error": {"code": -32000, "message": "unknown account"}}
    asked["to"] = to_checksum_address(asked["to"])
    raw = "0x" + bytes(ACCOUNT.sign_transaction(asked).raw_transaction).hex()
    return {"result": raw if DIALECT == "web3signer" else {"raw": raw, "tx": asked}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps({"jsonrpc": "2.0", "id": call["id"], **answer(call)}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
print("signing", flush=True)
server.serve_forever()
