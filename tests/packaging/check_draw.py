#!/usr/bin/env python3
"""Checks how a round of the lottery ended, with nothing of the lottery's own programs: any node of the chain will do.

    pip install pycryptodome
    python3 check_draw.py https://your.node 0xCONTRACT 7 [FIRST_BLOCK [LAST_BLOCK]]

It reads the round's logs and the block that mined the draw, computes seed, winner and prize again, and compares.
Exit code 0: everything follows. 3: it does not. 1: the chain could not be read, or does not tell enough.
"""
import json
import sys
import urllib.request

from Crypto.Hash import keccak

STEP_BLOCKS = 500  # of one question for logs; many nodes allow no more


def keccak256(data):
    return keccak.new(digest_bits=256, data=data).digest()


def topic(signature):
    return "0x" + keccak256(signature.encode()).hex()


BET = topic("BetPlaced(uint256,address,uint256,uint256,uint256)")
COMPLETED = topic("RoundCompleted(uint256,address,uint256,uint256,uint256,uint256,uint256,uint256)")
REFUNDED = topic("RoundRefunded(uint256,uint256,uint256,string,uint256)")


def rpc(url, method, *params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    if answer.get("error"):
        raise RuntimeError(f"{method}: {answer['error']}")
    return answer["result"]


def words(data):
    digits = data[2:]
    return [int(digits[at:at + 64], 16) for at in range(0, len(digits), 64)]


def round_logs(url, contract, round_id, first, last):
    """The round's bets and its end, newest blocks first until the end and all bets before it are there."""
    wanted = [[BET, COMPLETED, REFUNDED], "0x%064x" % round_id]
    logs = []
    while last >= first:
        start = max(first, last - STEP_BLOCKS + 1)
        filter_ = {"address": contract, "topics": wanted, "fromBlock": hex(start), "toBlock": hex(last)}
        logs += rpc(url, "eth_getLogs", filter_)
        bets = [log for log in logs if log["topics"][0] == BET]
        # The round's first bet is the one whose pot is the bet itself.
        if any(words(bet["data"])[0] == words(bet["data"])[1] for bet in bets):
            break
        last = start - 1

    def place(log):
        return [int(log[key], 16) for key in ("blockNumber", "transactionIndex", "logIndex")]

    return sorted(logs, key=place)


def candidates(url, block):
    """What the contract may have seen as PREVRANDAO and NUMBER: the chain's own word first, then the header's."""
    pairs = []
    try:
        # NUMBER, PREVRANDAO and TIMESTAMP, as a call in that very block sees them; no code may begin with 0xef, as one
        # PREVRANDAO in 256 does, so that it is not the first.
        code = {"data": "0x43600052446020524260405260606000f3"}
        number, prevrandao, time = words(rpc(url, "eth_call", code, {"blockHash": block["hash"]}))
        if time == int(block["timestamp"], 16):
            pairs.append((prevrandao, number))
    except (RuntimeError, ValueError):
        print("the block's state is gone: trying what its header says")
    randoms = [int(block[key], 16) for key in ("mixHash", "difficulty") if block.get(key)]
    numbers = [int(block[key], 16) for key in ("number", "l1BlockNumber") if block.get(key)]
    return pairs + [(random, number) for random in randoms for number in numbers]


def check(url, contract, round_id, first, last):
    logs = round_logs(url, contract, round_id, first, last)
    ends = [log for log in logs if log["topics"][0] != BET]
    if len(ends) != 1:
        print(f"round {round_id} ends {len(ends)} times in blocks {first} to {last}, and must once")
        return 1
    end, totals, pot = ends[0], {}, 0
    for log in logs:
        if log["topics"][0] == BET:
            amount, pot_after, _ = words(log["data"])
            player = "0x" + log["topics"][2][-40:]
            totals[player] = totals.get(player, 0) + amount  # a dict keeps the order of first bets
            pot += amount
            if pot != pot_after:
                print(f"bets are missing before the one in block {int(log['blockNumber'], 16)}")
                return 1
    if end["topics"][0] == REFUNDED:
        refunded, players = words(end["data"])[:2]
        print(f"refunded: {refunded} wei to {players} players; the bets were {pot} wei of {len(totals)} players")
        return 0 if (refunded, players) == (pot, len(totals)) else 3
    winner = "0x" + end["topics"][2][-40:]
    total_pot, players, prize, commission, seed, timestamp = words(end["data"])
    if pot != total_pot:
        print(f"the bets add up to {pot} wei, the pot is {total_pot} wei")
        return 1
    block = rpc(url, "eth_getBlockByHash", end["blockHash"], False)
    for prevrandao, number in candidates(url, block):
        hashed = b"".join(n.to_bytes(32, "big") for n in (timestamp, prevrandao, number, round_id, total_pot))
        if int.from_bytes(keccak256(hashed), "big") == seed:
            break
    else:
        print("nothing that this node tells of the block leads to the seed that the contract announced")
        return 3
    point = seed % total_pot
    running, drawn = 0, None
    for player, total in totals.items():
        running += total
        if running > point:
            drawn = player
            break
    print(f"seed   {seed}\n       from time {timestamp}, prevrandao {prevrandao:#x}, number {number}")
    print(f"point  {point} of {total_pot}\nwinner {drawn}, announced {winner}")
    print(f"prize  {prize} wei and commission {commission} wei")
    follows = drawn == winner and prize + commission == total_pot and players == len(totals)
    print("everything follows" if follows else "this does NOT follow")
    return 0 if follows else 3


def main():
    arguments = sys.argv[1:]
    if not 3 <= len(arguments) <= 5 or not all(number.isdecimal() for number in arguments[2:]):
        print(__doc__)
        return 2
    url, contract, *numbers = arguments
    numbers = [int(number) for number in numbers]
    first = numbers[1] if len(numbers) > 1 else 0
    last = numbers[2] if len(numbers) > 2 else int(rpc(url, "eth_blockNumber"), 16)
    return check(url, contract, numbers[0], first, last)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, RuntimeError) as error:
        sys.exit(f"the chain could not be read: {error}")
