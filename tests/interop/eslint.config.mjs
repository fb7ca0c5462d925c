// What ESLint looks at in pages, viewer and scripts of tests; names that are nowhere are tsc's to find.

import js from "@eslint/js";

export default [
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "no-undef": "off",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      eqeqeq: "error",
      "no-shadow": "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-throw-literal": "error",
      "no-unused-private-class-members": "error",
      "no-unmodified-loop-condition": "error",
      "no-useless-assignment": "error",
      "no-self-compare": "error",
      "no-template-curly-in-string": "error",
      "array-callback-return": "error",
      "require-atomic-updates": "off",
      "max-lines": ["error", 400],
    },
  },
];
