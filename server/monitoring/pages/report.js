'use strict';
// Draws the report from the JSON in #report-data.
(() => {
  const {$, css, color, bytes, percent, number, shorten, count, element, svg, fillTable, show, draw, legend, axis, line,
         drawLines, drawBars, bars, restyle} = Plots;
  const report = JSON.parse(document.getElementById('report-data').textContent);
  const runs = report.runs;
  const several = runs.length > 1;

  const horizontal = () => document.querySelector('input[name=axis]:checked').value;
  const points = (curve, column, key) =>
      curve[column].map((y, i) => ({x: curve[key][i], y})).filter((p) => p.y !== null);

  function drawCurves() {
    const key = horizontal();
    const curves = (curve, column) => runs.map((run, i) => line(run.label, i, points(run[curve], column, key)));
    if (show('accuracy-figure', runs.some((run) => run.classes))) {
      drawLines('accuracy-chart', curves('test', 'accuracy'), key, percent);
    }
    drawLines('test-loss-chart', curves('test', 'loss'), key, number);
    drawLines('train-loss-chart', curves('train', 'loss'), key, number);
  }

  function drawCohort() {
    const datasets = [];
    runs.forEach((run, i) => {
      const asked = points(run.cohort, 'asked', 'round');
      const label = (what) => (several ? `${shorten(run.label)}: ${what}` : what);
      datasets.push(line(run.label, i, asked, {label: label('asked'), stepped: 'middle', pointRadius: 0}));
      if (!several && run.failures !== null) {
        datasets.push(line(
            run.label, 1, points(run.cohort, 'accepted', 'round'),
            {label: 'accepted', stepped: 'middle', pointRadius: 0, borderWidth: 1.2}));
      }
      if (run.searches.length > 0) {
        const marks = run.searches.map(
            (search) => ({
              x: search.round,
              y: search.chosen,
              text: `search: ${count(search.previous)} \u2192 ${count(search.chosen)} clients`,
            }));
        datasets.push(line(run.label, i, marks, {
          label: label('search, size chosen'),
          showLine: false,
          pointRadius: 4.5,
          pointStyle: 'rectRot',
          clip: false,
          ...(several ? {} : {borderColor: color(3), backgroundColor: color(3)}),
        }));
      }
    });
    drawLines(
        'cohort-chart', datasets, 'round', count, {beginAtZero: true, grace: '5%', ticks: {precision: 0}});
  }

  // ---- Sections of one run --------------------------------------------------------------------------------
  // The losses of a search's candidates over their size, against the reference loss.
  function searchPlot(search) {
    const width = 190;
    const height = 44;
    const candidates = search.candidates.filter(([, loss]) => loss !== null);
    const losses = candidates.map(([, loss]) => loss).concat(search.reference ?? []);
    const low = Math.min(...losses);
    const range = Math.max(...losses) - low || 1;
    const y = (loss) => 6 + (height - 12) * (1 - (loss - low) / range);
    const x = (i) => 8 + ((width - 16) * i) / Math.max(1, candidates.length - 1);
    const plot = svg('svg', {
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      role: 'img',
      'aria-label': 'loss of the candidates'
    });
    if (search.reference !== null) {
      plot.append(svg('line', {
        x1: 0,
        x2: width,
        y1: y(search.reference),
        y2: y(search.reference),
        stroke: css('--soft'),
        'stroke-dasharray': '3 3'
      }));
    }
    plot.append(svg('polyline', {
      points: candidates.map(([, loss], i) => `${x(i)},${y(loss)}`).join(' '),
      fill: 'none',
      stroke: color(0),
      'stroke-opacity': 0.45
    }));
    candidates.forEach(([size, loss], i) => {
      const found = size === search.found;
      plot.append(
          svg('circle', {cx: x(i), cy: y(loss), r: found ? 4.5 : 2.5, fill: found ? color(2) : color(0)},
              svg('title', {}, `${size} clients: ${number(loss)}`)));
    });
    return plot;
  }

  function drawSearches(run) {
    if (!show('searches', run.searches.length > 0)) return;
    fillTable(
        'searches-table',
        [
          'round', 'before', 'reference loss', 'candidates tried', 'losses (dashed: reference)', 'found',
          'chosen', 'uploads saved so far', 'why'
        ],
        run.searches.map(
            (search) =>
                [count(search.round),
                 count(search.previous),
                 number(search.reference),
                 search.candidates.map(([size]) => count(size)).join(', '),
                 searchPlot(search),
                 search.found > 0 ? count(search.found) : 'none',
                 count(search.chosen),
                 search.saved,
                 search.why,
    ]),
        [3, 4, 8]);
  }

  // One chart for every name the server's method told numbers by.
  function drawTold(run) {
    if (!show('told', run.told.length > 0)) return;
    $('told-charts')
        .replaceChildren(...run.told.map(
            ({name}, t) => element(
                'figure', run.told.length === 1 ? {class: 'wide'} : {},
                element('figcaption', {}, name.replaceAll('_', ' ')),
                element('div', {class: 'chart'}, element('canvas', {id: `told-chart-${t}`})))));
    run.told.forEach(({round, labels, curves}, t) => {
      const datasets = curves.map((values, i) => {
        const data = values.map((y, r) => ({x: round[r], y})).filter((p) => p.y !== null);
        return line(labels[i], i, data, {borderColor: color(i, labels.length),
                                                  backgroundColor: color(i, labels.length)});
      });
      drawLines(`told-chart-${t}`, datasets, 'round', number);
    });
  }

  function drawFailures(run) {
    const failures = run.failures;
    if (!show('failures', failures !== null)) return;
    const stages = Object.entries(failures.stages);
    drawBars(
        'failures-chart', failures.rounds,
        stages.map(([stage, counts], i) => bars(counts, i + 1, {label: stage})), {
          stacked: true,
          showLegend: true,
          x: {title: {display: true, text: 'round'}, ticks: {maxRotation: 0}},
          y: {ticks: {precision: 0}},
          tooltip: {title: (items) => (items.length ? `Round ${items[0].label}` : '')},
        });
    fillTable(
        'failures-table', ['stage', 'code', 'clients', 'the first one said'],
        failures.kinds.map(([stage, code, times, message]) => [stage, code, count(times), message]),
        [0, 1, 3]);
  }

  function drawData(run) {
    const data = run.data;
    if (!show('data', data !== null && (data.labels.length > 0 || data.samples.length > 0))) return;
    if (show('labels-figure', data.labels.length > 0)) {
      $('labels-caption').textContent = data.labels.length < data.clients ?
          `Training samples by class, the first ${data.labels.length} of ${count(data.clients)} clients` :
          `Training samples by class, all ${count(data.clients)} clients`;
      const total = data.classes.length;
      drawBars(
          'labels-chart', data.labels.map((_, client) => client),
          data.classes.map((name, c) => bars(data.labels.map((counts) => counts[c]), 0, {
                             label: name,
                             backgroundColor: color(c, total),
                             barPercentage: 1,
                             categoryPercentage: 0.92,
                           })),
          {
            stacked: true,
            x: {title: {display: true, text: 'client'}, ticks: {maxRotation: 0}},
            tooltip: {title: (items) => (items.length ? `Client ${items[0].label}` : '')},
          });
      $('labels-legend')
          .replaceChildren(...data.classes.slice(0, 30).map(
              (name, c) =>
                  element('span', {}, element('i', {style: `background:${color(c, total)}`}), name)));
    }
    if (show('samples-figure', data.samples.length > 0)) {
      const range = ([from, to]) => (from === to ? count(from) : `${count(from)}\u2013${count(to)}`);
      drawBars(
          'samples-chart', data.samples.map(range),
          [bars(
              data.samples.map((bin) => bin[2]), 0,
              {label: 'clients', barPercentage: 0.95, categoryPercentage: 1})],
          {
            x: {title: {display: true, text: 'samples'}, ticks: {maxRotation: 0}},
            y: {title: {display: true, text: 'clients'}, ticks: {precision: 0}},
          });
    }
  }

  function drawQuality(run) {
    const recall = run.recall;
    const own = run.client_accuracy;
    if (!show('quality', recall !== null || own !== null)) return;
    $('recall').className = own === null ? 'alone' : '';
    $('client-accuracy').className = recall === null ? 'alone' : '';
    if (show('recall', recall !== null)) {
      $('recall-caption').textContent = `Recall by class on the test set, round ${count(recall.round)}`;
      draw('recall-chart', {
        type: 'bar',
        data: {
          labels: recall.classes,
          datasets: [bars(recall.values, 0, {label: 'recall', maxBarThickness: 22})]
        },
        options: {
          indexAxis: 'y',
          interaction: {mode: 'nearest', axis: 'y', intersect: false},
          scales: {
            x: axis('', {min: 0, max: 1, ticks: {callback: percent}}),
            y: axis('', {grid: {display: false}, ticks: {autoSkip: recall.classes.length > 20}})
          },
          plugins: {
            legend: legend(false),
            tooltip: {callbacks: {label: (item) => `recall: ${percent(item.parsed.x)}`}}
          },
        },
      });
    }
    if (show('client-accuracy', own !== null)) {
      $('client-accuracy-caption').textContent =
          `Accuracy on the own data of ${count(own.clients)} clients, round ${count(own.round)}`;
      const width = 1 / own.bins.length;
      drawBars(
          'client-accuracy-chart',
          own.bins.map((_, i) => `${percent(i * width)}\u2013${percent((i + 1) * width)}`),
          [bars(own.bins, 2, {label: 'clients', barPercentage: 0.95, categoryPercentage: 1})], {
            x: {
              title: {display: true, text: 'accuracy'},
              ticks: {maxRotation: 0, autoSkip: false, callback: (_, i) => (i % 4 ? '' : percent(i * width))}
            },
            y: {title: {display: true, text: 'clients'}, ticks: {precision: 0}},
          });
      $('client-accuracy-note').textContent = `Worst client ${own.worst}, lowest tenth up to ${
          own.p10}, median ${own.median}, highest tenth from ${own.p90}.`;
    }
  }

  function drawRun(run) {
    $('tiles').replaceChildren(...run.tiles.map(
        (tile) => element(
            'div', {class: 'tile'}, element('div', {class: 'label'}, tile.label),
            element('div', {class: 'value'}, tile.value), element('div', {class: 'small'}, tile.note))));
    drawSearches(run);
    drawTold(run);
    drawFailures(run);
    drawData(run);
    drawQuality(run);
    $('config').textContent = run.config;
    $('model-hash')
        .replaceChildren(
            ...(run.model_sha256 ? ['SHA-256 of the model: ', element('code', {}, run.model_sha256)] : []));
  }

  // What all runs have in common, and the table of what they have not.
  function drawComparison() {
    const shared = runs[0].facts.filter((fact) => runs.every((run) => run.facts.includes(fact)));
    $('facts').replaceChildren(...shared.map((fact) => element('span', {}, fact)));
    if (!show('comparison', report.comparison !== null)) return;
    const {columns, rows} = report.comparison;
    fillTable(
        'comparison-table', columns,
        rows.map(
            ([label, ...values], i) =>
                [element(
                     'span', {}, element('span', {class: 'swatch', style: `background:${color(i)}`}), label),
                 ...values]));
  }

  function drawAll() {
    restyle();
    drawComparison();
    drawCurves();
    drawCohort();
    drawRun(runs[$('chosen').selectedIndex]);
  }

  $('chosen').append(...runs.map((run) => element('option', {}, run.label)));
  $('chosen').selectedIndex = 0;
  $('chosen').addEventListener('change', drawAll);
  // A comparison starts with what the runs have in common.
  if (show('chooser', several)) $('cohort').after($('chooser'), $('tiles'));
  for (const input of document.querySelectorAll('input[name=axis]'))
    input.addEventListener('change', drawCurves);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
  // Paper is white: print in light colours.
  const printing = (on) => () => {
    document.documentElement.classList.toggle('print', on);
    drawAll();
  };
  addEventListener('beforeprint', printing(true));
  addEventListener('afterprint', printing(false));
  drawAll();
})();
