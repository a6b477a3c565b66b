/** The colours and the width of the panes, as the person likes them. */

import { recall, remember } from "./store.js";

/** @type {(id: string) => any} Each id of the page has an element of a kind of its own. */
const $ = (id) => document.getElementById(id);
const THEMES = new Map([["auto", "Auto"], ["light", "Light"], ["dark", "Dark"]]);

export function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** @param {() => void} onChange Called when `isDark` may have changed. */
export function setUpTheme(onChange) {
  let theme = THEMES.has(recall("theme")) ? recall("theme") : "auto";
  const apply = () => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme-name").textContent = THEMES.get(theme);
    $("theme").setAttribute("aria-label", `Colours: ${THEMES.get(theme)}`);
    onChange();
  };
  apply();
  $("theme").addEventListener("click", () => {
    const order = [...THEMES.keys()];
    theme = order[(order.indexOf(theme) + 1) % order.length];
    remember("theme", theme);
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
}

export function setUpDivider() {
  const divider = $("divider");
  const split = $("split");
  const set = (percent) => {
    const left = Math.min(80, Math.max(20, Math.round(percent)));
    split.style.setProperty("--left", `${left}fr`);
    split.style.setProperty("--right", `${100 - left}fr`);
    divider.setAttribute("aria-valuenow", String(left));
    remember("left", left);
  };
  if (Number(recall("left"))) set(Number(recall("left")));
  divider.addEventListener("pointerdown", (event) => divider.setPointerCapture(event.pointerId));
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = split.getBoundingClientRect();
    set(((event.clientX - box.left) / box.width) * 100);
  });
  divider.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -4, ArrowRight: 4 }[event.key];
    if (step) set(Number(divider.getAttribute("aria-valuenow")) + step);
  });
}
