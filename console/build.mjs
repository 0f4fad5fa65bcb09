// Bundles src/ into the files that the app serves: `make console`. Equal sources give equal files.
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const target = join(here, "..", "chalicelib", "console", "files");

await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });
const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.js", style: "src/console.css" },
  outdir: target,
  entryNames: "[name]-[hash]",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  metafile: true,
});

const made = Object.keys(metafile.outputs).map((path) => basename(path));
const named = (start, end) => made.find((name) => name.startsWith(start) && name.endsWith(end));
const page = (await readFile(join(here, "src", "index.html"), "utf8"))
  .replace("{{script}}", named("app-", ".js"))
  .replace("{{style}}", named("style-", ".css"));
await writeFile(join(target, "index.html"), page);

// The licences ask for their text beside the code.
const licences = [];
for (const name of ["htm", "preact"]) {
  const text = await readFile(join(here, "node_modules", name, "LICENSE"), "utf8");
  const { version } = JSON.parse(await readFile(join(here, "node_modules", name, "package.json"), "utf8"));
  licences.push(`${name} ${version}\n\n${text.trim()}\n`);
}
await writeFile(join(target, "LICENSES.txt"), licences.join("\n\n"));

// A test compares this with the sources, so that what is committed was built from them.
const digest = createHash("sha256");
const sources = (await readdir(join(here, "src"))).map((name) => join("src", name));
for (const name of ["build.mjs", "package-lock.json", ...sources].sort()) {
  digest.update(`${name.replaceAll("\\", "/")}\0`).update(await readFile(join(here, name)));
}
await writeFile(join(here, "built.sha256"), `${digest.digest("hex")}\n`);
