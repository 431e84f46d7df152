// Numbers and times as people read them. Wei stay BigInt from end to end: no amount ever passes through a float.
// Pure: no DOM, no clock of its own.

const WEI_DIGITS = 18;
const SIGNIFICANT_DIGITS = 6;

/** Exact: 1234500000000000000000n -> "1,234.5". */
export function ether(wei) {
  const [whole, fraction] = splitWei(wei);
  return fraction ? `${grouped(whole)}.${fraction}` : grouped(whole);
}

/** For reading at a glance: at most six significant digits, cut and never rounded up; the whole part is never cut. */
export function etherShort(wei) {
  const [whole, fraction] = splitWei(wei);
  const zeros = whole === "0" ? fraction.length - fraction.replace(/^0+/, "").length : 0;
  const kept = whole === "0" ? zeros + SIGNIFICANT_DIGITS : Math.max(0, SIGNIFICANT_DIGITS - whole.length);
  const shown = fraction.slice(0, kept).replace(/0+$/, "");
  return shown ? `${grouped(whole)}.${shown}` : grouped(whole);
}

/** The exact amount as it is typed, without grouping: 1234500000000000000000n -> "1234.5". */
export function etherPlain(wei) {
  const [whole, fraction] = splitWei(wei);
  return fraction ? `${whole}.${fraction}` : whole;
}

function splitWei(wei) {
  const digits = BigInt(wei).toString().padStart(WEI_DIGITS + 1, "0");
  return [digits.slice(0, -WEI_DIGITS), digits.slice(-WEI_DIGITS).replace(/0+$/, "")];
}

/** What someone typed, as wei: {wei} or {problem} in words. Digits only: no sign, no exponent, one point or comma. */
export function parseEther(text) {
  const typed = text.trim().replace(/\s*eth$/i, "");
  if (typed === "") return { problem: "Type an amount in ETH." };
  const parts = /^(\d*)(?:[.,](\d*))?$/.exec(typed);
  if (!parts || (parts[1] === "" && !parts[2])) return { problem: "An amount is digits and one point, such as 0.05." };
  const [, whole, fraction = ""] = parts;
  if (fraction.length > WEI_DIGITS) return { problem: "ETH has 18 decimals, and no more." };
  if (whole.length > 27) return { problem: "There is not that much ETH in the world." };
  return { wei: BigInt(whole + fraction.padEnd(WEI_DIGITS, "0")) };
}

/** 1234567 -> "1,234,567"; takes anything whose text is digits. */
export function grouped(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** part of whole in millionths, as a Number fit for drawing; 0 when there is no whole. */
export function millionths(part, whole) {
  const total = BigInt(whole);
  return total > 0n ? Number((BigInt(part) * 1000000n) / total) : 0;
}

/** part of whole as "12.3 %", with two decimals below ten percent; the sign never stands on another line. */
export function percent(part, whole) {
  const share = millionths(part, whole);
  if (share < 100) return BigInt(part) > 0n ? "<0.01\u00a0%" : "0\u00a0%";
  if (share >= 100000) return `${decimals(Math.floor(share / 1000), 1)}\u00a0%`;
  return `${decimals(Math.floor(share / 100), 2)}\u00a0%`;
}

function decimals(scaled, count) {
  const digits = String(scaled).padStart(count + 1, "0");
  return `${digits.slice(0, -count)}.${digits.slice(-count)}`;
}

/** The chance in words: "about 1 in 5". */
export function odds(part, whole) {
  const [held, total] = [BigInt(part), BigInt(whole)];
  if (held <= 0n || total <= 0n) return "none";
  if (held >= total) return "certain, with nobody else in";
  const inTen = (total * 10n + held / 2n) / held;
  if (inTen <= 10n) return "nearly certain";
  const times = inTen < 30n && inTen % 10n !== 0n ? decimals(inTen, 1) : grouped((inTen + 5n) / 10n);
  return `about 1 in\u00a0${times}`;
}

/** Basis points of 10,000 as "2.5 %". */
export function basisPoints(points) {
  return `${Number(points) / 100} %`;
}

/** A count with its noun: counted(1, "player") -> "1 player". */
export function counted(count, noun) {
  return `${grouped(count)} ${noun}${Number(count) === 1 ? "" : "s"}`;
}

/** A countdown: 161 -> "02:41", 3761 -> "1:02:41", 180000 -> "2 d 02:00:00". */
export function countdown(seconds) {
  const total = Math.max(0, Math.floor(seconds));
  const two = (value) => String(value).padStart(2, "0");
  const days = Math.floor(total / 86400);
  const hours = Math.floor(total / 3600) % 24;
  const clock = `${two(Math.floor(total / 60) % 60)}:${two(total % 60)}`;
  if (days > 0) return `${grouped(days)} d ${two(hours)}:${clock}`;
  return hours > 0 ? `${hours}:${clock}` : clock;
}

/** A length of time in words: 180 -> "3 min", 95 -> "1 min 35 s". */
export function duration(seconds) {
  const total = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(total / 86400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "min"],
    [total % 60, "s"],
  ].filter(([count]) => count > 0);
  if (parts.length === 0) return "0 s";
  return parts.slice(0, 2).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

/** 0x976EA74026E726554dB657fA54763abd0C3a0aa9 -> "0x976E…0aa9" */
export function shortHex(hex) {
  return `${hex.slice(0, 6)}…${hex.slice(-4)}`;
}

/** Local time of day, "13:45:09", with as much of the date as tells it from `today` (a Date). */
export function localTime(unixSeconds, today) {
  // The first use of Intl loads its tables, which takes longer than all else that the page does before it is alive.
  const date = new Date(unixSeconds * 1000);
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
  const text = date.toDateString();
  if (text === today.toDateString()) return time;
  // In English, whatever the visitor's language is, as all words here.
  const [, month, day, year] = text.split(" ");
  return `${Number(day)} ${month}${date.getFullYear() === today.getFullYear() ? "" : ` ${year}`}, ${time}`;
}

/** "2026-01-31 13:45:09 UTC" */
export function utcTime(unixSeconds) {
  return `${new Date(unixSeconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
