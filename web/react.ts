// React hooks on a replica. Each draws its component again when what it returned has changed, and not otherwise.

import { createContext, createElement, use, useContext, useMemo, useSyncExternalStore } from "react";
import type { ReactNode } from "react";
import type { ListOptions, ReadonlyEntry } from "./mirror.ts";
import { observeEntries, observeEntry, observeStatus } from "./observed.ts";
import type { Observed } from "./observed.ts";
import type { Replica, ReplicaStatus } from "./page-replica.ts";

/** A replica, one that is being opened, or none: on a server, or while it is not known yet whose it will be. */
export type ReplicaSource = Replica | Promise<Replica> | undefined;

const ReplicaContext = createContext<ReplicaSource>(undefined);

/** What `ReplicaProvider` is given. */
export interface ReplicaProviderProps {
  /**
   * What `openReplica` has returned, kept outside of components so that it is the same each time. Undefined on a server: there
   * is nothing to read there, and the hooks return nothing until the page has it.
   */
  replica: ReplicaSource;
  /** The components whose hooks read it. */
  children?: ReactNode;
}

/** Gives a replica to the hooks below. */
export function ReplicaProvider({ replica, children }: ReplicaProviderProps): ReactNode {
  return createElement(ReplicaContext, { value: replica }, children);
}

/**
 * The replica; suspends while it is being opened, and throws to the nearest error boundary if it cannot be. Undefined where
 * the provider has none.
 */
export function useReplica(): Replica | undefined {
  const source = useContext(ReplicaContext);
  return source && "then" in source ? use(source) : source;
}

/** The entry of a key, with value and seq; undefined if there is none. Draws again when this entry changes. */
export function useEntry(key: string): ReadonlyEntry | undefined {
  const replica = useReplica();
  const observed = useMemo(() => replica && observeEntry(replica, key), [replica, key]);
  return useObserved(observed, undefined);
}

/**
 * The entries of a range, by key. Draws again when any of them changes; those that have not are the same objects as before, so
 * a `memo` component for each entry is drawn for the others only.
 */
export function useEntries({ prefix, start, end, limit, reverse }: ListOptions = {}): readonly ReadonlyEntry[] {
  const replica = useReplica();
  const observed = useMemo(
    () => replica && observeEntries(replica, toListOptions({ prefix, start, end, limit, reverse })),
    [replica, prefix, start, end, limit, reverse],
  );
  return useObserved(observed, NOTHING);
}

/** Where the replica stands; undefined where there is none. Draws again when anything about it changes. */
export function useStatus(): ReplicaStatus | undefined {
  const replica = useReplica();
  const observed = useMemo(() => replica && observeStatus(replica), [replica]);
  return useObserved(observed, undefined);
}

const NOTHING: readonly ReadonlyEntry[] = [];

function useObserved<Value>(observed: Observed<Value> | undefined, nothing: Value): Value {
  const get = observed?.get ?? ((): Value => nothing);
  // A server has no replica, and what is drawn first in the page must be what the server has drawn.
  return useSyncExternalStore(observed?.subscribe ?? watchNothing, get, () => nothing);
}

const watchNothing = (): (() => void) => () => {};

/** Without the names that are not set: undefined is no key. */
function toListOptions(options: { [Name in keyof ListOptions]: ListOptions[Name] | undefined }): ListOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
