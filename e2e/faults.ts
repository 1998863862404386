// What fault specs ask for: a bad network, browsers with a profile of their own, and the witness.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Witness } from "./faults-witness.ts";
import { OwnBrowser } from "./own-browser.ts";
import { test as base } from "./fixtures.ts";
import { Network } from "./kit/index.ts";

interface FaultFixtures {
  witness: Witness;
  /** Between a browser and the primary, for pages that are opened on its port. */
  network: Network;
  /** One more of these. */
  openNetwork: () => Promise<Network>;
  /** A folder for a browser's profile. */
  profile: string;
  /** A browser whose pages can be hidden, frozen, put away and stopped. */
  own: OwnBrowser;
}

export const test = base.extend<FaultFixtures>({
  witness: async ({ primary }, use, { testId }) => {
    const witness = new Witness(primary, `faults-${testId}`);
    await use(witness);
    await witness.end();
  },
  openNetwork: async ({ primary }, use) => {
    const networks: Network[] = [];
    await use(async () => {
      const network = await Network.start(primary.port);
      networks.push(network);
      return network;
    });
    for (const network of networks) await network.stop();
  },
  network: async ({ openNetwork }, use) => use(await openNetwork()),
  profile: async ({}, use) => {
    const profile = await mkdtemp(join(tmpdir(), "headwater-profile-"));
    await use(profile);
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  },
  own: async ({ profile }, use) => {
    const browser = await OwnBrowser.start(profile);
    await use(browser);
    await browser.kill();
  },
});
