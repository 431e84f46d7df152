// What the operator does and how it is: whether it will draw, when, with what balance, and what went wrong lately.

import { badge } from "./badges.js";
import { byId, facts, fill, foreign, keyed, make, setAttribute, setText } from "./dom.js";
import { grouped } from "./format.js";
import { address, amount, time, transaction } from "./links.js";

const ACTIONS = {
  draw: "Draw",
  refund_expired: "Refund after the window",
  refund_forced: "Refund by command",
  extend: "Extension of the betting time",
  cancel: "Cancellation",
};

/** What the first screen or its notice says in words of its own. */
const SAID = ["chain_unreachable", "draw_missed", "stuck_round"];

/** Whether it concerns those who bet: their round, one of them, or the draw. */
function concerns({ code, severity, subject, roundId }, round) {
  return !SAID.includes(code) && (severity === "critical" || roundId === round?.roundId || Boolean(subject?.startsWith("player")));
}

export function renderOperator(operator, round) {
  if (!operator) return;
  fill(byId("operator-state"), [operator.isRunning], () =>
    operator.isRunning ? badge("badge good", "✓", "running") : badge("badge warn", "!", "not drawing"));
  keyed(byId("operator-alerts"), operator.alerts, (alert) => alert.id, alertRow);
  keyed(byId("warnings"), operator.alerts.filter((alert) => concerns(alert, round)), (alert) => alert.id, alertRow);
  fill(byId("operator-facts"), [operator], () => facts(entries(operator)));
}

function alertRow() {
  const severity = make("strong");
  const words = make("bdi");
  const node = make("li", null, severity, " ", words);
  return {
    node,
    update(alert) {
      setAttribute(node, "data-severity", alert.severity);
      setText(severity, `${alert.severity}:`);
      setText(words, alert.message);
    },
  };
}

function entries(operator) {
  const { scheduledDrawRoundId, scheduledDrawDueAt, lastDrawAttempt, lastEventTime, watchdogLastCheck } = operator;
  return [
    ["Now", operator.phase ? foreign(operator.phase) : (operator.keyLoaded ? "idle" : "no key is loaded: this server follows and does not draw")],
    ["Address", operator.address ? address(operator.address) : "none"],
    ["Balance", operator.balanceWei === null ? "unknown" : amount(operator.balanceWei)],
    ["Next draw", scheduledDrawDueAt ? make("span", null, `round ${grouped(scheduledDrawRoundId)}, due `, time(scheduledDrawDueAt)) : "none scheduled"],
    ["Last attempt", lastDrawAttempt ? time(lastDrawAttempt) : "none since the start"],
    ["Failures in a row", `${operator.consecutiveDrawFailures} of at most ${operator.maxDrawRetries}`],
    ["In flight", operator.inFlight ? inFlight(operator.inFlight) : "nothing"],
    ["Rehearsal", operator.rehearsal ? rehearsal(operator.rehearsal) : "none yet"],
    ["Last event", lastEventTime ? time(lastEventTime) : "none yet"],
    ["Watchdog", watchdogLastCheck ? time(watchdogLastCheck) : "not yet"],
  ];
}

function inFlight({ action, nonce, hashes, attempts }) {
  const words = `${ACTIONS[action] ?? action}, nonce ${nonce}, attempt ${attempts}`;
  return make("span", null, words, ...hashes.flatMap((hash) => [make("br"), transaction(hash)]));
}

function rehearsal({ roundId, ready, problems }) {
  if (ready) return `✓ ready for round ${grouped(roundId)}`;
  return make("span", null, `! round ${grouped(roundId)}: `, foreign(problems.join("; ")));
}
