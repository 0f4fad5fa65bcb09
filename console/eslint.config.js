import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["node_modules/"] },
  js.configs.recommended,
  { files: ["src/*.js"], languageOptions: { globals: globals.browser } },
  { files: ["build.mjs"], languageOptions: { globals: globals.node } },
  {
    rules: {
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-control-regex": "off",
      "prefer-const": "error",
      eqeqeq: ["error", "smart"],
    },
  },
];
