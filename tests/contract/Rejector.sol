// SPDX-License-Identifier: MIT
pragma solidity 0.8.28;

/// A bettor that cannot be paid: it has no way to receive ether, so every push to it reverts.
contract Rejector {
    function bet(address lottery) external payable {
        (bool ok, bytes memory data) = lottery.call{value: msg.value}(abi.encodeWithSignature("placeBet()"));
        if (!ok) {
            assembly {
                revert(add(data, 32), mload(data))
            }
        }
    }
}
