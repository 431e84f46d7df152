// Numbers and times as people read them. Wei stay BigInt from end to end: no amount ever passes through a float.
// Pure: no DOM, no clock of its own.

const WEI_DIGITS = 18;
const SHORT_FRACTION_DIGITS = 6;

/** Exact: 1234500000000000000000n -> "1,234.5". */
export function ether(wei) {
  const [whole, fraction] = split(wei);
  return fraction ? `${whole}.${fraction}` : whole;
}

/** For narrow places: at most six decimals, cut and never rounded up; an ellipsis says that digits are missing. */
export function etherShort(wei) {
  const [whole, fraction] = split(wei);
  if (fraction.length <= SHORT_FRACTION_DIGITS) return fraction ? `${whole}.${fraction}` : whole;
  const kept = fraction.slice(0, SHORT_FRACTION_DIGITS).replace(/0+$/, "");
  if (kept) return `${whole}.${kept}…`;
  return whole === "0" ? "<0.000001" : `${whole}.0…`;
}

function split(wei) {
  const amount = BigInt(wei);
  const digits = amount.toString().padStart(WEI_DIGITS + 1, "0");
  return [grouped(digits.slice(0, -WEI_DIGITS)), digits.slice(-WEI_DIGITS).replace(/0+$/, "")];
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

/** part of whole as "12.34 %". */
export function percent(part, whole) {
  const share = millionths(part, whole);
  if (share === 0 && BigInt(part) > 0n) return "<0.01 %";
  const hundredths = Math.floor(share / 100);
  if (hundredths === 0 && share > 0) return "<0.01 %";
  return `${Math.floor(hundredths / 100)}.${String(hundredths % 100).padStart(2, "0")} %`;
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

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
// Making a formatter costs far more than using it.
const timeOfDay = new Intl.DateTimeFormat([], CLOCK);
const dayAndTime = new Intl.DateTimeFormat([], { day: "numeric", month: "short", ...CLOCK });
const dateAndTime = new Intl.DateTimeFormat([], { day: "numeric", month: "short", year: "numeric", ...CLOCK });

/** Local time of day, with as much of the date as tells it from `today` (a Date). */
export function localTime(unixSeconds, today) {
  const date = new Date(unixSeconds * 1000);
  if (date.getFullYear() !== today.getFullYear()) return dateAndTime.format(date);
  const isToday = date.getMonth() === today.getMonth() && date.getDate() === today.getDate();
  return (isToday ? timeOfDay : dayAndTime).format(date);
}

/** "2026-01-31 13:45:09 UTC" */
export function utcTime(unixSeconds) {
  return `${new Date(unixSeconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
