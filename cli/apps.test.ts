import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jwtVerify } from "jose";
import { afterEach, expect, test } from "vitest";
import { run } from "./testing/command.ts";

const SECRET = "a secret of at least thirty-two bytes";
const env = { JWT_SECRET: SECRET };

const endings: (() => unknown)[] = [];
afterEach(() => {
  for (const end of endings.splice(0)) end();
});

test("a token says what it was asked to, for as long as it was asked to", async () => {
  const args = ["token", "--store", "board", "team-*", "--write", "", "--sync", "--sub", "ann", "--hours", "2"];
  const { stdout, code } = await run(args, { env });
  expect(code).toBe(0);
  const { payload } = await jwtVerify(stdout.trim(), new TextEncoder().encode(SECRET));
  expect(payload).toMatchObject({
    sub: "ann",
    headwater: { stores: ["board", "team-*"], write: true, sync: true, admin: false },
  });
  expect(payload.exp! - payload.iat!).toBe(7200);
  expect((await run(["token", "--store", "board"], { env: { JWT_SECRET: "short" } })).code).toBe(2);
  expect((await run(["token"], { env })).code).toBe(2);
});

test("a new app has a name, pinned versions and its hidden files; a folder with anything in it is left alone", async () => {
  const folder = mkdtempSync(join(tmpdir(), "headwater-init-"));
  endings.push(() => rmSync(folder, { recursive: true, force: true }));
  const app = join(folder, "My App!");
  const { code, stdout } = await run(["init", app, "--json"]);
  expect([code, JSON.parse(stdout)]).toMatchObject([0, { folder: app, name: "my-app" }]);
  const manifest = JSON.parse(readFileSync(join(app, "package.json"), "utf8")) as {
    name: string;
    dependencies: Record<string, string>;
    devDependencies: Record<string, string>;
  };
  const versions = Object.values({ ...manifest.dependencies, ...manifest.devDependencies });
  expect(versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  expect(manifest.name).toBe("my-app");
  expect(readFileSync(join(app, "wrangler.toml"), "utf8")).toMatch(/^name = "my-app"/);
  expect(existsSync(join(app, ".gitignore"))).toBe(true);

  writeFileSync(join(folder, "mine"), "");
  const refused = await run(["init", folder]);
  expect([refused.code, readdirSync(folder)]).toEqual([2, ["My App!", "mine"]]);
});
