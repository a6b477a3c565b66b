// The code editor: CodeMirror 6 behind the small interface of page/editor.js.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  HighlightStyle, LanguageDescription, LanguageSupport, StreamLanguage, bracketMatching, indentOnInput,
  indentUnit, syntaxHighlighting,
} from "@codemirror/language";
import { languages } from "@codemirror/language-data";
import { lintGutter, setDiagnostics } from "@codemirror/lint";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, Prec } from "@codemirror/state";
import {
  EditorView, drawSelection, highlightActiveLine, highlightActiveLineGutter, highlightSpecialChars,
  keymap, lineNumbers,
} from "@codemirror/view";
import { tags as t } from "@lezer/highlight";
import { simpleMode } from "@codemirror/legacy-modes/mode/simple-mode";
import { isRunKey } from "../page/keys.js";

/** What CodeMirror calls a language of the catalogue, or calls its nearest relative. */
const NAMES = {
  assembly: "Gas", ats: "SML", bash: "Shell", clisp: "Common Lisp", csharp: "C#", cpp: "C++",
  fsharp: "F#", guile: "Scheme", idris: "Haskell", ocaml: "OCaml", raku: "Perl", sac: "C",
  cobol: "Cobol", coffeescript: "CoffeeScript", elm: "Elm", php: "PHP",
};

/** Languages that CodeMirror doesn't know: keywords, the comment sign, and what else differs. */
const SIMPLE = {
  elixir: ["#", "def defp defmodule defstruct do end fn if else case cond when for with receive after try rescue raise import alias use require true false nil and or not in"],
  hare: ["//", "fn let const def type struct union enum use export for if else switch match case yield return break continue defer abort assert null true false void never int uint str rune bool size u8 u16 u32 u64 i8 i16 i32 i64 f32 f64"],
  mercury: ["%", "module interface implementation import_module pred func mode is det semidet multi nondet if then else in out di uo true fail"],
  nim: ["#", "proc func method iterator template macro let var const type import from export include if elif else case of for while in notin return result yield break continue block when object ref ptr echo discard and or not is true false nil try except finally raise"],
  nix: ["#", "let in with rec inherit if then else assert or true false null import builtins"],
  zig: ["//", "const var fn pub return if else switch for while break continue defer errdefer try catch orelse and or struct enum union error comptime inline extern export test unreachable undefined null true false void bool u8 u16 u32 u64 i8 i16 i32 i64 usize isize f32 f64 anytype type"],
};

const HIGHLIGHT = HighlightStyle.define([
  { tag: [t.keyword, t.modifier, t.operatorKeyword, t.controlKeyword], color: "var(--code-keyword)" },
  { tag: [t.string, t.special(t.string), t.character, t.regexp], color: "var(--code-string)" },
  { tag: [t.number, t.bool, t.null, t.atom], color: "var(--code-number)" },
  { tag: [t.comment], color: "var(--code-comment)", fontStyle: "italic" },
  { tag: [t.function(t.variableName), t.function(t.propertyName), t.macroName], color: "var(--code-function)" },
  { tag: [t.typeName, t.className, t.namespace, t.tagName], color: "var(--code-type)" },
  { tag: [t.definition(t.variableName), t.definition(t.propertyName)], color: "var(--code-name)" },
  { tag: [t.meta, t.processingInstruction, t.labelName], color: "var(--code-meta)" },
  { tag: [t.invalid], color: "var(--bad)" },
]);

const THEME = EditorView.theme({
  "&": { height: "100%", backgroundColor: "transparent", color: "var(--ink)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", fontSize: "var(--code-size)", lineHeight: "1.6" },
  ".cm-content": { padding: "10px 0", caretColor: "var(--accent)" },
  // Opaque: long lines are scrolled below it.
  ".cm-gutters": { backgroundColor: "var(--panel)", color: "var(--ink-faint)", border: "none", paddingLeft: "6px" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--line-active)" },
  ".cm-cursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--selection)",
  },
  ".cm-matchingBracket": { backgroundColor: "var(--selection) !important", outline: "none" },
  ".cm-selectionMatch": { backgroundColor: "var(--selection-faint)" },
  ".cm-panels": { backgroundColor: "var(--panel-2)", color: "var(--ink)", borderColor: "var(--line) !important" },
  ".cm-panel.cm-search": { display: "flex", flexWrap: "wrap", gap: "6px", alignItems: "center", padding: "8px 40px 8px 10px", font: "13px var(--sans)" },
  ".cm-search br": { flexBasis: "100%", content: "''", height: "0" },
  ".cm-panel.cm-search input, .cm-panel.cm-search button, .cm-panel.cm-search label": { margin: "0" },
  ".cm-panel.cm-search label": { display: "inline-flex", gap: "5px", alignItems: "center", fontSize: "12.5px", color: "var(--ink-soft)" },
  ".cm-panel.cm-search .cm-textfield": {
    flex: "1 1 140px", minWidth: "0", maxWidth: "260px", font: "13px var(--mono)", padding: "5px 9px", color: "var(--ink)",
    backgroundColor: "var(--panel)", border: "1px solid var(--line)", borderRadius: "8px",
  },
  ".cm-panel.cm-search .cm-button": {
    font: "550 12.5px var(--sans)", padding: "5px 10px", color: "var(--ink)",
    background: "var(--panel)", border: "1px solid var(--line)", borderRadius: "8px", cursor: "pointer",
  },
  ".cm-panel.cm-search [name=close]": {
    top: "9px", right: "8px", width: "28px", height: "28px", borderRadius: "8px", fontSize: "18px",
    color: "var(--ink-soft)", cursor: "pointer",
  },
  // On a phone the fields have rows of their own, and so have the buttons of each.
  "@media (max-width: 560px)": {
    ".cm-panel.cm-search .cm-textfield": { flexBasis: "100%", maxWidth: "none" },
    ".cm-panel.cm-search .cm-button": { flex: "1 1 31%" },
  },
  ".cm-lint-marker": { width: "0.8em", height: "0.8em" },
  ".cm-tooltip": { backgroundColor: "var(--panel)", color: "var(--ink)", border: "1px solid var(--line)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--accent-ink)" },
});

/** The words of the search panel, as the rest of the page writes them. */
const PHRASES = {
  next: "Next", previous: "Previous", all: "All", replace: "Replace", "replace all": "Replace all",
  "match case": "Match case", regexp: "Regex", "by word": "Whole words",
};

/**
 * @param {HTMLElement} parent
 * @param {{label: string, onChange: (text: string) => void, onRun: () => void, compact?: boolean, readOnly?: boolean}} options
 */
export function createEditor(parent, { label, onChange, onRun, compact = false, readOnly = false }) {
  const language = new Compartment();
  const editable = new Compartment();
  /** A file that others write too brings an undo of its own, for what was done here. */
  const solo = [history(), keymap.of(historyKeymap)];
  /** One state per file, so that each keeps its undo history. */
  const states = new WeakMap();
  let file = null;
  /** What the last run said about lines, and the files that show it already. */
  let marks = [];
  let marked = new WeakSet();

  const extensions = [
    lineNumbers(), highlightSpecialChars(), drawSelection(), indentOnInput(),
    bracketMatching(), closeBrackets(), autocompletion({ activateOnTyping: !compact }),
    compact ? [] : [highlightActiveLine(), highlightActiveLineGutter()],
    highlightSelectionMatches(), search({ top: true }), compact ? [] : lintGutter(), editable.of(EditorState.readOnly.of(readOnly)),
    EditorState.phrases.of(PHRASES),
    syntaxHighlighting(HIGHLIGHT), THEME, language.of([]), indentUnit.of("    "),
    Prec.highest(EditorView.domEventHandlers({
      keydown: (event) => {
        if (!isRunKey(event)) return false;
        // A key that is held down means it once.
        if (!event.repeat) onRun();
        return true;
      },
    })),
    keymap.of([
      ...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap,
      ...completionKeymap, indentWithTab,
    ]),
    EditorView.contentAttributes.of({
      "aria-label": label,
      tabindex: "0",
      "aria-description": "Escape, then Tab, leaves the editor",
    }),
    EditorView.updateListener.of((update) => {
      if (update.docChanged) onChange(update.state.doc.toString());
    }),
  ];
  const view = new EditorView({ parent, root: /** @type {Document | ShadowRoot} */ (parent.getRootNode()), extensions });

  function showMarks() {
    if (!file || marked.has(file)) return;
    marked.add(file);
    const here = marks.filter((mark) => mark.file === file.name && mark.line <= view.state.doc.lines);
    view.dispatch(setDiagnostics(view.state, here.map(({ line, column, severity, message }) => {
      const { from, to, text } = view.state.doc.line(line);
      const start = column === null ? text.search(/\S|$/) : Math.min(column - 1, text.search(/\s*$/));
      return { from: from + Math.max(0, start), to, severity, message };
    })));
  }

  return {
    plain: false,
    /** Show a file: an object with `name` and `content`, and an `extension` if others write it too. */
    async show(next, languageId) {
      if (file) states.set(file, view.state);
      file = next;
      const kept = states.get(next);
      view.setState(
        kept && kept.doc.toString() === next.content
          ? kept
          : EditorState.create({ doc: next.content, extensions: [...extensions, next.extension ?? solo] }),
      );
      view.dispatch({ effects: editable.reconfigure(EditorState.readOnly.of(readOnly)) });
      showMarks();
      const support = await load(languageId, next.name);
      if (file === next) view.dispatch({ effects: language.reconfigure(support) });
    },
    get text() {
      return view.state.doc.toString();
    },
    /** Whether nothing can be written here. @param {boolean} on */
    set readOnly(on) {
      readOnly = on;
      view.dispatch({ effects: editable.reconfigure(EditorState.readOnly.of(on)) });
    },
    focus: () => view.focus(),
    /** Scroll to a place, counted in characters from 0, and leave cursor and focus where they are. @param {number} index */
    reveal(index) {
      const at = Math.max(0, Math.min(index, view.state.doc.length));
      view.dispatch({ effects: EditorView.scrollIntoView(at, { y: "center" }) });
    },
    destroy: () => view.destroy(),
    /** Put the cursor at a place, as far as there is one. Both count from 1. */
    goTo(line, column) {
      const { from, to } = view.state.doc.line(Math.max(1, Math.min(line, view.state.doc.lines)));
      const anchor = Math.min(to, from + Math.max(0, (column ?? 1) - 1));
      view.dispatch({ selection: { anchor }, effects: EditorView.scrollIntoView(anchor, { y: "center" }) });
      view.focus();
    },
    /**
     * Mark lines; they move with the text until the next marks come.
     *
     * @param {{file: string, line: number, column: number | null, severity: "error" | "warning" | "info", message: string}[]} next
     */
    mark(next) {
      marks = next;
      marked = new WeakSet();
      showMarks();
    },
  };
}

/** The language of a main file is known; of another file its name tells. */
async function load(languageId, fileName) {
  // The id may come from a link, so it may be anything.
  if (Object.hasOwn(SIMPLE, languageId)) return simple(...SIMPLE[languageId]);
  const known = Object.hasOwn(NAMES, languageId) ? NAMES[languageId] : languageId;
  const description =
    (languageId
      ? LanguageDescription.matchLanguageName(languages, known, false)
      : LanguageDescription.matchFilename(languages, fileName)) ?? null;
  try {
    return description ? await description.load() : [];
  } catch {
    // The server can't be reached just now; a file without colours can be edited, too.
    return [];
  }
}

function simple(comment, keywords) {
  const sign = comment.replace(/[/]/g, "\\/");
  return new LanguageSupport(
    StreamLanguage.define({
      ...simpleMode({
        start: [
          { regex: new RegExp(`${sign}.*`), token: "comment" },
          { regex: /"(?:[^\\"]|\\.)*"?/, token: "string" },
          { regex: /'(?:[^\\']|\\.)'/, token: "string" },
          { regex: /\b(?:0x[\da-f_]+|\d[\d_]*(?:\.\d+)?)\b/i, token: "number" },
          { regex: new RegExp(`(?:${keywords.split(" ").join("|")})\\b`), token: "keyword" },
          { regex: /[A-Z]\w*/, token: "type" },
          { regex: /[a-z_]\w*/i, token: "variable" },
        ],
      }),
      languageData: { commentTokens: { line: comment } },
    }),
  );
}
