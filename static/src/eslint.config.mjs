// Rules that find mistakes; how code looks is no business of theirs.

import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["static/dist/"] },
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    languageOptions: { ecmaVersion: 2023, globals: globals.browser },
    rules: {
      "array-callback-return": "error",
      eqeqeq: ["error", "smart"],
      "no-constructor-return": "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-self-compare": "error",
      "no-template-curly-in-string": "error",
      "no-unmodified-loop-condition": "error",
      "no-unreachable-loop": "error",
      "no-use-before-define": ["error", { functions: false, classes: false, variables: false }],
      "no-var": "error",
      "prefer-const": "error",
      "prefer-promise-reject-errors": "error",
    },
  },
  { files: ["static/src/*.mjs", "examples/*.mjs"], languageOptions: { globals: globals.node } },
  { files: ["static/page/theme.js"], languageOptions: { sourceType: "script" } },
];
