// Every limit of Headwater, in one place. A limit that is exceeded is answered with an error that names it.

/** A key's size in UTF-8. */
export const KEY_BYTES_MAX = 1024;
/** A value's size as JSON text in UTF-8. */
export const VALUE_BYTES_MAX = 1024 * 1024;
/** How deep lists and objects may nest in a value, so that every engine's parser survives it. */
export const VALUE_DEPTH_MAX = 256;
/** Writes in one batch. */
export const BATCH_OPERATIONS_MAX = 1000;
/** A batch's keys and values together, and with them the longest message that anyone may send. */
export const BATCH_BYTES_MAX = 4 * 1024 * 1024;
/** Checks in one batch. */
export const BATCH_CHECKS_MAX = 1000;
/** One WebSocket frame in UTF-8. Frames near 1 MB to hibernated sockets can fail on the platform. */
export const FRAME_BYTES_MAX = 900_000;
/** One line of the protocol in UTF-8: the largest batch with its JSON around it. */
export const LINE_BYTES_MAX = BATCH_BYTES_MAX + 1024 * 1024;

/** Frames that one line may be spread over. */
export const LINE_FRAMES_MAX = 1000;
/** Messages that one frame may bring, and that one session may have waiting for a turn. */
export const MESSAGES_WAITING_MAX = 10_000;
/** A session that goes on asking for what it may not is closed after so many refusals. */
export const REFUSALS_MAX = 1000;
/** A line of which nothing more comes for so long closes its session. */
export const LINE_PATIENCE_MS = 30_000;
/** What a session may make the primary send in one turn by asking: values, and walks from the start. */
export const ASKED_BYTES_MAX = 12 * 1024 * 1024;

/** What is asked for costs an operation for each begun piece of this size. */
export const ASKED_BYTES_PER_OPERATION = 4096;
/** Operations per second of one identity, and of everyone together; both can be set. */
export const RATE_PER_IDENTITY = 10_000;
export const RATE_PER_STORE = 20_000;
/** So many seconds' worth of operations may come at once. */
export const QUOTA_BURST_S = 20;
/** Identities whose rates are watched at a time. */
export const QUOTA_OWNERS_MAX = 10_000;

/** What may be un-acked per secondary before it leaves the in-sync set and is served by catch-up. */
export const WINDOW_BYTES_MAX = 1024 * 1024;
export const WINDOW_FRAMES_MAX = 256;
/** The same for a reader, of whom nothing says that it reads at all. */
export const READER_WINDOW_BYTES_MAX = 64 * 1024;
/** One part of a catch-up or bootstrap; a part never splits a seq, so it may exceed these by one batch. */
export const PART_CHANGES_MAX = 1000;
export const PART_BYTES_MAX = 128 * 1024;
/** One group commit: no further operation joins it once it holds this much. */
export const COMMIT_BYTES_MAX = 4 * 1024 * 1024;
export const COMMIT_OPERATIONS_MAX = 5000;

/** Updates that the primary has taken and not answered yet. */
export const OPERATIONS_IN_FLIGHT_MAX = 10_000;
/** Writes and checks in flight of one identity or, without one, of one socket: nobody can keep a primary busy for long. */
export const OPERATIONS_PER_IDENTITY_MAX = 20_000;
/** Updates that one secondary has sent and that are not answered yet; the others wait with it. */
export const OPERATIONS_SENT_MAX = 1000;
/** What they write and check together. */
export const WRITES_SENT_MAX = 5000;
/** Operations that wait with one secondary. */
export const OPERATIONS_PENDING_MAX = 100_000;
/** Outcomes kept per client. A client that has more than this un-settled cannot repeat the oldest. */
export const OUTCOMES_PER_CLIENT_MAX = 2000;
/** For so long after its last update a client may repeat what it has not settled; then its record is dropped. */
export const CLIENT_LEASE_MS = 24 * 60 * 60 * 1000;
/** Tombstones that a compaction leaves: a secondary that has missed more removals than these is bootstrapped. */
export const TOMBSTONES_KEPT = 10_000;
/** How often a store that was written to is compacted. */
export const COMPACT_EVERY_MS = 6 * 60 * 60 * 1000;
/** Members of the in-sync set. */
export const IN_SYNC_MAX = 64;
/** Sockets per store. */
export const SOCKETS_MAX = 10_000;
/** Sockets and streams of one identity per store: a browser has one for all its tabs. */
export const SOCKETS_PER_IDENTITY_MAX = 100;
/** Streams of one identity per store, and of everyone: each holds what its reader has not taken. */
export const STREAMS_PER_IDENTITY_MAX = 20;
export const STREAMS_MAX = 200;
/** Letters of an identity. */
export const IDENTITY_LENGTH_MAX = 256;
/** A member that owes acks and gives none for so long is closed when there is more for it. */
export const SILENT_PATIENCE_MS = 120_000;
/** Prefixes that a secondary may ask for. */
export const PREFIXES_MAX = 32;
/** A secondary's prefixes as JSON text; they are kept beside its socket, where the platform has 16 kB for them. */
export const PREFIXES_BYTES_MAX = 8 * 1024;
/** A session's rights as JSON text; they are kept beside its socket, too. */
export const RIGHTS_BYTES_MAX = 4 * 1024;
/** Stores that one token names. */
export const TOKEN_STORES_MAX = 100;
/** Stores that one answer of `/metrics` covers. */
export const METRICS_STORES_MAX = 100;
/** Entries in one list answer. */
export const LIST_LIMIT_MAX = 1000;
/** A list answer stops before it holds more than this, and hands out a cursor. */
export const LIST_BYTES_MAX = 4 * 1024 * 1024;
/** The seq that an import may end at: the seqs after it must be exact numbers, too. */
export const IMPORT_SEQ_MAX = 2 ** 52;
/** An import of which nothing more comes for so long is given up. */
export const IMPORT_PATIENCE_MS = 30_000;
/** So much of a body that nobody wants is read, and for so long, so that its sender hears why. */
export const REST_BYTES_MAX = 32 * 1024 * 1024;
export const REST_PATIENCE_MS = 5000;
/** Letters of a store's name, of a client's id and of a secondary's id. */
export const NAME_LENGTH_MAX = 128;

/** An update is answered at most this long after the primary received it. */
export const DEADLINE_MS = 1000;
/** The default of `lagLimitMs`: a member that owes an ack for so long leaves the in-sync set. */
export const LAG_LIMIT_MS = 1000;
/** What `lagLimitMs` may be set to. */
export const LAG_LIMIT_MS_MIN = 50;
export const LAG_LIMIT_MS_MAX = DEADLINE_MS;
/** Refused persistence is tried again after this. */
export const PERSIST_RETRY_MS = 100;
/** Un-acked snapshots are sent again after this on a transport that can lose frames. */
export const RESEND_MS = 100;
/** What a member acks is kept for a primary without memory; of acks that follow one upon another, this much later. */
export const MEMO_DELAY_MS = 1000;
/** An operation that could not be sent for so long fails as `offline`. */
export const UNSENT_LIMIT_MS = 1000;
/** A client waits so long for an answer before it calls the outcome unknown: the deadline, and time to reconnect and ask again. */
export const OUTCOME_PATIENCE_MS = 3000;
/** A secondary whose Join is not answered for so long makes a new connection. */
export const JOIN_PATIENCE_MS = 5000;
/** A secondary that lacks snapshots and gets none of them for so long makes a new connection. */
export const STALL_PATIENCE_MS = 10_000;
/** Updates in the outbox of one store in one browser, failed ones included, and their keys and values together. */
export const QUEUED_UPDATES_MAX = 10_000;
export const QUEUED_BYTES_MAX = 32 * 1024 * 1024;
