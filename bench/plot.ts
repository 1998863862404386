// Draws the results of one workload as SVG: a panel of bars for each of its chief metrics.

import { BarChart } from "echarts/charts";
import { GridComponent, TitleComponent } from "echarts/components";
import { init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";

use([BarChart, GridComponent, TitleComponent, SVGRenderer]);

const WIDTH = 760;
const BAR = 20;
const HEAD = 46;
const COLORS = { headwater: "#0b7285", bare: "#868e96", peer: "#b08968" };
/** Bars that differ by more than this are drawn on a logarithmic axis. */
const LINEAR_MAX = 30;

/** `panels`: [{ title, isLogarithmic?, bars: [{ system, kind, value, label }] }] */
export function plot(panels) {
  const tops = [];
  let height = 0;
  for (const { bars } of panels) {
    tops.push(height);
    height += HEAD + bars.length * BAR + 8;
  }
  const chart = init(null, null, { renderer: "svg", ssr: true, width: WIDTH, height });
  const values = panels.map(({ bars }) => bars.map(({ value }) => value).filter((value) => value > 0));
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    textStyle: { fontFamily: "system-ui, sans-serif" },
    title: panels.map(({ title }, i) => ({
      text: isLogarithmic(values[i]) ? `${title}, logarithmic` : title,
      left: 4,
      top: tops[i] + 10,
      textStyle: { fontSize: 13, fontWeight: 600, color: "#212529" },
    })),
    grid: panels.map(({ bars }, i) => ({
      left: 110,
      right: 90,
      top: tops[i] + HEAD - 8,
      height: bars.length * BAR,
    })),
    xAxis: panels.map((_, i) => ({
      gridIndex: i,
      type: isLogarithmic(values[i]) ? "log" : "value",
      min: isLogarithmic(values[i]) ? 10 ** Math.floor(Math.log10(Math.min(...values[i])) - 0.01) : 0,
      axisLabel: { show: false },
      splitLine: { lineStyle: { color: "#e9ecef" } },
    })),
    yAxis: panels.map(({ bars }, i) => ({
      gridIndex: i,
      type: "category",
      inverse: true,
      data: bars.map(({ system }) => system),
      axisTick: { show: false },
      axisLabel: { color: "#212529" },
    })),
    series: panels.map(({ bars }, i) => ({
      type: "bar",
      xAxisIndex: i,
      yAxisIndex: i,
      barWidth: 13,
      label: { show: true, position: "right", color: "#212529", formatter: ({ data }) => data.name },
      data: bars.map(({ kind, value, label }) => ({ value, name: label, itemStyle: { color: COLORS[kind] } })),
    })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}

function isLogarithmic(values) {
  return Math.max(...values) / Math.min(...values) > LINEAR_MAX;
}
