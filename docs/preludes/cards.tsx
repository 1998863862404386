import { openReplica } from "headwater";
import type { ReadonlyEntry } from "headwater";
import { Suspense } from "react";

const Card = ({ entry }: { entry: ReadonlyEntry }) => <p>{String(entry.value)}</p>;
