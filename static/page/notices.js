/** What the page says beside its panes: the banner, notices, toasts, and words for screen readers. */

import { element } from "./picker.js";

/** @type {(id: string) => any} Each id of the page has an element of a kind of its own. */
const $ = (id) => document.getElementById(id);
const TOAST_MS = 3000;
/** Long enough to read it and to reach the button. */
const TOAST_WITH_BUTTON_MS = 12_000;

let countdown = 0;

/**
 * Say what is wrong, above everything, for as long as it is.
 *
 * @param {string} words Nothing takes the banner away.
 * @param {{label?: string, action?: () => void, retryMs?: number}} [options] A button, and when the
 *   page tries again by itself.
 */
export function banner(words, { label = "Try now", action, retryMs } = {}) {
  const box = $("banner");
  clearInterval(countdown);
  box.hidden = !words;
  if (!words) return;
  // The words stay the same element, and the seconds are hidden from them, so that a screen reader
  // hears the words once and no countdown.
  if (box.firstChild?.textContent !== words) box.replaceChildren(element("span", "", words));
  else box.replaceChildren(box.firstChild);
  if (retryMs !== undefined) box.append(ticking(retryMs));
  if (action) {
    const button = element("button", "button small", label);
    button.type = "button";
    button.addEventListener("click", () => action());
    box.append(button);
  }
}

function ticking(retryMs) {
  const at = performance.now() + retryMs;
  const seconds = element("span", "soft");
  seconds.setAttribute("aria-hidden", "true");
  const show = () => {
    const left = Math.ceil((at - performance.now()) / 1000);
    seconds.textContent = left > 0 ? `Trying again in ${left} s.` : "Trying again.";
  };
  show();
  countdown = setInterval(show, 250);
  return seconds;
}

/**
 * Say something in passing, over the page; only the last such thing shows.
 *
 * @param {string} words
 * @param {{label?: string, action?: () => void}} [options] A button.
 * @returns {() => void} Takes it away.
 */
export function toast(words, { label, action } = {}) {
  const { box, close } = said("toast", words, label, action);
  $("toasts").replaceChildren(box);
  setTimeout(close, label ? TOAST_WITH_BUTTON_MS : TOAST_MS);
  return close;
}

/**
 * Say something that stays until it is dismissed, above the panes.
 *
 * @param {string} words
 * @param {{label?: string, action?: () => void}} [options] A button.
 * @returns {() => void} Takes it away.
 */
export function notice(words, { label, action } = {}) {
  const { box, close } = said("banner notice", words, label, action);
  const dismiss = element("button", "icon", "×");
  dismiss.type = "button";
  dismiss.setAttribute("aria-label", "Dismiss");
  dismiss.addEventListener("click", close);
  box.append(dismiss);
  $("notices").append(box);
  return close;
}

function said(className, words, label, action) {
  const box = element("div", className);
  const close = () => box.remove();
  box.append(element("span", "", words));
  if (label) {
    const button = element("button", "button small", label);
    button.type = "button";
    button.addEventListener("click", () => {
      close();
      action();
    });
    box.append(button);
  }
  return { box, close };
}

/** Tell a screen reader. */
export function announce(words) {
  $("announce").textContent = words;
}

// Output is read as it is where it is short, else as a number of lines.
const READ_CHARS = 300;
const READ_EVERY_MS = 700;

let unread = "";
let unreadLines = 0;
let readTimer = 0;

/** Tell a screen reader what a program printed, without escape sequences. */
export function readOut(text) {
  if (unread.length < READ_CHARS) unread += text.slice(0, READ_CHARS + 100);
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) unreadLines++;
  readTimer ||= setTimeout(() => announce(takeUnread()), READ_EVERY_MS);
}

/** Return what readOut has not told yet, for whoever announces something more important. */
export function takeUnread() {
  clearTimeout(readTimer);
  const words = unread.length < READ_CHARS ? unread : `${unreadLines} lines of output`;
  unread = "";
  unreadLines = readTimer = 0;
  return words;
}
