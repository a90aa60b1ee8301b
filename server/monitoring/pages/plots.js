'use strict';
// What the pages share: numbers as text, elements, charts. Whatever a page is told by runs and clients only ever enters
// as text, never as HTML.
const Plots = (() => {
  const charts = new Map();  // by canvas id
  const $ = (id) => document.getElementById(id);

  // ---- Colours --------------------------------------------------------------------------------------------
  const kPalette = [
    '#3b7dd8', '#e4812f', '#3f9f62', '#c94f58', '#8567c9', '#8f6a4e', '#d576b5', '#7d8794', '#b6a62d',
    '#2fa9bd'
  ];
  const color = (i, count = 0) => count <= kPalette.length ? kPalette[i % kPalette.length] :
                                                             `hsl(${Math.round((i * 360) / count)} 55% 55%)`;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---- Numbers as text ------------------------------------------------------------------------------------
  function bytes(value) {
    const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
    let unit = 0;
    while (value >= 999.5 && unit < units.length - 1) {
      value /= 1000;
      ++unit;
    }
    return `${unit === 0 ? Math.round(value) : +value.toPrecision(3)} ${units[unit]}`;
  }
  const percent = (value) => `${+ (100 * value).toFixed(2)}%`;
  const number = (value) =>
      (value === null ? '\u2013' : value.toLocaleString('en', {maximumSignificantDigits: 5}));
  const shorten = (text) => (text.length > 40 ? `${text.slice(0, 39)}\u2026` : text);
  const count = (value) => value.toLocaleString('en');

  // ---- Elements -------------------------------------------------------------------------------------------
  function build(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }
  const element = (tag, attributes = {}, ...children) =>
      build(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
      build(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
  function fillTable(id, columns, rows, textColumns = []) {
    const name = (i) => (textColumns.includes(i) ? {class: 'text'} : {});
    const head = element('tr', {}, ...columns.map((column, i) => element('th', name(i), column)));
    const body = rows.map((row) => element('tr', {}, ...row.map((cell, i) => element('td', name(i), cell))));
    $(id).replaceChildren(element('thead', {}, head), element('tbody', {}, ...body));
  }
  function show(id, visible) {
    $(id).hidden = !visible;
    return visible;
  }

  // ---- Charts ---------------------------------------------------------------------------------------------
  function draw(id, config) {
    const known = charts.get(id);
    config.options = {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      normalized: true,
      interaction: {mode: 'nearest', axis: 'x', intersect: false},
      ...config.options,
    };
    if (known?.canvas !== $(id)) {
      known?.destroy();
      charts.set(id, new Chart($(id), config));
      return;
    }
    known.data = config.data;
    known.options = config.options;
    known.update();
  }
  const legend = (display) =>
      ({display, position: 'bottom', labels: {boxWidth: 10, boxHeight: 10, padding: 14}});
  const axis = (title, more = {}) => ({
    title: {display: Boolean(title), text: title, font: {size: 12}},
    grid: {color: css('--line'), drawBorder: false},
    ...more,
  });

  const line = (label, i, data, more = {}) => ({
    label: shorten(label),
    data,
    borderColor: color(i),
    backgroundColor: color(i),
    borderWidth: 2,
    pointRadius: data.length > 40 ? 0 : 2,
    pointHitRadius: 6,
    clip: 6,
    tension: 0,
    ...more,
  });

  // What lines can be drawn over.
  const kHorizontal = {
    round: {title: 'round', place: (x) => `Round ${x}`, ticks: {precision: 0}},
    bytes: {title: 'uploaded by all clients', place: bytes, min: 0, ticks: {callback: bytes}},
    clients: {title: 'clients', place: (x) => `${x} clients`, ticks: {precision: 0}},
  };
  function drawLines(id, datasets, key, format, yAxis = {}) {
    const {title, place, ticks, ...limits} = kHorizontal[key];
    if (key === 'round') limits.max = Math.max(1, ...datasets.map(({data}) => data.at(-1)?.x ?? 1));
    const labels = Math.max(3, Math.min(9, Math.floor($(id).parentNode.clientWidth / 75)));
    draw(id, {
      type: 'line',
      data: {datasets},
      options: {
        scales: {
          x: axis(title, {type: 'linear', ...limits, ticks: {maxTicksLimit: labels, maxRotation: 0, ...ticks}}),
          y: axis('', {ticks: {callback: format, maxTicksLimit: 7}, ...yAxis}),
        },
        plugins: {
          legend: legend(datasets.length > 1),
          tooltip: {
            callbacks: {
              title: (items) => (items.length ? place(items[0].parsed.x) : ''),
              label: (item) => item.raw.text ?? `${item.dataset.label}: ${format(item.parsed.y)}`,
            }
          },
        },
      },
    });
  }

  function drawBars(
      id, labels, datasets, {stacked = false, x = {}, y = {}, showLegend = false, tooltip = {}} = {}) {
    draw(id, {
      type: 'bar',
      data: {labels, datasets},
      options: {
        scales: {
          x: axis('', {stacked, ...x, grid: {display: false}}),
          y: axis('', {stacked, beginAtZero: true, ...y})
        },
        plugins: {legend: legend(showLegend), tooltip: {callbacks: tooltip}},
      },
    });
  }
  const bars = (data, i = 0, more = {}) => ({data, backgroundColor: color(i), maxBarThickness: 46, ...more});

  // Charts drawn from now on have the page's colours and letters.
  function restyle() {
    Chart.defaults.color = css('--soft');
    Chart.defaults.borderColor = css('--line');
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  }

  return {
    $, css, color, bytes, percent, number, shorten, count, element, svg, fillTable, show, draw, legend, axis, line,
    drawLines, drawBars, bars, restyle
  };
})();
