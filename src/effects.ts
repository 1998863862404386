// What goes into the machines and what comes out: the whole interface between the core and its hosts.
//
// A host feeds one input at a time and carries out all of the returned effects, in their order, before it feeds the next
// (also when an effect, like a `persist` that ends at once, calls for one). Besides it owes two things: whatever a
// `persist` names is durable before the host says `persisted`, and `now` (milliseconds) never runs backwards.

import type { Json } from "./kv.ts";
import type { Commit, Compaction } from "./store.ts";
import type { Rights } from "./rights.ts";
import type { Downstream, Mode, Operation, Reply, Snapshot, Upstream } from "./protocol.ts";

/** A connection between one peer and the primary, named by the host. An HTTP request is a short one. */
export type SessionId = number;

/** What the primary must know of a member to serve it after it has lost its memory. Small: it lives beside the socket. */
export interface Memo {
  secondaryId: string;
  mode: Mode;
  prefixes?: string[];
  /** Null while it has acked nothing. It may have acked more in the last `MEMO_DELAY_MS`. */
  acked: number | null;
  inSync: boolean;
}

export type PrimaryInput =
  /** The store is open. Inputs that came before are kept and taken now, in order. */
  | { type: "start" }
  /**
   * A peer has connected, or (with `memo`) was connected before the primary lost its memory. Without `rights` it has all.
   * Sessions of one `identity` share what one may ask for; without one each session stands for itself.
   */
  | { type: "connect"; session: SessionId; memo?: Memo; rights?: Rights; identity?: string }
  | { type: "disconnect"; session: SessionId }
  | { type: "receive"; session: SessionId; message: Upstream }
  /** The turn is over: order and commit what has come in. */
  | { type: "commit" }
  /** What the last `persist` named is durable. */
  | { type: "persisted" }
  /** What the last `persist` named is not there and will not be. */
  | { type: "refused"; code: "storage-full" | "unavailable" }
  /** The time that `wake` asked for has come. */
  | { type: "tick" }
  /** It is time to give up what is kept for those who were away for too long. */
  | { type: "compact" };

export type PrimaryEffect =
  /** Write all of it in one transaction, then answer `persisted` or `refused`. One at a time. */
  | { type: "persist"; commit: Commit }
  /** Give this up in one transaction. If that fails nothing is lost: the next compaction asks again. */
  | { type: "compact"; compaction: Compaction }
  /** With the answer to an update comes when that arrived. */
  | { type: "send"; session: SessionId; message: Downstream<Json>; askedAt?: number }
  | { type: "close"; session: SessionId; code: number; reason: string }
  /** Keep this beside the socket, in place of what was kept before; undefined: the peer is no member any more. */
  | { type: "remember"; session: SessionId; memo: Memo | undefined }
  /** Give `tick` at this time, in place of the time asked for before; undefined: no timer is needed. */
  | { type: "wake"; at: number | undefined };

/** One atomic step of a secondary's visible state: all parts of one snapshot. */
export interface Step {
  epoch: string;
  prev: number;
  seq: number;
  /** Everything that was there before is replaced. */
  reset: boolean;
  parts: Snapshot[];
}

/** How an operation ended, as its sender's own secondary tells it. */
export type Settled = Reply | { type: "outcome-unknown"; clientId: string | null; id: number };

export type SecondaryInput =
  /** Local state has been read. Operations and connections that came before are kept and taken now. */
  | { type: "start"; mode: "durable" | "memory"; epoch: string | null; seq: number }
  | { type: "connect" }
  | { type: "disconnect" }
  | { type: "receive"; message: Downstream }
  | { type: "operate"; operation: Operation }
  | { type: "persisted" }
  | { type: "refused"; detail: string }
  /** The copy's mode has changed; when it has become durable, everything visible is on disk at this moment. */
  | { type: "change-mode"; mode: "durable" | "memory" }
  /** Another secondary goes by the same id: join under this one from now on. */
  | { type: "rename"; secondaryId: string }
  /** Someone waits for a seq: ask how far the state that is visible here is true. */
  | { type: "refresh" }
  /** The page is about to be frozen or closed: leave, so that nobody waits for this secondary. */
  | { type: "pause" }
  | { type: "resume" }
  | { type: "tick" };

export type SecondaryEffect =
  | { type: "send"; message: Upstream }
  /** Make this step visible, at once and whole. */
  | { type: "apply"; step: Step }
  /** Write these steps in one transaction with their cursor, then answer `persisted` or `refused`. One at a time. */
  | { type: "persist"; steps: Step[] }
  | { type: "settle"; settled: Settled }
  /** An answer to what was settled before, as unknown perhaps: for whoever keeps what he has asked (U1). */
  | { type: "late"; reply: Reply }
  /** The primary broke the protocol: drop the connection and make a new one. */
  | { type: "reconnect"; reason: string }
  | { type: "wake"; at: number | undefined };

/** Where a secondary stands, as it sees itself. */
export type SecondaryState = "offline" | "joining" | "catching-up" | "following" | "paused";

/** What a secondary knows of itself, for its users. */
export interface SecondaryStatus {
  /** How it stands with the primary. */
  state: SecondaryState;
  /** The history that `seq` belongs to; null before anything is known of the store. */
  epoch: string | null;
  /** The visible state is the primary's state at this seq. */
  seq: number;
  /** The latest seq of the primary that this secondary has heard of. */
  head: number;
  /** For how long `seq` has been below `head`; 0 when it is not. */
  lagMs: number;
  /** The name by which the primary's own status tells of it; null before it has one. */
  secondaryId: string | null;
  /** Writers wait for it. */
  inSync: boolean;
  /** The seq up to which the copy is on disk; null when it is kept in memory only. */
  persisted: number | null;
  /** Operations without an answer. */
  pending: number;
  /** A sentence for people on what is wrong now; null if nothing is. */
  lastError: string | null;
}
