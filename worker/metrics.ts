// Stores' figures in the text format of Prometheus.

import { LATENCIES_MS } from "./figures.ts";
import type { StoreMetrics } from "./primary-driver.ts";

/** The media type of that format. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** A figure with its labels besides the store's name. */
type Sample = [labels: Record<string, string>, value: number];

interface Family {
  name: string;
  type: "counter" | "gauge" | "histogram";
  help: string;
  samples: (metrics: StoreMetrics) => (Sample | [...Sample, suffix: string])[];
}

const FAMILIES: Family[] = [
  {
    name: "headwater_operations_total",
    type: "counter",
    help: "Updates by how they ended: acked, or the code of the failure.",
    samples: ({ operations }) => Object.entries(operations).map(([outcome, count]) => [{ outcome }, count]),
  },
  {
    name: "headwater_ack_latency_seconds",
    type: "histogram",
    help: "From an update's arrival at the primary to its ack.",
    samples: ({ ackLatencies, ackLatencySumMs }) => {
      let count = 0;
      const buckets = ackLatencies.map((one, at): [...Sample, string] => {
        count += one;
        const bound = LATENCIES_MS[at];
        return [{ le: bound === undefined ? "+Inf" : `${bound / 1000}` }, count, "_bucket"];
      });
      return [...buckets, [{}, ackLatencySumMs / 1000, "_sum"], [{}, count, "_count"]];
    },
  },
  {
    name: "headwater_operations_in_flight",
    type: "gauge",
    help: "Updates that have been taken and not answered.",
    samples: ({ operationsInFlight }) => [[{}, operationsInFlight]],
  },
  {
    name: "headwater_commits_total",
    type: "counter",
    help: "Transactions: updates that arrive together share one.",
    samples: ({ commits }) => [[{}, commits]],
  },
  {
    name: "headwater_rows_written_total",
    type: "counter",
    help: "Rows that commits have written: they are billed.",
    samples: ({ rowsWritten }) => [[{}, rowsWritten]],
  },
  {
    name: "headwater_secondaries",
    type: "gauge",
    help: "Secondaries by their state.",
    samples: ({ secondaries }) => Object.entries(secondaries).map(([state, count]) => [{ state }, count]),
  },
  {
    name: "headwater_lag_seconds",
    type: "gauge",
    help: "For how long the slowest member of the in-sync set has owed an ack.",
    samples: ({ lagMs }) => [[{}, lagMs / 1000]],
  },
  {
    name: "headwater_demotions_total",
    type: "counter",
    help: "Members that have left the in-sync set: their window overflowed, or an ack was overdue.",
    samples: ({ demotions }) => Object.entries(demotions).map(([reason, count]) => [{ reason }, count]),
  },
  {
    name: "headwater_closed_total",
    type: "counter",
    help: "Sessions that the primary has closed, by code.",
    samples: ({ closed }) => Object.entries(closed).map(([code, count]) => [{ code }, count]),
  },
  {
    name: "headwater_catch_up_bytes_total",
    type: "counter",
    help: "What secondaries were sent while they caught up or were bootstrapped, before compression, in UTF-16 units.",
    samples: ({ partsSent }) => [[{}, partsSent]],
  },
  {
    name: "headwater_head",
    type: "gauge",
    help: "The store's latest seq.",
    samples: ({ head }) => [[{}, head]],
  },
  {
    name: "headwater_entries",
    type: "gauge",
    help: "Keys in the store.",
    samples: ({ entries }) => [[{}, entries]],
  },
  {
    name: "headwater_sockets",
    type: "gauge",
    help: "Open replication sockets.",
    samples: ({ sockets }) => [[{}, sockets]],
  },
  {
    name: "headwater_streams",
    type: "gauge",
    help: "Open streams of readers.",
    samples: ({ streams }) => [[{}, streams]],
  },
];

/** The figures of stores by name; undefined for one that could not be asked. */
export function formatMetrics(stores: ReadonlyMap<string, StoreMetrics | undefined>): string {
  const lines = ["# HELP headwater_up Whether the store's primary answers.", "# TYPE headwater_up gauge"];
  for (const [store, metrics] of stores) lines.push(`headwater_up${toLabels({ store })} ${metrics ? 1 : 0}`);
  for (const { name, type, help, samples } of FAMILIES) {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const [store, metrics] of stores) {
      if (!metrics) continue;
      for (const [labels, value, suffix = ""] of samples(metrics)) {
        lines.push(`${name}${suffix}${toLabels({ store, ...labels })} ${value}`);
      }
    }
  }
  return `${lines.join("\n")}\n`;
}

/** Names of stores, outcomes and states need no escaping: none of them can hold a quote, backslash or line feed. */
function toLabels(labels: Record<string, string>): string {
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${value}"`)
    .join(",")}}`;
}
