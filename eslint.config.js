/** What `make check` demands of scripts. Those of the pages run in browsers, those of the tests in Node. */

import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "array-callback-return": "error",
      "consistent-return": "error",
      curly: ["error", "multi-line"],
      "default-case-last": "error",
      eqeqeq: "error",
      "func-style": ["error", "declaration", { allowArrowFunctions: true }],
      "guard-for-in": "error",
      "max-lines": ["error", { max: 450, skipBlankLines: true, skipComments: true }],
      "no-constructor-return": "error",
      "no-else-return": "error",
      "no-eval": "error",
      "no-implicit-coercion": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-new-wrappers": "error",
      "no-param-reassign": "error",
      "no-self-compare": "error",
      "no-shadow": ["error", { builtinGlobals: false }],
      "no-template-curly-in-string": "error",
      "no-throw-literal": "error",
      "no-unmodified-loop-condition": "error",
      "no-unreachable-loop": "error",
      "no-unused-expressions": ["error", { allowShortCircuit: true }],
      "no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "no-useless-return": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      "prefer-template": "error",
      complexity: ["error", 20],
    },
  },
  {
    files: ["static/chat/**/*.js"],
    languageOptions: { globals: globals.browser },
    rules: { "max-lines-per-function": ["error", { max: 60, skipBlankLines: true, skipComments: true }] },
  },
  {
    // Made by `make messages`, as long as there are words.
    files: ["static/chat/locale/*.js"],
    rules: { "max-lines": "off" },
  },
  {
    files: ["static/chat/lib/colouring-worker.js"],
    languageOptions: { globals: globals.worker },
  },
  {
    files: ["tests/**/*.{js,mjs}"],
    languageOptions: { globals: globals.node },
  },
];
