/** The dialog that asks for an access token. Both pages have its elements. */

import { isToken } from "../wsrunner.js";
import { keepToken } from "./store.js";

/** @type {(id: string) => any} Each id of the page has an element of a kind of its own. */
const $ = (id) => document.getElementById(id);

/**
 * @param {string} name Under which the token is kept.
 * @param {(token: string) => void} onToken Called with one that was given.
 * @returns {(words: string) => void} Opens the dialog.
 */
export function tokenDialog(name, onToken) {
  const dialog = $("token-dialog");
  $("token-form").addEventListener("submit", (event) => {
    const token = $("token").value.trim();
    $("token-problem").textContent = problem(token);
    if (!isToken(token)) {
      event.preventDefault();
      $("token").focus();
      return;
    }
    keepToken(name, token, $("token-keep").checked);
    onToken(token);
  });
  $("token-later").addEventListener("click", () => dialog.close());
  return (words) => {
    $("token-words").textContent = words;
    $("token-problem").textContent = "";
    if (!dialog.open) dialog.showModal();
  };
}

/** What no server would take, said sooner; nothing if the token can be one. */
function problem(token) {
  if (isToken(token)) return "";
  const wrong = [...token].find((character) => !isToken(character));
  if (wrong === undefined) return "Paste the access token here.";
  const named = /\s/.test(wrong) ? "a space" : `“${wrong}”`;
  return `This can't be an access token: ${named} is in it. A token has only letters, digits and !#$%&'*+-.^_\`|~`;
}
