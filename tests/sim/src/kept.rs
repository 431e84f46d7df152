//! Campaigns that once failed, by their seeds, each with what it found. They are played before all others, so that what
//! was mended stays so.

use crate::plan::Plan;

/// A seed, and what its campaign showed, where a plan has nothing rare.
const COMMON: &[(u64, &str)] = &[
    (193, "with a third of a second an answer and a block a second, owed logs were never caught up with"),
    (881, "the same on three endpoints, two of them without batches or hashes"),
    (509, "the same after a trouble of logs alone"),
    (384, "an endpoint without batches walked dozens of headers one by one while the head ran away"),
    (3840, "the same, and the window of a round passed meanwhile"),
    (2020, "the same, until the state of the head that was read was gone"),
    (1292, "a draw that a reorg mined in its branch was told as never drawn"),
    (2051, "a reorg mined what no block took just then"),
    (2597, "what a pool kept of a branch that is gone was told as a nonce gap"),
    (998, "after a reorg on a chain that mines on demand, the time of a head that stands was thought to be far behind"),
    (2406, "the same after a restart: the window passed before a node was asked for the next block's time"),
    (2446, "an endpoint without a pending block was believed for the others, and the draw reverted after its window"),
    (228, "what recovering from a refusal just before the window takes was not allowed for"),
    (2275, "after a reorg, owed logs were followed up along the branch that was gone, as an endpoint that trailed told it"),
    (1523, "logs left out for a minute were taken as they came, and a round was missing from the history for good"),
    (973, "on a chain that mines on demand, with neither overrides nor a pending block, nothing was ever drawn"),
    (3116, "a draw was judged by a head that only seemed to stand, before most bets, and ran out of gas"),
    (1921, "after an outage, steps through owed logs left the rest to a look that could not link it"),
    (20_261_615, "a frozen endpoint that was quick overtook each look of the sound one, and the head stood for good"),
];

/// The same, of plans with what is rare.
const WITH_RARITIES: &[(u64, &str)] = &[
    (2059, "after a deep reorg, finding the ancestor took longer than a frozen endpoint was patient, and the head stood"),
    (20_301_290, "a frozen endpoint without overrides said of its own pending block that no round runs, and was believed"),
    (20_302_377, "on a chain of legacy prices, the one question that tells them was left out for its silence minutes ago"),
    (20_303_070, "a draw that a reorg spent on the round before held up the next round's for 64 blocks"),
    (2138, "an endpoint thirty seconds behind was followed, since the one at the head took longer to link its blocks"),
    (3623, "a second endpoint that never answered was asked in each step through owed logs, and these were never whole"),
    (21_000_609, "with one endpoint frozen and one half a minute behind, a draw was judged before most bets and ran out of gas"),
    (31_007_417, "the odd spacing of a reorg kept a draw from being sent in time, and had one sent after its window"),
    (31_002_947, "on a chain that makes blocks on demand, a nonce that another daemon had used held up the flight for good"),
    (31_038_337, "a pool that was busy hid that the other wanted legacy prices, and the window passed"),
    (31_042_372, "a head that stood was believed to say that the next block, of which another node had told, comes too early"),
    (31_008_407, "a head that was caught up with after a start was thought to have come just then, and its time was far behind"),
    (31_025_900, "where the history began with logs left out, it was taken to be empty for good"),
    (31_036_991, "after an outage no logs at all were believed where the round had changed meanwhile"),
    (31_007_744, "with a third of a second an answer, each step through owed logs took as long as the look that owed more"),
    (31_018_615, "a reorg took back a round's first bet, and who could not be paid in it was accused for ever"),
    (31_034_813, "on an irregular chain, the only block of a window passed before a node was asked for the next block's time"),
    (31_015_624, "the failures of history were forgotten with each step up to the head, and it was never taken without its states"),
    (31_044_285, "each step through a history without states waited three times for an endpoint that never answers"),
    (31_009_547, "where no node speaks of the next block, a draw was refused until its block was there, and all were asked anew"),
    (31_033_385, "what a host that slept had not read meanwhile was told as an outage"),
];

/// The same, of plans with what is odd.
const WITH_ODDITIES: &[(u64, &str)] = &[
    (45_005_504, "that fees are not raised was told of what was still out of a round that was over, and for ever"),
    (46_000_833, "nodes were asked for states that they had kept when the way down through history began"),
    (45_001_591, "beside a frozen endpoint, looks at the other never got longer than the first that was too short"),
    (51_001_513, "an endpoint that refused all by status was asked 28 calls a try, where batches had failed before"),
    (62_000_037, "while a flight's nonce was in doubt, who failed at all it was asked was asked for it at each look"),
    (70_014_871, "a head's time was counted from when its logs had been read, and the draw came late by as long as that takes"),
    (70_014_934, "at the day's cap a refund that the base fee has left behind waits, and was missed all the same"),
    (70_015_381, "a block found at a start was taken to have just come, and a draw was sent when its window had closed"),
    (80_000_618, "chunks of logs that were left out were walked through as empty, and the way never led back to them"),
    (80_005_191, "a refusal for too little gas was cured by an offer below what the pool already held"),
    (80_007_387, "one by one, headers came more slowly than blocks, and the logs were held to be known up to the head"),
    (80_009_290, "the same on an endpoint that takes no batches, beside a frozen one"),
    (80_052_901, "what waited behind a missing nonce made a chain that mines on demand mine for ever, twenty blocks a second"),
    (80_075_284, "a look that had not been asked for the last logs sent steps on, whose end the head outran for minutes"),
    (90_006_148, "an offer that was lowered for want of funds was raised again, to less than outbids what a pool had taken unheard"),
    (91_007_060, "one pool's refusal hid that another had taken it, and the offer was raised at each turn, up to the cap"),
    (91_007_241, "an endpoint that stood was asked beside a slow one at each look, and for logs of after its head"),
    (90_007_193, "who answers slowly was asked beside one that stands, and that one for its first block, at each look"),
    (90_002_800, "the same of one that is twenty blocks behind"),
    (90_000_506, "a head was told to have stood for two minutes, most of which the host had slept through"),
    (200_004_021, "a draw that a pool had taken was forgotten, as what was signed anew for another pool came too late, and cost nothing"),
    (200_009_661, "the same, and the fees of the next were raised at the day's cap"),
    (200_007_521, "a step through history that was under way when a deep reorg was met was taken for the first of the way anew"),
    (200_000_784, "who failed at all it was asked was asked beside a slow one at each look at a flight that no block took"),
    (300_101_112, "after a reorg, logs that were left out were taken as they came, since nothing told what they had to lead from"),
    (300_004_123, "of a first head that a reorg to a lower one took away while it was read, the daemon never let go"),
    (300_002_306, "a draw that a reorg took back was sent again with gas for one player, where the new branch had ten"),
    (300_002_410, "one method that failed for seconds had headers asked for by threes for minutes, which blocks outran"),
    (330_000_448, "a block that an outage kept from being shown was held to be late, where that began after what a draw takes"),
    (400_013_644, "a rehearsal that a reorg had made void waited forty seconds for an endpoint that never answers, and the window passed"),
    (400_112_703, "a short branch ended in the past, and a round whose window no block was in was to be drawn"),
    (400_006_886, "the same on a chain that makes blocks on demand"),
    (400_111_631, "a head that had stood for two minutes was told so by a daemon that had known it for half of them"),
    (410_008_437, "a round was read by number and not checked, as another question had just shown that hashes are taken after all"),
    (400_101_358, "what a reorg put back was to be offered for more as if there had been time between the blocks of its branch"),
    (400_004_900, "who trails was to be known after the host had slept, without being asked anew"),
    (410_009_800, "who answers null to all was asked twice for its head, and again a moment later, as if a block would soon be there"),
    (410_014_333, "who fails at all it is asked was asked by number for each thing that it had just failed at by hash"),
    (400_112_636, "the same, and for ever fewer logs, though it showed no blocks either"),
    (440_033_087, "after an outage a lone endpoint that takes no hashes was never asked by number, since its head came whole but never a look"),
    (440_019_279, "a step up to the head that was under way when a reorg came was taken for the branch's, and a bet was missing"),
    (440_033_149, "beside a look that hangs, who trails was asked for its head again as soon as it had told that it trails"),
    (440_030_408, "who trails was to be known before a start had read its first headers one by one"),
    (420_104_231, "more was to be offered by an endpoint that had failed at all since before the last offer had rested"),
    (400_006_831, "a start was to have read all logs as soon as any other, where they come by tens of blocks"),
    (410_115_873, "the same, one by one"),
    (440_016_121, "what was signed at a newer head than was known was let go for a nonce gap, and sent again for no more than is out"),
    (451_003_954, "after a deep reorg 64 headers were read one by one, as full batches that fail had just been tried again"),
    (460_106_007, "headers of a branch that a reorg had just taken back were followed parent by parent, sixty of them"),
    (470_007_333, "who trails by eight blocks was asked beside each look of the window that took two answers"),
    (480_009_077, "that a chain takes no type 2 was not heard beside a pool that said, a moment later, that the account is short"),
    (2_904, "what a start found pending was to be offered for more before it had been given its six blocks"),
];

/// All of them, with what each found.
pub fn campaigns() -> impl Iterator<Item = (Plan, &'static str)> {
    let common = COMMON
        .iter()
        .map(|(seed, found)| (Plan::common(*seed), *found));
    let rare = WITH_RARITIES
        .iter()
        .map(|(seed, found)| (Plan::rare(*seed), *found));
    let odd = WITH_ODDITIES
        .iter()
        .map(|(seed, found)| (Plan::of(*seed), *found));
    common.chain(rare).chain(odd)
}
