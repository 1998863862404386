// The moving charts: lag of each secondary, how many writers wait for, throughput, and how long this page's updates took.

import uPlot from "uplot";
import { find, formatNumber, select } from "./element.ts";
import { WINDOW_MS } from "./observation.ts";
import type { Sample } from "./observation.ts";

/** Secondaries with a line of their own, and with a colour: as many as one can tell apart. */
const LINES_MAX = 8;
const HEIGHT = 120;

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
  /** The secondaries that have a line, each in its place. */
  #places: (string | undefined)[] = Array.from({ length: LINES_MAX }, () => undefined);

  constructor(root: ParentNode) {
    this.#lag = new Chart(find("chart-lag", HTMLElement, root), "ms", this.#lagLines());
    this.#charts = [
      this.#lag,
      new Chart(find("chart-in-sync", HTMLElement, root), "", [
        { label: "in sync", colour: "--good", isStepped: true, read: ({ inSync }) => inSync },
      ]),
      new Chart(find("chart-rate", HTMLElement, root), "/s", [
        { label: "updates", colour: "--accent", read: ({ rate }) => rate },
      ]),
      new Chart(find("chart-acks", HTMLElement, root), "ms", [
        { label: "slowest", colour: "--muted", isPoints: true, read: ({ ackMs }) => ackMs?.slowest ?? null },
        { label: "median", colour: "--accent", isPoints: true, read: ({ ackMs }) => ackMs?.median ?? null },
        { label: "failed", colour: "--bad", isPoints: true, read: ({ failedMs }) => failedMs },
      ]),
    ];
  }

  /** The colour of a secondary's line, as a custom property's name; undefined if it has none. */
  colourOf(secondaryId: string): string | undefined {
    const place = this.#places.indexOf(secondaryId);
    return place < 0 ? undefined : `--line-${place + 1}`;
  }

  paint(samples: readonly Sample[]): void {
    if (this.#assignPlaces(samples)) this.#lag.setLines(this.#lagLines());
    for (const chart of this.#charts) chart.paint(samples);
  }

  close(): void {
    for (const chart of this.#charts) chart.close();
  }

  /** Whoever has a place keeps it as long as the window shows it. True if anything has changed. */
  #assignPlaces(samples: readonly Sample[]): boolean {
    const seen = new Set(samples.flatMap(({ lagMs }) => [...lagMs.keys()]));
    const placed = new Set(this.#places);
    const waiting = [...seen].filter((id) => !placed.has(id));
    const places = this.#places.map((id) => (id !== undefined && seen.has(id) ? id : waiting.shift()));
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

/** One chart, as wide as its place. */
class Chart {
  readonly #plot: HTMLElement;
  readonly #now: HTMLElement;
  readonly #unit: string;
  readonly #resizing: ResizeObserver;
  #lines: Line[];
  /** In which colour the axes are drawn. */
  #axes = "";
  #uplot: uPlot;

  constructor(figure: HTMLElement, unit: string, lines: Line[]) {
    this.#plot = select(".plot", HTMLElement, figure);
    this.#now = select("output", HTMLElement, figure);
    this.#unit = unit;
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
    const now = samples.at(-1)?.at ?? 0;
    const ages = samples.map(({ at }) => (at - now) / 1000);
    this.#uplot.setData([ages, ...this.#lines.map(({ read }) => samples.map(read))]);
    const latest = samples.at(-1);
    const values = latest ? this.#lines.map(({ read }) => read(latest)).filter((value) => value !== null) : [];
    const text = values.length > 0 ? `${formatNumber(Math.round(Math.max(...values)))} ${this.#unit}`.trim() : "–";
    if (this.#now.textContent !== text) this.#now.textContent = text;
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
