"use strict";
// Charts by plotly, with the page's colours; the legend is text of the page, so that it wraps.
(function () {
  var touch = window.matchMedia("(pointer: coarse)").matches;
  var dashes = { line: "solid", marked: "solid", dash: "dash", dot: "dot", points: "solid" };

  // plotly reads tags in texts: a name must not be one
  function plain(text) {
    return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function cut(text) { return text.length > 40 ? text.slice(0, 39) + "…" : text; }

  // few: whether there is room for the names of points
  function trace(line, several, few) {
    var colour = vmf.colour(line.colour);
    var one = { x: line.x, y: line.y, name: plain(cut(line.name)), showlegend: false };
    if (line.style === "bars") {
      one.type = "bar";
      one.marker = { color: colour, opacity: several ? 0.6 : 0.85 };
    } else {
      one.type = "scatter";
      one.mode = line.style === "points" ? "markers" : line.style === "marked" ? "lines+markers" : "lines";
      one.line = { color: colour, width: line.colour < 0 ? 1.3 : 2, dash: dashes[line.style] };
      one.marker = { color: colour, size: 7 };
    }
    if (line.texts.length) {
      one.text = line.texts.map(plain);
      one.hovertemplate = "%{text}<br>%{x}: %{y:.4g}<extra></extra>";
      if (few) { // names beside the points where there is room for them
        one.mode = "markers+text"; one.textposition = "top center"; one.textfont = { size: 11 };
        one.text = line.texts.map(cut).map(plain); one.cliponaxis = false;
      }
    } else if (line.colour < 0) one.hoverinfo = "skip";
    return one;
  }

  function axis(title, log, range) {
    var ink = vmf.style("--ink"), line = vmf.style("--line");
    return {
      title: { text: plain(title), font: { size: 12 }, standoff: 6 }, type: log ? "log" : "linear",
      range: range.length ? range : undefined, gridcolor: line, linecolor: line, zerolinecolor: line,
      tickfont: { color: ink, size: 11 }, automargin: true, fixedrange: touch,
      exponentformat: "power", minexponent: 5,
    };
  }

  // ticks of a logarithmic axis in full, at 1, 2 and 5 where there is room, else at powers of ten
  function ticks(own, values) {
    var known = values.filter(function (v) { return v > 0; });
    var low = Math.floor(Math.log10(Math.min.apply(null, known))), high = Math.ceil(Math.log10(Math.max.apply(null, known)));
    own.tickvals = [];
    for (var k = low; k <= high; k++) (high - low < 4 ? [1, 2, 5] : [1]).forEach(function (d) {
      own.tickvals.push(Number(d + "e" + k));
    });
    own.ticktext = own.tickvals.map(function (v) { return v >= 1e-4 && v < 1e6 ? String(v) : v.toExponential(); });
  }

  function layout(chart) {
    var ink = vmf.style("--ink"), paper = vmf.style("--paper");
    var points = chart.lines.some(function (line) { return line.texts.length; });
    var x = axis(chart.x_title, chart.x_log, chart.x_range);
    if (chart.x_title === "epoch") x.tickformat = "d";
    if (chart.x_title === "epoch" && longest(chart) < 8) x.dtick = 1;
    var y = axis(chart.y_title, chart.y_log, chart.y_range);
    if (chart.x_log) ticks(x, values(chart, "x"));
    if (chart.y_log) ticks(y, values(chart, "y"));
    return {
      margin: { l: 48, r: 14, t: 10, b: 40 }, font: { color: ink, family: "system-ui, sans-serif" },
      paper_bgcolor: paper, plot_bgcolor: paper, dragmode: touch ? false : "zoom", barmode: "overlay",
      hovermode: points ? "closest" : "x unified",
      hoverlabel: { bgcolor: vmf.style("--soft"), font: { color: ink }, bordercolor: vmf.style("--line") },
      xaxis: x, yaxis: y, showlegend: false,
    };
  }

  function values(chart, name) {
    return [].concat.apply([], chart.lines.map(function (line) { return line[name]; }));
  }

  function longest(chart) {
    return Math.max.apply(null, chart.lines.map(function (line) {
      return Math.max.apply(null, line.x) - Math.min.apply(null, line.x);
    }));
  }

  function keys(chart, list) {
    list.textContent = "";
    var named = chart.lines.filter(function (line) { return line.name; });
    if (named.length < 2) return;
    named.forEach(function (line) {
      var item = document.createElement("li"), sign = swatch(line);
      item.appendChild(sign);
      item.appendChild(document.createTextNode(line.name));
      list.appendChild(item);
    });
  }

  function swatch(line) {
    var svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("width", 22); svg.setAttribute("height", 10);
    var path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", line.style === "points" ? "M11 5h.01" : "M0 5H22"); path.setAttribute("stroke", vmf.colour(line.colour));
    path.setAttribute("stroke-width", { bars: 8, points: 8 }[line.style] || 2.5);
    path.setAttribute("stroke-linecap", line.style === "points" ? "round" : "butt");
    path.setAttribute("stroke-dasharray", { dash: "6 3", dot: "2 3" }[line.style] || "none");
    svg.appendChild(path);
    return svg;
  }

  function draw() {
    document.querySelectorAll("[data-chart]").forEach(function (place) {
      var chart = vmf.data.charts[place.dataset.chart];
      var few = chart.lines.reduce(function (n, line) { return n + line.texts.join("").length + 4 * line.texts.length; }, 0) < 200;
      var traces = chart.lines.map(function (line) { return trace(line, chart.lines.length > 1, few); });
      var size = layout(chart);
      if (vmf.isPrinting()) { size.width = 340; size.height = 230; }
      Plotly.react(place, traces, size, { displayModeBar: false, responsive: true, displaylogo: false });
      keys(chart, document.querySelector('[data-keys="' + place.dataset.chart + '"]'));
    });
  }

  vmf.onChange(draw);
  draw();
})();
