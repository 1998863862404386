// `npm run plant`: finds for each planted bug the first seed that shows it, to be written down in planted-bugs.ts when a
// change of the simulation has moved what seeds do.

import { plant } from "./planting.ts";
import { PLANTED_BUGS } from "./planted-bugs.ts";

for (const bug of PLANTED_BUGS) {
  const { seed, said } = await plant(bug, 1, 3000);
  console.log(`${seed ?? "-"}  ${bug.name}${seed === undefined ? `\n${said}` : ""}`);
}
