// What is measured: the one interface between the workloads and the systems that they compare. Everything that a system
// brings (packages, protocol, server) stays in its own folder under systems/ and is loaded by path, so that a system
// that is not installed keeps nothing else from running.

export const WORKLOADS = ["W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9"] as const;
export type WorkloadId = (typeof WORKLOADS)[number];

/** A system as the registry has it. */
export interface System {
  /** As it stands in tables, files and `--systems`. */
  name: string;
  /** The folder under systems/ that holds its client.ts, server.ts and page.ts. */
  folder: string;
  /** Tells systems of one folder apart; its client is told. */
  variant?: string;
  /** One line for readers: what exactly was measured. */
  description: string;
  /** A write that another replica shows outlives the end of the server. */
  isDurable: boolean;
  /** It keeps a record per entry in IndexedDB. */
  storesRows?: boolean;
  server: WorkerdServer | NodeServer;
  /** What it cannot do, or is not asked to, and why: by workload, or by workload and cell (`W2 50,000 x 100`). */
  lacks: Record<string, string>;
  /** What a page must load for it. Left out: nothing that could be weighed. */
  bundles?: Record<string, string>;
  /** Workers that its page starts, by file. */
  workers?: Record<string, string>;
  /** For so long after its bootstrap a page may still be storing what it shows; left out: it tells. */
  settleMs?: number;
  /** Packages whose versions the report names. */
  packages: string[];
}

export interface WorkerdServer {
  kind: "workerd";
  /** Bundles by `wrangler deploy --dry-run` of the project itself; else server.ts of the folder is bundled. */
  isProject?: boolean;
  /** Durable Object classes by the name of their binding. */
  objects: Record<string, string>;
  flags?: string[];
}

/** server.ts of the folder, run by Node with the port as its argument. */
export interface NodeServer {
  kind: "node";
}

/** A system's client.ts exports `connect(origin, variant): Adapter`. It runs in a process of its own, on Node. */
export interface Adapter {
  openWriter(store: string): Promise<Writer>;
  /** `stepped` is called whenever the replica shows something new. */
  openReplica(store: string, stepped: () => void): Promise<ReplicaHandle>;
  /**
   * Opens sockets that take what a replica is sent and do no more with it than the protocol demands; `seen` is told
   * how many changes a socket has been sent in all.
   */
  openSockets?(store: string, count: number, seen: (socket: number, changes: number) => void): Promise<Closable>;
  /** Rows that the server's database has written for this store, those of indexes included. */
  rowsWritten?(store: string): Promise<number>;
  /** Puts the first entries into a store, where one write after the other would take too long. */
  fill?(store: string, entries: readonly (readonly [key: string, value: string])[]): Promise<void>;
  /** Another way of writing that the system has; measured beside the first. */
  openSecondWriter?(store: string): Promise<{ name: string; writer: Writer }>;
}

export type Connect = (origin: string, variant: string | undefined) => Adapter;

export interface Closable {
  close(): void | Promise<void>;
}

export interface Writer extends Closable {
  /** Whether the system tells a writer that its write is done. */
  readonly acks: boolean;
  /** Resolves when the server has acknowledged the write or, where there are no such answers, when it was handed over. */
  write(key: string, value: string): Promise<unknown>;
}

export interface ReplicaHandle extends Closable {
  has(key: string): boolean;
  readonly size: number;
}

/** One measured value. */
export interface Figure {
  metric: string;
  unit: string;
  value: number;
}

/** A part of a workload that is measured on its own, system after system and round after round. */
export interface Cell {
  workload: WorkloadId;
  /** Empty where the workload is one cell. */
  name: string;
}

/** One line of the results. */
export interface Row {
  system: string;
  workload: WorkloadId;
  metric: string;
  unit: string;
  median: number;
  /** The value of each run, in their order. */
  runs: number[];
}

/** A workload that is measured with a system's client on Node. */
export interface NodeWorkload {
  cells(isQuick: boolean): string[];
  /** `store` is a name that has not been used before. */
  run(adapter: Adapter, cell: string, store: string, isQuick: boolean): Promise<Figure[]>;
}
