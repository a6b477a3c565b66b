/** The files that a program has made: images to be seen, everything to be downloaded. */

import { element } from "./picker.js";
import { give } from "./transfer.js";
import { size } from "./words.js";

/** What a run is asked for: what a person would look at, and no compiler's products. */
export const OUTPUTS = [
  "*.png", "*.svg", "*.gif", "*.jpg", "*.jpeg", "*.webp", "*.csv", "*.json", "*.txt", "*.md", "*.html", "*.pdf", "*.zip", "out/",
];
/** Kinds that a browser shows as an image, in which no script runs and nothing is loaded. */
const IMAGES = new Set(["image/png", "image/svg+xml", "image/gif", "image/jpeg", "image/webp"]);
/** What is larger can be downloaded; as an image it would be copied a few times. */
const SHOWN_MAX_BYTES = 8 * 1024 * 1024;

export class Made {
  #element;
  #images = element("div", "made-images");
  #others = element("ul", "made-files");

  /** @param {HTMLElement} place */
  constructor(place) {
    this.#element = place;
    place.append(this.#images, this.#others);
  }

  clear() {
    this.#element.hidden = true;
    this.#images.replaceChildren();
    this.#others.replaceChildren();
  }

  /** @param {import("../wsrunner.js").RunFile} file */
  add(file) {
    this.#element.hidden = false;
    if (IMAGES.has(file.type) && file.bytes.length <= SHOWN_MAX_BYTES) this.#images.append(figure(file, () => this.#others.append(entry(file))));
    else this.#others.append(entry(file));
  }

  /** @param {import("../wsrunner.js").LeftOut[]} leftOut */
  tell(leftOut) {
    if (leftOut.length) this.#element.hidden = false;
    for (const { name, message } of leftOut) {
      const item = element("li");
      item.append(element("span", "made-name", name ?? "Files"), element("span", "soft", `does not come: ${message}`));
      this.#others.append(item);
    }
  }
}

/**
 * @param {import("../wsrunner.js").RunFile} file
 * @param {() => void} onNone Called if it is no image after all; it is not shown as one then.
 */
function figure(file, onNone) {
  const box = element("figure");
  const image = /** @type {HTMLImageElement} */ (element("img"));
  image.alt = file.name;
  image.onerror = () => {
    box.remove();
    onNone();
  };
  // Its own address, of no origin: also opened by itself it is nobody's page.
  const reader = new FileReader();
  reader.onload = () => {
    image.src = String(reader.result);
  };
  reader.readAsDataURL(new Blob([file.bytes], { type: file.type }));
  const caption = element("figcaption");
  caption.append(...facts(file));
  box.append(image, caption);
  return box;
}

/** @param {import("../wsrunner.js").RunFile} file */
function entry(file) {
  const item = element("li");
  item.append(...facts(file));
  return item;
}

/** @param {import("../wsrunner.js").RunFile} file */
function facts(file) {
  const button = /** @type {HTMLButtonElement} */ (element("button", "button quiet small", "Download"));
  button.type = "button";
  button.setAttribute("aria-label", `Download ${file.name}`);
  button.addEventListener("click", () => give(file.name.replaceAll("/", "_"), file.bytes));
  return [element("span", "made-name", file.name), element("span", "soft", size(file.bytes.length)), button];
}
