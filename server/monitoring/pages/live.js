'use strict';
// Draws a run as it goes on. The stream of events tells the whole state first, then what has changed; after a lost link
// the browser opens it again by itself, to the same coordinator or the one that took its place.
(() => {
  const {$, color, bytes, percent, number, count, element, fillTable, show, line, drawLines, restyle} = Plots;
  const kMostLogLines = 200;

  let state;   // what the coordinator told
  let dirty;   // names of parts of it that are not drawn yet
  const forget = () => {
    state = {run: null, now: null, search: null, failures: null, log: [], rounds: [], tests: []};
    dirty = new Set();
  };
  forget();

  // ---- The stream -----------------------------------------------------------------------------------------
  // A curve as it was, with the new points; the last point is one of the curve only as long as it is the last.
  function extend(curve, {from, points, last}) {
    const kept = from === 0 ? points : curve.kept.concat(points);
    const all = kept.length > 0 && kept.at(-1)[0] === last[0] ? kept : kept.concat([last]);
    return Object.assign(all, {kept});
  }

  function take(message) {
    if (message.whole) forget();
    for (const part of ['run', 'now', 'search', 'failures']) {
      if (part in message) state[part] = message[part];
    }
    for (const part of ['rounds', 'tests']) {
      if (part in message) state[part] = extend(state[part], message[part]);
    }
    if ('log' in message) state.log = state.log.concat(message.log).slice(-kMostLogLines);
    for (const part of message.whole ? Object.keys(state) : Object.keys(message)) dirty.add(part);
    requestAnimationFrame(drawDirty);
  }

  const link = (kind, text) => {
    $('link').className = `link ${kind}`;
    $('link').lastChild.textContent = text;
  };
  function listen() {
    const source = new EventSource('events');
    source.onopen = () => link('good', 'live');
    source.onmessage = (event) => take(JSON.parse(event.data));
    source.onerror = () => {
      link('lost', state.run?.finished || state.run?.failed ? 'the run has ended' : 'no connection, trying again');
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);  // it was refused
    };
  }

  const plural = (n, word) => `${count(n)} ${word}${n === 1 ? '' : 's'}`;

  // ---- This moment ----------------------------------------------------------------------------------------
  const kPhases = {
    waiting: 'waiting for clients', paused: 'paused', select: 'choosing clients', train: 'clients are training',
    apply: 'applying the updates', evaluate: 'evaluating', commit: 'committing',
  };
  const kEndings = {rounds: 'all rounds done', stopped: 'stopped on request'};
  // Every state a client can be in, in the order of a round.
  const kStates = {
    gone: 7, waiting: 7, offered: 8, training: 0, uploading: 9, accepted: 2, failed: 3,
  };

  function drawHeadline() {
    const {run, now} = state;
    if (run === null || now === null) return;
    document.title = `${now.committed}/${run.rounds} \u00b7 ${run.name}`;
    $('name').textContent = run.name;
    const facts = [plural(run.parameters, 'parameter'), `Muster ${run.version}`];
    if (run.clients > 0) facts.unshift(plural(run.clients, 'client'));  // those that connect are told of elsewhere
    if (run.first_round > 0) facts.push(`resumed after round ${count(run.first_round)}`);
    $('facts').replaceChildren(...facts.map((fact) => element('span', {}, fact)));
    const round = now.in_flight ? `Round ${count(now.round)} of ${count(run.rounds)}` :
                                  `${count(now.committed)} of ${count(run.rounds)} rounds`;
    const doing = run.failed ? `failed: ${run.failed}` :
        run.finished         ? kEndings[run.finished] ?? `ended by ${run.finished}` :
                               kPhases[now.phase] ?? now.phase;
    const headline = run.rounds > 0 ? `${round}: ${doing}` : 'Waiting for the run';
    if ($('headline').textContent !== headline) $('headline').textContent = headline;
    const share = run.rounds > 0 ? now.committed / run.rounds : 0;
    $('progress').firstChild.style.width = percent(share);
    $('progress').setAttribute('aria-valuenow', Math.round(100 * share));
  }

  function drawTiles() {
    const {run, now, failures} = state;
    if (run === null || now === null) return;
    const test = state.tests.at(-1);
    const classes = state.tests.some(([, , , accuracy]) => accuracy !== null);
    const best = classes ? Math.max(...state.tests.map((t) => t[3] ?? 0)) : Math.min(...state.tests.map((t) => t[2]));
    const train = state.rounds.at(-1)?.[2] ?? null;
    const tiles = [
      ['Rounds', count(now.committed), `of ${count(run.rounds)}`],
      test === undefined ? ['Test accuracy', '\u2013', 'not evaluated yet'] :
          classes        ? ['Test accuracy', percent(test[3]), `round ${count(test[0])}, best ${percent(best)}`] :
                           ['Test loss', number(test[2]), `round ${count(test[0])}, best ${number(best)}`],
      ['Training loss', train === null ? '\u2013' : number(train), 'mean of the clients'],
      ['Uploaded', bytes(now.upload_bytes), `${count(now.trainings)} client trainings`],
      ['Downloaded', bytes(now.download_bytes), ''],
      ['Failed clients', count(failures?.total ?? 0), failures?.total ? 'over all rounds' : 'none'],
    ];
    $('tiles').replaceChildren(...tiles.map(
        ([label, value, note]) => element(
            'div', {class: 'tile'}, element('div', {class: 'label'}, label), element('div', {class: 'value'}, value),
            element('div', {class: 'small'}, note))));
  }

  function drawClients() {
    const {now} = state;
    if (!show('clients', now !== null && now.round !== null)) return;
    const why = now.reason && now.reason !== 'fixed' ? ` (${now.reason})` : '';
    $('clients-heading').textContent = `Round ${count(now.round)}: ${plural(now.asked, 'client')} asked${why}`;
    const connected = Object.entries(now.connected ?? {});
    const total = connected.reduce((sum, [, n]) => sum + n, 0);
    $('connected').textContent = now.connected === null ? '' :
        `${count(total)} connected` + (total > 0 ? `: ${connected.filter(([, n]) => n > 0).map(
            ([name, n]) => `${count(n)} ${name}`).join(', ')}` : '');
    const states = Object.keys(kStates).filter((name) => now.states[name] > 0);
    $('states').setAttribute('aria-label', states.map((name) => `${now.states[name]} ${name}`).join(', '));
    $('states').replaceChildren(...states.map((name) => {
      const part = element('span');
      part.style.flexGrow = now.states[name];
      part.style.background = color(kStates[name]);
      return part;
    }));
    $('states-legend').replaceChildren(...states.map((name) => {
      const swatch = element('i');
      swatch.style.background = color(kStates[name]);
      return element('span', {}, swatch, `${count(now.states[name])} ${name}`);
    }));
    $('chips').replaceChildren(...now.clients.map(([client, name]) => {
      const chip = element('li', {title: `client ${client}: ${name}`, class: name}, String(client));
      chip.style.borderColor = color(kStates[name] ?? 7);
      if (name === 'accepted' || name === 'failed') chip.style.background = color(kStates[name]);
      return chip;
    }));
  }

  // ---- Curves ---------------------------------------------------------------------------------------------
  const points = (curve, x, y) => curve.map((row) => ({x: row[x], y: row[y]})).filter((p) => p.y !== null);

  function drawCurves() {
    const any = show('curves-grid', state.rounds.length > 0);
    show('curves-empty', !any);
    if (!any) return;
    const key = document.querySelector('input[name=axis]:checked').value;
    const x = key === 'bytes' ? 1 : 0;
    const accuracy = points(state.tests, x, 3);
    const upwards = {beginAtZero: true, grace: '5%'};
    // One point alone has no range of its own.
    const drawCurve = (id, label, data, format) =>
        drawLines(id, [line(label, 0, data)], key, format, data.length < 2 ? upwards : {});
    if (show('accuracy-figure', accuracy.length > 0 || state.tests.length === 0)) {
      drawCurve('accuracy-chart', 'accuracy', accuracy, percent);
    }
    drawCurve('test-loss-chart', 'test loss', points(state.tests, x, 2), number);
    drawCurve('train-loss-chart', 'training loss', points(state.rounds, x, 2), number);
    const steps = {stepped: 'middle', pointRadius: state.rounds.length < 2 ? 2 : 0};
    const cohort = [line('asked', 0, points(state.rounds, 0, 3), steps)];
    if (state.failures?.total > 0) {
      cohort.push(line('accepted', 1, points(state.rounds, 0, 4), {...steps, borderWidth: 1.2}));
    }
    drawLines('cohort-chart', cohort, 'round', count, {...upwards, ticks: {precision: 0}});
    drawLines('bytes-chart', [line('uploaded', 0, points(state.rounds, 0, 1))], 'round', bytes, upwards);
  }

  // Loss against the size of candidate cohorts, the reference they have to beat, and what was chosen.
  function drawSearch() {
    const {search} = state;
    if (!show('search', search !== null)) return;
    const tried = search.candidates.filter(([, loss]) => loss !== null).map(([size, loss]) => ({x: size, y: loss}));
    tried.sort((a, b) => a.x - b.x);
    const found = search.found > 0 ?
        `${plural(search.found, 'client')} would be the first that promise progress` : 'none promised progress';
    $('search-note').textContent = `After round ${count(search.round)} the server compared, on its own data, what ${
        plural(tried.length, 'size')} of cohorts would have reached: ${found}. From then on it asks ${
        plural(search.chosen, 'client')}, ${count(search.previous)} before.`;
    const datasets = [line('loss of the candidates', 0, tried, {pointRadius: 3})];
    if (search.reference !== null && tried.length > 0) {
      const sizes = tried.map(({x}) => x).concat(search.chosen, search.previous);
      const low = Math.min(...sizes), high = Math.max(...sizes);
      datasets.push(line('reference', 7, [{x: low, y: search.reference}, {x: high, y: search.reference}],
          {borderDash: [5, 4], pointRadius: 0, borderWidth: 1.5}));
    }
    const chosen = tried.filter(({x}) => x === search.chosen);
    datasets.push(line('chosen', 3, chosen, {showLine: false, pointRadius: 7, pointStyle: 'rectRot'}));
    drawLines('search-chart', datasets, 'clients', number);
  }

  function drawFailures() {
    const {failures} = state;
    if (!show('failures', failures !== null && failures.total > 0)) return;
    const shown = failures.last.length;
    $('failures-heading').textContent = failures.total > shown ?
        `Failed clients: the last ${count(shown)} of ${count(failures.total)}` : 'Failed clients';
    fillTable(
        'failures-table', ['round', 'client', 'where and how', 'what it said'],
        failures.last.map(({round, client, stage, code, message}) => [count(round), client, `${stage}: ${code}`, message]),
        [2, 3]);
  }

  function drawLog() {
    if (!show('log', state.log.length > 0)) return;
    $('lines').replaceChildren(...state.log.slice().reverse().map(([time, level, text]) => {
      const moment = new Date(1000 * time);
      return element(
          'li', {class: level}, element('time', {datetime: moment.toISOString()}, moment.toTimeString().slice(0, 8)),
          ' ', text);
    }));
  }

  const kDrawers = [
    [drawHeadline, ['run', 'now']],
    [drawTiles, ['run', 'now', 'rounds', 'tests', 'failures']],
    [drawClients, ['now']],
    [drawCurves, ['rounds', 'tests']],
    [drawSearch, ['search']],
    [drawFailures, ['failures']],
    [drawLog, ['log']],
    [() => show('control', Boolean(state.run?.steerable)), ['run']],
  ];
  function drawDirty() {
    if (dirty.size === 0) return;
    const parts = dirty;
    dirty = new Set();
    for (const [draw, needs] of kDrawers) {
      if (needs.some((part) => parts.has(part))) draw();
    }
  }
  function drawAll() {
    restyle();
    dirty = new Set(Object.keys(state));
    drawDirty();
  }

  // ---- Control --------------------------------------------------------------------------------------------
  $('control-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const action = event.submitter?.value ?? 'set';
    const command = {action};
    if (action === 'set') command.set = {[$('path').value]: $('value').value};
    try {
      const answer = await fetch('control', {
        method: 'POST',
        headers: {Authorization: `Bearer ${$('token').value}`},
        body: JSON.stringify(command),
      });
      $('answer').textContent = answer.ok ? `${action}: done` : await answer.text();
    } catch (error) {
      $('answer').textContent = `${action}: the coordinator does not answer`;
    }
  });

  for (const input of document.querySelectorAll('input[name=axis]')) input.addEventListener('change', drawCurves);
  addEventListener('resize', () => {
    for (const part of ['rounds', 'tests', 'search']) dirty.add(part);
    requestAnimationFrame(drawDirty);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
  drawAll();
  listen();
})();
