/** The widget as a viewer of a room: the program as it is written, and what the room's newest run prints. */

import { loadBundle } from "./bundle.js";
import { outcome, refusal } from "./words.js";

/**
 * @param {object} widget
 * @param {import("../wsrunner.js").Connection} widget.connection
 * @param {{room: string, key: string, name: string}} widget.place
 * @param {any} widget.editor That shows the program, and is written in by nobody here.
 * @param {import("./output.js").Output} widget.output
 * @param {(words: string) => void} widget.tell Shows how the room, or its run, stands.
 * @param {(tone: string, title: string, more?: {facts?: [string, string][]}) => void} widget.show Shows how a run has ended.
 * @param {() => void} widget.begin Makes room for a new run's output.
 * @returns {Promise<import("../wsrunner.js").Room | null>} Null where the server has no editor.
 */
export async function watchRoom({ connection, place, editor, output, tell, show, begin }) {
  const bundle = await loadBundle().catch(() => null);
  if (!bundle) {
    tell("This server has no editor, so its rooms can't be watched here");
    return null;
  }
  const { Together } = await bundle.together();
  let shown = null;
  let newest = "";
  /** @param {any} file @param {string} language */
  const showFile = (file, language) => {
    if (!file || file === shown) return;
    shown = file;
    editor.show(file, language);
  };
  const room = connection.join(place);
  const together = new Together(room, {
    onChange: () => {
      const { files, language } = together.program;
      if (!files.includes(shown)) showFile(files[0], language);
    },
    // Where the lecturer writes, the class looks.
    onCaret: (person) => {
      if (room.people.find((each) => each.person === person)?.role !== "own") return;
      const caret = together.caretOf(person);
      if (!caret) return;
      const { files, language } = together.program;
      showFile(caret.file, caret.file === files[0] ? language : "");
      editor.reveal(caret.index);
    },
  });
  const follow = () => {
    const next = room.runs.at(-1);
    if (!next || next.run === newest) return;
    newest = next.run;
    begin();
    const run = room.attach(next.run);
    run.on("output", ({ stream, text, bytes }) => newest === next.run && output.append(stream, text, bytes));
    run.on("started", () => tell("Running"));
    run.exit.then(
      (exit) => {
        if (newest !== next.run) return;
        const { tone, title, facts } = outcome(exit, {});
        tell("Live");
        show(tone, title, { facts });
      },
      () => tell("Live"),
    );
  };
  room.on("room", () => {
    if (!shown) tell("Live");
    follow();
  });
  room.on("left", (reason) => {
    tell(reason === "closed" ? "The room has ended" : "Not in the room any more");
    together.end();
  });
  room.entered.catch((error) => tell(error.code === "no_such_room" ? "There is no such room, or it has ended" : refusal(error).title));
  return room;
}
