import type { VisibleChange } from "headwater";

const draw = (changes: readonly VisibleChange[]): void => console.log(changes.length);
