// SPDX-License-Identifier: MIT
pragma solidity 0.8.28;

interface ILottery {
    enum RoundState { WAITING, BETTING, DRAWING, COMPLETED, REFUNDED }

    struct LotteryRound {
        uint256 roundId;
        uint256 startTime;
        uint256 endTime;
        uint256 minDrawTime;
        uint256 maxDrawTime;
        uint256 totalPot;
        uint256 participantCount;
        address winner;
        uint256 publisherCommission;
        uint256 winnerPrize;
        RoundState state;
    }
}

/// A lottery in rounds: bets start a round, the operator draws its winner inside a window, and anyone may refund it
/// afterwards. Its flaws are deliberate: the daemon is tested against the contract as it is deployed.
contract Lottery is ILottery {
    address public immutable PUBLISHER;
    uint256 public immutable PUBLISHER_COMMISSION_RATE;
    uint256 private immutable minDrawDelaySecs;
    uint256 private immutable maxDrawDelaySecs;
    uint256 private immutable minEndTimeExtensionSecs;

    address public operator;
    uint256 private minBetAmount = 0.001 ether;
    uint256 private bettingDuration = 180;
    uint256 private minParticipants = 2;

    LotteryRound private round;
    address[] private participants;
    mapping(address => uint256) private bets;
    mapping(address => uint256) private pending;

    event RoundCreated(uint256 indexed roundId, uint256 startTime, uint256 endTime, uint256 minDrawTime, uint256 maxDrawTime, uint256 timestamp);
    event RoundStateChanged(uint256 indexed roundId, RoundState oldState, RoundState newState, uint256 timestamp);
    event BetPlaced(uint256 indexed roundId, address indexed player, uint256 amount, uint256 newTotal, uint256 timestamp);
    event EndTimeExtended(uint256 indexed roundId, uint256 oldEndTime, uint256 newEndTime, uint256 timestamp);
    event RoundCompleted(uint256 indexed roundId, address indexed winner, uint256 totalPot, uint256 participantCount, uint256 winnerPrize, uint256 publisherCommission, uint256 randomSeed, uint256 timestamp);
    event RoundRefunded(uint256 indexed roundId, uint256 totalRefunded, uint256 participantCount, string reason, uint256 timestamp);
    event MinBetAmountUpdated(uint256 oldAmount, uint256 newAmount, uint256 timestamp);
    event BettingDurationUpdated(uint256 oldDuration, uint256 newDuration, uint256 timestamp);
    event MinParticipantsUpdated(uint256 oldMin, uint256 newMin, uint256 timestamp);
    event OperatorUpdated(address indexed oldOperator, address indexed newOperator, uint256 timestamp);
    event Withdrawn(address indexed to, uint256 amount, uint256 timestamp);

    modifier onlyOperator() {
        require(operator != address(0), "Operator not set");
        require(msg.sender == operator, "Only operator can call this function");
        _;
    }

    constructor(address publisher, address operator_, uint256 commissionRateBps, uint256 minDrawDelay_, uint256 maxDrawDelay_, uint256 minEndTimeExtension_) {
        PUBLISHER = publisher;
        operator = operator_;
        PUBLISHER_COMMISSION_RATE = commissionRateBps;
        minDrawDelaySecs = minDrawDelay_;
        maxDrawDelaySecs = maxDrawDelay_;
        minEndTimeExtensionSecs = minEndTimeExtension_;
        round.roundId = 1;
    }

    function placeBet() external payable {
        require(msg.value >= minBetAmount, "Bet amount too low");
        if (round.state == RoundState.WAITING) _start();
        require(round.state == RoundState.BETTING, "Round not in betting state");
        require(block.timestamp >= round.startTime && block.timestamp <= round.endTime, "Betting not active");
        if (bets[msg.sender] == 0) {
            participants.push(msg.sender);
            round.participantCount = participants.length;
        }
        bets[msg.sender] += msg.value;
        round.totalPot += msg.value;
        emit BetPlaced(round.roundId, msg.sender, msg.value, round.totalPot, block.timestamp);
    }

    function startRound() external onlyOperator {
        require(round.state == RoundState.WAITING, "Must be in waiting state to start new round");
        _start();
    }

    function extendBettingTime(uint256 newEndTime) external onlyOperator {
        require(round.state == RoundState.BETTING, "Must be in betting state");
        require(block.timestamp <= round.endTime, "Betting period already ended");
        require(newEndTime >= block.timestamp + minEndTimeExtensionSecs, "New end time must be at least minEndTimeExtension from now");
        require(newEndTime > round.endTime, "New end time must be later than current end time");
        uint256 oldEndTime = round.endTime;
        round.endTime = newEndTime;
        round.minDrawTime = newEndTime + minDrawDelaySecs;
        round.maxDrawTime = newEndTime + maxDrawDelaySecs;
        emit EndTimeExtended(round.roundId, oldEndTime, newEndTime, block.timestamp);
    }

    function drawWinner() external onlyOperator {
        require(round.state == RoundState.BETTING, "Round must be in betting state");
        require(block.timestamp >= round.minDrawTime, "Min draw time not reached");
        require(block.timestamp <= round.maxDrawTime, "Draw time expired, refund required");
        require(round.totalPot > 0, "No bets placed");
        round.state = RoundState.DRAWING;
        if (participants.length < minParticipants) {
            _refund("Insufficient participants");
            return;
        }
        uint256 seed = uint256(keccak256(abi.encode(block.timestamp, block.prevrandao, block.number, round.roundId, round.totalPot)));
        uint256 target = seed % round.totalPot;
        address winner;
        uint256 running;
        uint256 count = participants.length;
        for (uint256 i = 0; i < count; i++) {
            running += bets[participants[i]];
            if (running > target) {
                winner = participants[i];
                break;
            }
        }
        uint256 commission = round.totalPot * PUBLISHER_COMMISSION_RATE / 10000;
        uint256 prize = round.totalPot - commission;
        round.winner = winner;
        round.publisherCommission = commission;
        round.winnerPrize = prize;
        round.state = RoundState.COMPLETED;
        pending[PUBLISHER] += commission;
        emit RoundStateChanged(round.roundId, RoundState.DRAWING, RoundState.COMPLETED, block.timestamp);
        emit RoundCompleted(round.roundId, winner, round.totalPot, count, prize, commission, seed, block.timestamp);
        payable(winner).transfer(prize);
        _reset();
    }

    function refundRound() external onlyOperator {
        require(round.state == RoundState.BETTING, "Round must be in betting state");
        require(round.totalPot > 0, "No funds to refund");
        _refund("Operator-initiated refund");
    }

    function refundExpiredRound() external {
        require(round.state == RoundState.BETTING, "Round not in betting state");
        require(participants.length > 0, "No participants in round");
        require(block.timestamp > round.maxDrawTime, "Max draw time not expired");
        _refund("Draw time expired - public refund");
    }

    function updateMinBetAmount(uint256 newMinBetAmount) external onlyOperator {
        require(round.state == RoundState.WAITING, "Can only update min bet amount in waiting state");
        require(newMinBetAmount > 0, "Min bet amount must be positive");
        emit MinBetAmountUpdated(minBetAmount, newMinBetAmount, block.timestamp);
        minBetAmount = newMinBetAmount;
    }

    function updateBettingDuration(uint256 newDuration) external onlyOperator {
        require(round.state == RoundState.WAITING, "Can only update betting duration in waiting state");
        require(newDuration > 0, "Betting duration must be positive");
        emit BettingDurationUpdated(bettingDuration, newDuration, block.timestamp);
        bettingDuration = newDuration;
    }

    function updateMinParticipants(uint256 newMinParticipants) external onlyOperator {
        require(round.state == RoundState.WAITING, "Can only update min participants in waiting state");
        require(newMinParticipants >= 2, "Minimum participants must be at least 2");
        emit MinParticipantsUpdated(minParticipants, newMinParticipants, block.timestamp);
        minParticipants = newMinParticipants;
    }

    function setOperator(address newOperator) external {
        require(msg.sender == PUBLISHER, "Only publisher can call this function");
        require(newOperator != address(0), "Invalid operator address");
        require(newOperator != PUBLISHER, "Operator cannot be publisher");
        require(round.state == RoundState.WAITING, "Cannot change operator when not in waiting state");
        emit OperatorUpdated(operator, newOperator, block.timestamp);
        operator = newOperator;
    }

    function withdraw() external {
        uint256 amount = pending[msg.sender];
        require(amount > 0, "No funds available");
        pending[msg.sender] = 0;
        emit Withdrawn(msg.sender, amount, block.timestamp);
        payable(msg.sender).transfer(amount);
    }

    function pendingWithdrawals(address account) external view returns (uint256) { return pending[account]; }
    function getRound() external view returns (LotteryRound memory) { return round; }
    function getParticipants() external view returns (address[] memory) { return participants; }
    function getBetAmount(address player) external view returns (uint256) { return bets[player]; }
    function getConfig() external view returns (address publisherAddr, address operatorAddr, uint256 publisherCommission, uint256 minBet, uint256 bettingDur, uint256 minDrawDelay, uint256 maxDrawDelay, uint256 minEndTimeExt, uint256 minPart) {
        return (PUBLISHER, operator, PUBLISHER_COMMISSION_RATE, minBetAmount, bettingDuration, minDrawDelaySecs, maxDrawDelaySecs, minEndTimeExtensionSecs, minParticipants);
    }

    function _start() private {
        round.startTime = block.timestamp;
        round.endTime = block.timestamp + bettingDuration;
        round.minDrawTime = round.endTime + minDrawDelaySecs;
        round.maxDrawTime = round.endTime + maxDrawDelaySecs;
        round.state = RoundState.BETTING;
        emit RoundStateChanged(round.roundId, RoundState.WAITING, RoundState.BETTING, block.timestamp);
    }

    function _refund(string memory reason) private {
        RoundState oldState = round.state;
        round.state = RoundState.REFUNDED;
        uint256 total = round.totalPot;
        uint256 count = participants.length;
        emit RoundStateChanged(round.roundId, oldState, RoundState.REFUNDED, block.timestamp);
        emit RoundRefunded(round.roundId, total, count, reason, block.timestamp);
        for (uint256 i = 0; i < count; i++) {
            address player = participants[i];
            uint256 amount = bets[player];
            payable(player).transfer(amount);
        }
        _reset();
    }

    function _reset() private {
        uint256 count = participants.length;
        for (uint256 i = 0; i < count; i++) delete bets[participants[i]];
        delete participants;
        uint256 nextId = round.roundId + 1;
        delete round;
        round.roundId = nextId;
        emit RoundCreated(nextId, 0, 0, 0, 0, block.timestamp);
    }
}
