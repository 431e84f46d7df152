"""A chain to practise on: anvil with the contract and its players, for the scripts beside this file.

Needs anvil (named by ANVIL, or on the path) and pycryptodome.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import time

from check_draw import COMPLETED, keccak256, rpc

HERE = pathlib.Path(__file__).parent
CONTRACT = json.loads((HERE / "../contract/Lottery.json").read_text())
CHAIN_ID = 31337
# The second of the accounts that anvil gives everybody.
OPERATOR_KEY = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"


def call_data(signature, *values):
    return "0x" + keccak256(signature.encode()).hex()[:8] + "".join("%064x" % value for value in values)


class Chain:
    """Blocks every second; the first account publishes, the second operates, the others play."""

    def __init__(self, betting_secs):
        program = [os.environ.get("ANVIL", "anvil"), "--port", "0", "--block-time", "1"]
        self.node = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, start_new_session=True)
        listening = next(line for line in self.node.stdout if line.startswith("Listening on "))
        self.url = "http://" + listening.split()[-1]
        self.accounts = rpc(self.url, "eth_accounts")
        self.operator = self.accounts[1]
        first, second = (int(account, 16) for account in self.accounts[:2])
        # 5 % to the publisher; a draw from 5 to 60 s after the end of betting; extensions of at least 10 s.
        terms = "".join("%064x" % value for value in (first, second, 500, 5, 60, 10))
        bytecode = CONTRACT["bytecode"].removeprefix("0x")
        self.contract = self.send(self.accounts[0], data="0x" + bytecode + terms)["contractAddress"]
        self.send(self.operator, to=self.contract, data=call_data("updateBettingDuration(uint256)", betting_secs))

    def send(self, sender, **fields):
        made = rpc(self.url, "eth_sendTransaction", {"from": sender, "gas": hex(5_000_000), **fields})
        for _ in range(30):
            receipt = rpc(self.url, "eth_getTransactionReceipt", made)
            if receipt:
                assert receipt["status"] == "0x1", receipt
                return receipt
            time.sleep(0.3)
        raise RuntimeError(f"{made} is not mined")

    def bet(self):
        for player in self.accounts[2:5]:
            self.send(player, to=self.contract, data=call_data("placeBet()"), value=hex(10 ** 16))

    def drawn_by(self):
        """Who sent the draw of the first round, if there was one."""
        logs = rpc(self.url, "eth_getLogs", {"address": self.contract, "topics": [COMPLETED], "fromBlock": "0x0"})
        return logs and rpc(self.url, "eth_getTransactionByHash", logs[0]["transactionHash"])["from"]

    def end(self):
        os.killpg(self.node.pid, signal.SIGKILL)
        self.node.wait()


def readme_commands(containing):
    """The commands of the README's block in which `containing` stands, without prompts and remarks."""
    text = (HERE / "../../README.md").read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, re.S)
    block = next(block for block in blocks if containing in block)
    return [re.sub(r"\s+#.*", "", line[2:]) for line in block.splitlines() if line.startswith("$ ")]
