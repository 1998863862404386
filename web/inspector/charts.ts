// The moving charts: lag of each secondary, how many writers wait for, throughput, and how long this page's updates took.

import uPlot from "uplot";
import { find, formatNumber, select } from "./element.ts";
import { WINDOW_MS } from "./observation.ts";
import type { Sample } from "./observation.ts";

/** Secondaries with a line of their own, and with a colour: as many as one can tell apart. */
const LINES_MAX = 8;
const HEIGHT = 120;
/** What is older is not told as the present. */
const LATEST_MS = 3000;

/** A line of a chart: what of each sample it draws; in which of the palette's colours. */
interface Line {
  label: string;
  colour: string;
  isStepped?: boolean;
  /** Single points, far from each other. */
  isPoints?: boolean;
  read: (sample: Sample) => number | null;
}

export class Charts {
  readonly #charts: Chart[];
  readonly #lag: Chart;
  #painted: Sample | undefined;
  /** The secondaries that have a line, each in its place. */
  #places: (string | undefined)[] = Array.from({ length: LINES_MAX }, () => undefined);

  constructor(root: ParentNode) {
    this.#lag = new Chart(find("chart-lag", HTMLElement, root), this.#lagLines(), ({ lagMs, inSync }) =>
      inSync === null ? undefined : `${format(Math.max(0, ...lagMs.values()))} ms`,
    );
    this.#charts = [
      this.#lag,
      new Chart(
        find("chart-in-sync", HTMLElement, root),
        [{ label: "in sync", colour: "--good", isStepped: true, read: ({ inSync }) => inSync }],
        ({ inSync }) => (inSync === null ? undefined : format(inSync)),
      ),
      new Chart(
        find("chart-rate", HTMLElement, root),
        [{ label: "updates", colour: "--accent", read: ({ rate }) => rate }],
        ({ rate }) => (rate === null ? undefined : `${format(rate)} /s`),
      ),
      new Chart(
        find("chart-acks", HTMLElement, root),
        [
          { label: "slowest", colour: "--muted", isPoints: true, read: ({ ackMs }) => ackMs?.slowest ?? null },
          { label: "median", colour: "--accent", isPoints: true, read: ({ ackMs }) => ackMs?.median ?? null },
          { label: "failed", colour: "--bad", isPoints: true, read: ({ failedMs }) => failedMs },
        ],
        ({ ackMs, failedMs }) => {
          if (ackMs) return `median ${format(ackMs.median)} ms`;
          return failedMs === null ? undefined : `failed ${format(failedMs)} ms`;
        },
      ),
    ];
  }

  /** The colour of a secondary's line, as a custom property's name; undefined if it has none. */
  colourOf(secondaryId: string): string | undefined {
    const place = this.#places.indexOf(secondaryId);
    return place < 0 ? undefined : `--line-${place + 1}`;
  }

  /** Draws what there is anew, if there is anything new. `ownId` is the secondary that this browser is. */
  paint(samples: readonly Sample[], ownId: string | null): void {
    const latest = samples.at(-1);
    if (!latest || latest === this.#painted) return;
    this.#painted = latest;
    if (this.#assignPlaces(samples, ownId)) this.#lag.setLines(this.#lagLines());
    for (const chart of this.#charts) chart.paint(samples);
  }

  close(): void {
    for (const chart of this.#charts) chart.close();
  }

  /** Lines are for one's own and for those that lag most; whoever has one keeps its place. True if anything has changed. */
  #assignPlaces(samples: readonly Sample[], ownId: string | null): boolean {
    const worstMs = new Map<string, number>();
    for (const { lagMs } of samples)
      for (const [id, ms] of lagMs) worstMs.set(id, Math.max(worstMs.get(id) ?? 0, Math.round(ms / 100)));
    const placed = new Set(this.#places);
    const rank = (id: string): number => (id === ownId ? Infinity : worstMs.get(id)! + (placed.has(id) ? 0.5 : 0));
    const chosen = [...worstMs.keys()].sort((a, b) => rank(b) - rank(a)).slice(0, LINES_MAX);
    const waiting = chosen.filter((id) => !placed.has(id));
    const places = this.#places.map((id) => (id !== undefined && chosen.includes(id) ? id : waiting.shift()));
    const hasChanged = places.some((id, place) => id !== this.#places[place]);
    this.#places = places;
    return hasChanged;
  }

  #lagLines(): Line[] {
    return this.#places.map((id, place) => ({
      label: id?.slice(0, 8) ?? "",
      colour: `--line-${place + 1}`,
      read: ({ lagMs }) => (id === undefined ? null : (lagMs.get(id) ?? null)),
    }));
  }
}

const format = (value: number): string => formatNumber(Math.round(value));

/** One chart, as wide as its place. */
class Chart {
  readonly #plot: HTMLElement;
  readonly #now: HTMLElement;
  readonly #title: string;
  readonly #describe: (sample: Sample) => string | undefined;
  readonly #resizing: ResizeObserver;
  #lines: Line[];
  #samples: readonly Sample[] = [];
  /** In which colour the axes are drawn. */
  #axes = "";
  #uplot: uPlot;

  /** `describe` says in words what the lines show of a sample. */
  constructor(figure: HTMLElement, lines: Line[], describe: (sample: Sample) => string | undefined) {
    this.#plot = select(".plot", HTMLElement, figure);
    this.#now = find("now", HTMLElement, figure);
    this.#title = this.#plot.ariaLabel ?? "";
    this.#describe = describe;
    this.#lines = lines;
    this.#uplot = this.#build();
    this.#resizing = new ResizeObserver(() => this.#uplot.setSize({ width: this.#width, height: HEIGHT }));
    this.#resizing.observe(this.#plot);
  }

  setLines(lines: Line[]): void {
    this.#lines = lines;
    this.#uplot.destroy();
    this.#uplot = this.#build();
  }

  paint(samples: readonly Sample[]): void {
    // It has become dark, or light.
    if (this.#colour("--muted") !== this.#axes) this.setLines(this.#lines);
    this.#samples = samples;
    const now = samples.at(-1)?.at ?? 0;
    const ages = samples.map(({ at }) => (at - now) / 1000);
    this.#uplot.setData([ages, ...this.#lines.map(({ read }) => samples.map(read))]);
    this.#paintNumber(this.#uplot.cursor.idx);
  }

  /** What is under the cursor or, where there is none, now: of what ends now and then, the last that there was. */
  #paintNumber(index: number | null | undefined): void {
    const under = index === null || index === undefined ? undefined : this.#samples[index];
    const latest = this.#samples.findLast((sample) => this.#describe(sample) !== undefined);
    const isOld = latest !== undefined && this.#samples.at(-1)!.at - latest.at > LATEST_MS;
    const text = (under ? this.#describe(under) : isOld ? undefined : latest && this.#describe(latest)) ?? "–";
    if (this.#now.textContent === text) return;
    this.#now.textContent = text;
    this.#plot.ariaLabel = `${this.#title}: ${text}`;
  }

  close(): void {
    this.#resizing.disconnect();
    this.#uplot.destroy();
  }

  get #width(): number {
    return Math.max(100, this.#plot.clientWidth);
  }

  #build(): uPlot {
    this.#axes = this.#colour("--muted");
    const grid = this.#colour("--line");
    const axis = { stroke: this.#axes, font: "11px ui-monospace, monospace", ticks: { show: false } };
    const options: uPlot.Options = {
      width: this.#width,
      height: HEIGHT,
      padding: [8, 16, 0, 0],
      legend: { show: false },
      hooks: { setCursor: [({ cursor }) => this.#paintNumber(cursor.idx)] },
      cursor: { y: false, points: { size: 6 }, sync: { key: "headwater" } },
      scales: {
        x: { time: false, range: [-WINDOW_MS / 1000, 0] },
        // Something that is next to nothing looks like it.
        y: { range: (_, __, max) => [0, Math.max(4, max * 1.1)] },
      },
      axes: [
        {
          ...axis,
          size: 22,
          grid: { show: false },
          values: (_, all) => all.map((age) => (age === 0 ? "now" : `${age} s`)),
        },
        {
          ...axis,
          size: 46,
          grid: { stroke: grid, width: 1 },
          space: 32,
          incrs: STEPS,
          values: (_, all) => all.map(formatNumber),
        },
      ],
      series: [{}, ...this.#lines.map((line) => this.#toSeries(line))],
    };
    const empty: uPlot.AlignedData = [[], ...this.#lines.map(() => [])];
    return new uPlot(options, empty, this.#plot);
  }

  #toSeries({ label, colour, isStepped, isPoints }: Line): uPlot.Series {
    const stroke = this.#colour(colour);
    const paths = isStepped ? uPlot.paths.stepped?.({ align: 1 }) : isPoints ? () => null : undefined;
    return {
      label,
      stroke,
      width: 2,
      points: isPoints ? { show: true, size: 5, fill: stroke, stroke } : { show: false },
      ...(paths && { paths }),
    };
  }

  /** A canvas knows nothing of the palette, nor of which half of it is in use. */
  #colour(name: string): string {
    this.#plot.style.color = `var(${name})`;
    const { color } = getComputedStyle(this.#plot);
    this.#plot.style.color = "";
    return color;
  }
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];
