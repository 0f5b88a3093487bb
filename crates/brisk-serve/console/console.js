// The console: asks /console/state every second and shows what it says, with what is known of each version; asks models, and shows their
// answers.
//
// One rule keeps this safe: what comes from the server becomes text nodes and attributes, never HTML.
// One rule keeps it calm: a part of the page is only built anew when what it shows has changed (see `part`).
'use strict';

// ---------------------------------------------------------------- words

/** All texts, in English and Chinese. {0}, {1}: what is put in. */
const WORDS = {
  skip: ['To the content', '跳到内容'],
  console: ['Console', '控制台'],
  interface: ['Interface', '接口'],
  metrics: ['Metrics', '指标'],
  title: ['Brisk: console', 'Brisk：控制台'],
  server: ['Server', '服务器'],
  ready: ['Ready', '就绪'],
  not_ready: ['Not ready', '未就绪'],
  version: ['Version', '版本'],
  version_n: ['version {0}', '版本 {0}'],
  device: ['Device', '设备'],
  uptime: ['Up for', '已运行'],
  source: ['Source', '来源'],
  in_work: ['In work', '处理中'],
  rows_waiting: ['Rows waiting', '排队行数'],
  dropped: ['Dropped', '已丢弃'],
  days: ['{0} d {1} h', '{0} 天 {1} 小时'],
  hours: ['{0} h {1} min', '{0} 小时 {1} 分'],
  minutes: ['{0} min {1} s', '{0} 分 {1} 秒'],
  lost: ['The server does not answer. Trying again every second; what you see is from before.', '服务器没有响应。正在每秒重试；页面显示的是之前的内容。'],
  back: ['The server answers again.', '服务器已恢复响应。'],
  enter: ['Sign in', '登录'],
  enter_about: ['This server asks for an API key. It is kept in this tab only, until you close it.', '此服务器需要 API 密钥。密钥只保存在当前标签页，关闭即清除。'],
  key: ['API key', 'API 密钥'],
  wrong_key: ['This key is not known to the server.', '服务器不认识这个密钥。'],
  leave: ['Sign out', '退出'],
  models: ['Models', '模型'],
  none: ['No model is served yet. Publish one, and it appears here.', '还没有模型。发布一个模型后，它会显示在这里。'],
  refused: ['Not loaded', '未加载'],
  answers_s: ['Answers a second', '每秒回答数'],
  latency: ['Latency', '延迟'],
  per_s: ['{0}/s', '{0}/秒'],
  faults: ['faults {0}', '错误 {0}'],
  faults_about: ['Faults in the last two minutes: {0}', '最近两分钟的错误：{0}'],
  chart_answers: ['Answers a second in the last two minutes: now {0}, at most {1}', '最近两分钟的每秒回答数：现在 {0}，最高 {1}'],
  chart_latency: ['Latency in the last two minutes: now p50 {0}, p99 {1}', '最近两分钟的延迟：现在 p50 {0}，p99 {1}'],
  ago: ['2 min ago', '2 分钟前'],
  now: ['now', '现在'],
  idle: ['idle', '空闲'],
  canary: ['canary {0}: {1}', '金丝雀 {0}：{1}'],
  shadow: ['shadow {0}', '影子 {0}'],
  gives: ['Answers with', '回答'],
  reads: ['Reads', '输入'],
  parameters: ['Parameters', '参数量'],
  labels: ['{0} labels of {1}', '{1} 的 {0} 个标签'],
  versions: ['Versions', '版本'],
  aliases: ['Aliases', '别名'],
  loaded: ['Loaded', '加载时间'],
  origin: ['From', '来自'],
  report: ['Report', '报告'],
  report_of: ['Report of {0}, version {1}', '{0} 版本 {1} 的报告'],
  card_of: ['Model card of version {0}', '版本 {0} 的模型卡'],
  is_default: ['default', '默认'],
  close: ['Close', '关闭'],
  try: ['Try it', '试一试'],
  model: ['Model', '模型'],
  by_default: ['default ({0})', '默认（{0}）'],
  ask_for: ['Ask for', '请求'],
  the_answer: ['The answer', '回答'],
  vectors: ['Vectors of texts', '文本向量'],
  texts: ['Texts, one a line', '文本，每行一条'],
  drop: ['Drop a picture here, paste one, or choose a file', '拖放、粘贴图片，或选择文件'],
  list: ['{0} (numbers, with commas between)', '{0}（数字，用逗号分隔）'],
  optional: ['{0} (may stay empty)', '{0}（可留空）'],
  ask: ['Ask', '提问'],
  asking: ['Asking…', '正在提问…'],
  hint: ['Ctrl+Enter asks, too', '也可按 Ctrl+Enter'],
  no_picture: ['Choose a picture for “{0}” first.', '请先为“{0}”选择图片。'],
  not_picture: ['“{0}” is not a picture.', '“{0}”不是图片。'],
  no_text: ['Write at least one text.', '请至少写一条文本。'],
  no_list: ['“{0}”: write numbers with commas between.', '“{0}”：请输入用逗号分隔的数字。'],
  took: ['{0}, version {1} · {2} there and back', '{0}，版本 {1} · 往返 {2}'],
  fault: ['The server says no ({0}): {1}', '服务器拒绝（{0}）：{1}'],
  unreachable: ['The server cannot be reached.', '无法连接服务器。'],
  no_label: ['None of the labels is probable.', '没有概率足够高的标签。'],
  numbers: ['{0} numbers, length {1}', '{0} 个数字，长度 {1}'],
  vector_strip: ['The numbers as strokes, up and down', '以上下线条显示的数字'],
  alike: ['How alike they are (cosine)', '相似度（余弦）'],
  text: ['Text', '文本'],
  cut: ['not read', '未读取'],
  raw: ['The answer as JSON', 'JSON 回答'],
  as_curl: ['The same with curl', '用 curl 提问'],
  copy: ['Copy', '复制'],
  copied: ['Copied', '已复制'],
  admin: ['Who answers', '由谁回答'],
  alias: ['Alias', '别名'],
  move: ['Move alias', '移动别名'],
  roll_back: ['Roll back', '回滚'],
  sure_move: ['Move “{0}” of {1} from version {2} to version {3}?', '将 {1} 的“{0}”从版本 {2} 移到版本 {3}？'],
  sure: ['Move “{0}” of {1} back to the version before?', '将 {1} 的“{0}”移回上一个版本？'],
  percent: ['Percent', '百分比'],
  compare: ['Compare in the shadow', '影子比较'],
  set_canary: ['Start canary', '开始金丝雀'],
  end_canary: ['End canary', '结束金丝雀'],
  done: ['Done.', '完成。'],
};

/** What the server says of answers, in Chinese. */
const GIVES = [
  [/^one of (\d+) classes$/, '$1 个类别之一'],
  [/^any of (\d+) labels$/, '$1 个标签中的任意几个'],
  [/^a number$/, '一个数字'],
  [/^a tag for each word, of (\d+)$/, '每个词一个标注，共 $1 种'],
  [/^a vector$/, '一个向量'],
  [/^numbers$/, '若干数字'],
];

let language = localStorage.getItem('language') ?? (navigator.language.startsWith('zh') ? 'zh' : 'en');

function t(word, ...values) {
  const text = WORDS[word][language === 'zh' ? 1 : 0];
  return text.replace(/\{(\d)\}/g, (_, i) => values[i]);
}

function gives(text) {
  const found = language === 'zh' && GIVES.find(([pattern]) => pattern.test(text));
  return found ? text.replace(...found) : text;
}

const number = (value, digits = 3) => new Intl.NumberFormat(language, { maximumSignificantDigits: digits }).format(value);
const compact = value => new Intl.NumberFormat(language, { notation: 'compact', maximumSignificantDigits: 3 }).format(value);
const percent = share => new Intl.NumberFormat(language, { style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(share);
const milliseconds = value => (value == null ? '–' : `${number(value, 2)} ms`);
const date = seconds => new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' }).format(seconds * 1000);

function duration(seconds) {
  const [days, hours, minutes] = [86400, 3600, 60].map(unit => Math.floor(seconds / unit));
  if (days) return t('days', days, hours % 24);
  return hours ? t('hours', hours, minutes % 60) : t('minutes', minutes, seconds % 60);
}

// ---------------------------------------------------------------- making elements

const $ = id => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(9).filter(child => child != null && child !== false));
  return node;
}

const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

/** A field under its label. */
const labelled = (id, label, input) => el('div', { class: 'field' }, el('label', { for: id }, label), fill(input, { id }, []));

function select(options, value, onchange) {
  const list = el('select', { onchange }, options.map(([value, text]) => el('option', { value }, text)));
  list.value = value;
  return list;
}

const shown = new Map();

/** Builds a part of the page, but only if what it shows has changed: so that focus, selection and open details stay. */
function part(id, shows, build) {
  const now = JSON.stringify([language, shows]);
  if (shown.get(id) === now) return;
  shown.set(id, now);
  const focus = document.activeElement?.id;
  $(id).replaceChildren(...[build()].flat(9).filter(Boolean));
  if (focus && document.activeElement.id !== focus) $(focus)?.focus();
}

// ---------------------------------------------------------------- talking to the server

let key = sessionStorage.getItem('key');

/** What the server answers. Its faults are thrown, in its own words, with their status. */
async function call(path, { method = 'GET', type, body, signal } = {}) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (type) headers['Content-Type'] = type;
  const response = await fetch(path, { method, headers, body, signal, cache: 'no-store' });
  const text = await response.text();
  if (response.ok) return text;
  let message = text;
  try {
    const { error } = JSON.parse(text);
    message = error.message ?? error;
  } catch { /* not JSON: a proxy's words, perhaps */ }
  throw Object.assign(new Error(message), { status: response.status });
}

/** An error in words. */
const inWords = error => (error.status ? t('fault', error.status, error.message) : error.ours ? error.message : t('unreachable'));
const ours = message => Object.assign(new Error(message), { ours: true });

let state = null;
/** What does not change about versions, by model, version and the time it was loaded. */
let known = new Map();
let lost = false;
let timer = 0;
let turn = 0;

async function poll() {
  clearTimeout(timer);
  const mine = ++turn;
  if (document.hidden) return;
  let error = null;
  try {
    const next = await look('/console/state');
    await complete(next);
    if (mine === turn) state = next;
  } catch (e) {
    // A version that went just now: the next look shows it.
    error = e.status === 404 && state ? null : e;
  }
  if (mine !== turn) return;
  if (error?.status === 401) return enter(key ? t('wrong_key') : '');
  timer = setTimeout(poll, 1000);
  connection(error);
  if (!error) {
    $('enter').hidden = true;
    $('inside').hidden = false;
    $('leave').hidden = !(key && state.server.keys);
    render();
  }
}

const look = async path => JSON.parse(await call(path, { signal: AbortSignal.timeout(8000) }));

/** Brings what is known of each version into a state. */
async function complete(next) {
  const still = new Map();
  for (const m of next.models) {
    for (const [i, v] of m.versions.entries()) {
      const name = JSON.stringify([m.name, v.version, v.loaded]);
      if (!known.has(name)) known.set(name, await look(`/console/models/${encodeURIComponent(m.name)}/${v.version}`));
      m.versions[i] = known.get(name);
      still.set(name, m.versions[i]);
    }
  }
  known = still;
}

function connection(error) {
  const banner = $('banner');
  if (error) {
    const text = error.status ? inWords(error) : t('lost');
    if (banner.textContent !== text) banner.textContent = text;
    banner.className = '';
  } else if (lost) {
    banner.textContent = t('back');
    banner.className = 'good';
    setTimeout(() => { if (!lost) banner.textContent = ''; }, 4000);
  }
  lost = Boolean(error);
  document.body.classList.toggle('stale', lost);
}

/** Shows the door. */
function enter(error) {
  key = null;
  sessionStorage.removeItem('key');
  connection(null);
  state = said = null;
  $('inside').hidden = $('leave').hidden = true;
  $('enter').hidden = false;
  $('enter-error').textContent = error;
  $('key').value = '';
  $('key').focus();
}

// ---------------------------------------------------------------- the server and its models

const chosenVersions = new Map();
const modelOfAddress = () => new URLSearchParams(location.hash.slice(1)).get('model');
let chosenModel = modelOfAddress();

const model = () => state.models.find(m => m.name === chosenModel) ?? state.models[0];

/** What is written after `version=`: a number, an alias, or nothing. */
function wanted(m) {
  const word = chosenVersions.get(m.name) ?? '';
  return Object.hasOwn(m.aliases, word) || m.versions.some(v => String(v.version) === word) ? word : '';
}

function version(m) {
  const find = n => m.versions.find(v => v.version === n);
  const word = wanted(m);
  return find(m.aliases[word] ?? Number(word)) ?? find(m.default) ?? m.versions[0];
}

function choose(name) {
  chosenModel = name;
  said = null;
  history.replaceState(null, '', `#${new URLSearchParams({ model: name })}`);
  render();
}

function render() {
  document.documentElement.lang = language;
  document.title = t('title');
  renderServer(state.server);
  part('refused', state.refused, () => state.refused.length > 0 && el('section', { class: 'warning' },
    el('h2', {}, '⚠ ', t('refused')),
    el('ul', {}, state.refused.map(r => el('li', {}, el('b', {}, r.version == null ? r.model : `${r.model}, ${t('version_n', r.version)}`), `: ${r.reason}`)))));
  renderList();
  const m = model();
  $('model').hidden = !m?.versions.length;
  if ($('model').hidden) return;
  renderHead(m);
  renderForm(m);
  renderAnswer();
  renderVersions(m);
  renderAdmin(m);
}

function renderServer(server) {
  const shows = {
    version: server.version,
    device: server.device,
    uptime: '',
    source: server.source,
    in_work: server.in_work,
    rows_waiting: server.rows_waiting,
    dropped: server.dropped,
  };
  part('server-facts', [server.ready, shows], () => [
    el('p', { class: `badge ${server.ready ? 'good' : 'bad'}` }, server.ready ? '✓ ' : '✕ ', t(server.ready ? 'ready' : 'not_ready')),
    el('dl', {}, Object.entries(shows).map(([name, value]) => el('div', {}, el('dt', {}, t(name)), el('dd', { id: `server-${name}` }, value)))),
  ]);
  $('server-uptime').textContent = duration(server.uptime_seconds);
}

const sizes = shape => shape.slice(1).map(n => (n < 0 ? '?' : n)).join('×');
const reads = v => v.inputs.map(p => [p.name, sizes(p.shape)].filter(Boolean).join(' ')).join(', ');

function chips(m) {
  const canary = m.canary && (m.canary.shadow && !m.canary.percent
    ? t('shadow', m.canary.version)
    : t('canary', m.canary.version, `${number(m.canary.percent)} %`) + (m.canary.shadow ? ` + ${t('shadow', m.canary.version)}` : ''));
  return el('p', { class: 'chips' },
    el('span', {}, t('version_n', m.default)),
    Object.entries(m.aliases).map(([alias, n]) => el('span', {}, `${alias} → ${n}`)),
    canary && el('span', { class: 'canary' }, canary));
}

function renderList() {
  const models = state.models.map(({ traffic, versions, ...m }) => ({ ...m, versions: versions.map(v => [v.version, v.gives, v.inputs]) }));
  part('model-list', [models, model()?.name], () => {
    if (!models.length) return el('li', { class: 'dim' }, t('none'));
    return state.models.map((m, i) => {
      const v = m.versions.find(v => v.version === m.default) ?? m.versions[0];
      const open = () => {
        choose(m.name);
        if (matchMedia('(max-width: 900px)').matches) $('model').focus();
      };
      return el('li', { class: 'card' },
        el('h3', {}, el('button', { type: 'button', id: `model-${i}`, 'aria-current': m === model() && 'true', onclick: open }, m.name)),
        v && el('p', { class: 'dim' }, `${v.gives.map(gives).join(', ')} · ${reads(v)}`),
        chips(m),
        el('div', { class: 'traffic' }));
    });
  });
  const cards = $('model-list').querySelectorAll('.traffic');
  state.models.forEach((m, i) => draw(cards[i], m.traffic, false));
}

/** Traffic, unless it stands there already. */
function draw(node, of, large) {
  const now = JSON.stringify([language, of]);
  if (node.now === now) return;
  node.now = now;
  node.replaceChildren(...traffic(of, large));
}

/** Two charts and the numbers of now. */
function traffic({ answers, faults, p50_ms, p99_ms }, large) {
  const sum = list => list.reduce((a, b) => a + b, 0);
  const last = list => list.slice(-5).findLast(v => v != null);
  const rate = t('per_s', number(sum(answers.slice(-5)) / Math.min(5, Math.max(1, answers.length))));
  const [p50, p99, bad] = [milliseconds(last(p50_ms)), milliseconds(last(p99_ms)), sum(faults)];
  const [most, slowest] = [Math.max(1, ...answers), Math.max(...p99_ms, 0) || 1];
  const about = [t('chart_answers', rate, number(most)), t('chart_latency', p50, p99)];
  const figure = (name, now, drawing, top) => el('figure', {},
    el('figcaption', {}, large && el('span', { class: 'dim' }, name), now),
    drawing,
    large && el('p', { class: 'scale', 'aria-hidden': 'true' }, el('span', {}, t('ago')), el('span', {}, top), el('span', {}, t('now'))));
  const line = (kind, value) => el('span', {}, el('i', { class: kind }), `${kind} `, el('b', {}, value));
  const worry = el('span', { class: bad ? 'error' : 'dim', title: t('faults_about', bad) }, bad ? '⚠ ' : '', t('faults', number(bad)));
  return [
    figure(t('answers_s'), [worry, el('b', {}, rate)], chart([['answers', answers]], most, about[0]), `≤ ${t('per_s', number(most))}`),
    figure(t('latency'), [line('p50', p50), line('p99', p99)], chart([['p50', p50_ms], ['p99', p99_ms]], slowest, about[1]), `≤ ${milliseconds(slowest)}`),
  ];
}

/** Lines over the last two minutes, the newest value at the right edge; seconds without a value are gaps. */
function chart(lines, top, label) {
  const [width, height] = [119, 32];
  const paths = lines.map(([kind, values]) => {
    const x = i => width - values.length + i + 0.5;
    const y = v => (height - 1 - (v / top) * (height - 2)).toFixed(2);
    const step = (v, i) => (v == null ? '' : i && values[i - 1] != null ? `L${x(i)} ${y(v)}` : `M${x(i) - 0.4} ${y(v)}h.8`);
    const path = values.map(step).join('');
    const area = kind === 'answers' && values.length > 0 && svg('path', { class: 'area', d: `${path}V${height}H${x(0)}z` });
    return [area, svg('path', { class: kind, d: path })];
  });
  return svg('svg', { class: 'chart', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label }, paths);
}

function renderHead(m) {
  const v = version(m);
  const facts = [[t('gives'), v.gives.map(gives).join(', ')], [t('reads'), reads(v)], [t('parameters'), compact(v.parameters)]];
  part('head', [m.name, m.default, m.aliases, m.canary, facts, v.labels], () => [
    el('h2', { id: 'model-title' }, m.name),
    chips(m),
    el('dl', { class: 'facts' }, facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value)))),
    Object.entries(v.labels).map(([output, labels]) => el('details', {},
      el('summary', {}, t('labels', labels.length, output)),
      el('p', { class: 'chips' }, labels.slice(0, 500).map(l => el('span', {}, l)), labels.length > 500 && '…'))),
    el('div', { class: 'traffic large', id: 'traffic' }),
  ]);
  draw($('traffic'), m.traffic, true);
}

function renderVersions(m) {
  const rows = m.versions.map(v => ({ n: v.version, loaded: v.loaded, size: v.parameters, about: v.about ?? {}, report: v.report, card: v.card }));
  part('versions', [m.name, m.default, m.aliases, rows], () => {
    const names = [...new Set(rows.flatMap(v => Object.keys(v.about.metrics ?? {})))].slice(0, 8);
    const any = (...keys) => rows.some(v => keys.some(k => v[k] || v.about[k]));
    const [origin, report] = [any('source', 'note'), any('report')];
    const heads = [
      ...[t('version'), t('aliases'), t('loaded')].map(h => [h, '']),
      ...[...names, t('parameters')].map(h => [h, 'number']),
      ...[origin && t('origin'), report && t('report')].filter(Boolean).map(h => [h, '']),
    ];
    const row = v => {
      const named = Object.keys(m.aliases).filter(a => m.aliases[a] === v.n);
      if (v.n === m.default) named.unshift(t('is_default'));
      const href = `/console/report/${encodeURIComponent(m.name)}/${v.n}`;
      const title = t('report_of', m.name, v.n);
      const open = event => openHere(event, href, title, html => framed(html, title));
      return el('tr', {},
        el('th', { scope: 'row' }, v.n),
        el('td', {}, el('span', { class: 'chips' }, named.map(a => el('span', {}, a)))),
        el('td', {}, date(v.loaded / 1000)),
        names.map(name => el('td', { class: 'number' }, v.about.metrics?.[name] == null ? '–' : number(v.about.metrics[name], 4))),
        el('td', { class: 'number' }, compact(v.size)),
        origin && el('td', { class: 'wide' }, v.about.source, v.about.note && el('span', { class: 'dim' }, v.about.note)),
        report && el('td', {}, v.report && el('a', { href, id: `report-${v.n}`, target: '_blank', 'aria-label': title, onclick: open }, t('report'))));
    };
    return [
      el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-labelledby': 'versions-title' }, el('table', {},
        el('thead', {}, el('tr', {}, heads.map(([h, kind]) => el('th', { scope: 'col', class: kind }, h)))),
        el('tbody', {}, rows.map(row)))),
      rows.filter(v => v.card).map(v => el('details', {}, el('summary', { id: `card-${v.n}` }, t('card_of', v.n)), el('pre', { tabindex: '0' }, v.card))),
    ];
  });
}

/**
 * A report in a frame where no script runs. Its links to its own parts would lead to this page, as a frame made of text has no
 * address of its own: so they are followed here.
 */
function framed(html, title) {
  const frame = el('iframe', { sandbox: 'allow-same-origin', srcdoc: html, title });
  frame.addEventListener('load', () => frame.contentDocument.addEventListener('click', event => {
    const link = event.target.closest?.('a');
    if (!link) return;
    event.preventDefault();
    const to = link.getAttribute('href') ?? '';
    if (to.startsWith('#')) frame.contentDocument.getElementById(decodeURIComponent(to.slice(1)))?.scrollIntoView();
  }));
  return frame;
}

/** Shows a page in a sheet over this one: a plain link cannot carry the key. */
async function openHere(event, href, title, build) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  $('sheet-title').textContent = title;
  $('sheet-body').replaceChildren();
  $('sheet').showModal();
  const body = await call(href).then(build, error => el('p', { class: 'error', role: 'alert' }, inWords(error)));
  $('sheet-body').replaceChildren(body);
}

// ---------------------------------------------------------------- asking

/** The fields of the form: {name, kind, nullable, input}. */
let fields = [];
/** Whether vectors of texts are asked for instead of answers. */
let vectors = null;
/** The last question with its answer: {asking} or {error} or {answer, took, curl, model, version}. */
let said = null;

/** What a column takes, by its schema. */
function kindOf(schema) {
  const types = [schema.type].flat();
  if (schema.contentEncoding === 'base64') return 'picture';
  if (types.includes('array')) return 'list';
  if (types.includes('string')) return types.length === 1 ? 'text' : 'word';
  return 'number';
}

function renderForm(m) {
  const v = version(m);
  const onlyVector = v.embeds && v.gives.every(g => g === 'a vector');
  const asVectors = v.embeds && (vectors ?? onlyVector);
  const options = [
    ['', t('by_default', m.default)],
    ...Object.entries(m.aliases).map(([alias, n]) => [alias, `${alias} → ${n}`]),
    ...m.versions.map(v => [String(v.version), t('version_n', v.version)]),
  ];
  const names = state.models.map(m => m.name);
  part('ask', [m.name, names, options, v.row, v.inputs, v.embeds, asVectors], () => {
    const before = new Map(fields.map(f => [f.name + f.kind, f.input]));
    const columns = asVectors ? [{ name: '', kind: 'texts' }] : v.inputs.map(p => {
      const schema = v.row.properties[p.name] ?? {};
      return { name: p.name, kind: kindOf(schema), nullable: [schema.type].flat().includes('null'), schema };
    });
    fields = columns.map((column, i) => makeField(column, `field-${i}`, before.get(column.name + column.kind)));
    return [
      el('div', { class: 'row' },
        labelled('ask-model', t('model'), select(names.map(n => [n, n]), m.name, e => choose(e.target.value))),
        labelled('ask-version', t('version'), select(options, wanted(m), e => {
          chosenVersions.set(m.name, e.target.value);
          render();
        })),
        v.embeds && labelled('ask-for', t('ask_for'), select([['', t('the_answer')], ['1', t('vectors')]], asVectors ? '1' : '', e => {
          vectors = Boolean(e.target.value);
          render();
        }))),
      el('div', { class: columns.length > 1 ? 'fields' : '' }, fields.map(f => f.node)),
      el('div', { class: 'row' },
        el('button', { type: 'submit', id: 'ask-button' }, t('ask')),
        columns.some(c => c.kind === 'text' || c.kind === 'texts') && el('span', { class: 'dim hint' }, t('hint'))),
    ];
  });
}

function makeField(column, id, before) {
  const { name, kind, nullable, schema } = column;
  const label = kind === 'texts' ? t('texts') : kind === 'list' ? t('list', name) : nullable ? t('optional', name) : name;
  if (kind === 'picture') {
    const input = el('input', { type: 'file', accept: 'image/png,image/jpeg,image/webp,image/bmp', id, 'aria-describedby': `${id}-about` });
    const look = el('span', { class: 'look' });
    const node = el('div', { class: 'field' }, el('label', { class: 'drop', for: id },
      el('b', {}, name), input, look, el('span', {}, t('drop')), el('span', { class: 'dim', id: `${id}-about` }, schema.description)));
    const field = { ...column, input, node, look };
    if (before) input.files = before.files;
    input.addEventListener('change', () => preview(field));
    preview(field);
    node.addEventListener('dragover', event => { event.preventDefault(); node.classList.add('over'); });
    node.addEventListener('dragleave', () => node.classList.remove('over'));
    node.addEventListener('drop', event => {
      event.preventDefault();
      node.classList.remove('over');
      take(field, event.dataTransfer.files[0]);
    });
    return field;
  }
  const long = kind === 'text' || kind === 'texts' || kind === 'list';
  const known = schema?.enum ?? schema?.examples;
  const input = long
    ? el('textarea', { rows: kind === 'list' ? 2 : 4, dir: 'auto', required: true })
    : el('input', kind === 'number'
      ? { type: 'number', step: 'any', required: !nullable }
      : { type: 'text', autocomplete: 'off', list: known && `${id}-known` });
  if (before) input.value = before.value;
  const node = labelled(id, label, input);
  if (known) node.append(el('datalist', { id: `${id}-known` }, known.map(value => el('option', { value }))));
  return { ...column, input, node };
}

/** Puts a dropped or pasted file into the field of a picture. */
function take(field, file) {
  if (!file) return;
  if (!file.type.startsWith('image/')) return answered({ error: t('not_picture', file.name) });
  const transfer = new DataTransfer();
  transfer.items.add(file);
  field.input.files = transfer.files;
  preview(field);
}

function preview({ input, look }) {
  const file = input.files[0];
  if (look.firstChild?.src) URL.revokeObjectURL(look.firstChild.src);
  look.replaceChildren();
  if (!file) return;
  const small = event => event.target.classList.toggle('small', event.target.naturalWidth <= 96);
  look.append(el('img', { src: URL.createObjectURL(file), alt: file.name, onload: small }), file.name);
}

async function base64(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = '';
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}

/** What stands in a field, as JSON. */
async function valueOf({ name, kind, nullable, input }) {
  if (kind === 'picture') {
    if (!input.files[0]) throw ours(t('no_picture', name));
    return base64(input.files[0]);
  }
  const text = input.value;
  if (text.trim() === '' && nullable) return null;
  if (kind === 'number') return Number(text);
  if (kind === 'texts') {
    const texts = text.split('\n').map(line => line.trim()).filter(Boolean);
    if (!texts.length) throw ours(t('no_text'));
    return texts;
  }
  if (kind !== 'list') return text;
  try {
    return JSON.parse(text.includes('[') ? text : `[${text}]`);
  } catch {
    throw ours(t('no_list', name));
  }
}

/** For a shell. */
const quoted = text => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** The request that the form stands for, and the same for curl. */
async function question(m) {
  const word = wanted(m);
  const curl = (path, type, rest) => [
    `curl ${quoted(location.origin + path)}`,
    key && '-H "Authorization: Bearer $API_KEY"',
    `-H ${quoted(`Content-Type: ${type}`)}`,
    rest,
  ].filter(Boolean).join(' \\\n  ');
  const json = (path, value) => {
    const [type, body] = ['application/json', JSON.stringify(value)];
    return { path, type, body, curl: curl(path, type, `-d ${quoted(body)}`) };
  };
  if (fields[0].kind === 'texts') {
    return json('/embed', { inputs: await valueOf(fields[0]), model: word ? `${m.name}@${word}` : m.name });
  }
  const path = `/predict/${encodeURIComponent(m.name)}${word && `?version=${encodeURIComponent(word)}`}`;
  const pictures = fields.filter(f => f.kind === 'picture');
  if (pictures.length === 1 && fields.length === 1) {
    const file = pictures[0].input.files[0];
    if (!file) throw ours(t('no_picture', pictures[0].name));
    const type = file.type || 'application/octet-stream';
    return { path, type, body: file, curl: curl(path, type, `--data-binary ${quoted(`@${file.name}`)}`) };
  }
  const row = {};
  for (const field of fields) row[field.name] = await valueOf(field);
  const asked = json(path, row);
  if (pictures.length) {
    // The shell fills the pictures in.
    const dummies = pictures.map((f, i) => [f.name, `\u0000${i}`]);
    let body = JSON.stringify({ ...row, ...Object.fromEntries(dummies) }).replace(/[\\$`]/g, '\\$&');
    pictures.forEach((f, i) => { body = body.replace(`\\\\u0000${i}`, () => `$(base64 < ${quoted(f.input.files[0].name)} | tr -d '\\n')`); });
    asked.curl = `${curl(path, asked.type, '-d @-')} <<END\n${body}\nEND`;
  }
  return asked;
}

async function ask(event) {
  event.preventDefault();
  if (said?.asking) return;
  const m = model();
  answered({ asking: true });
  try {
    const asked = await question(m);
    const started = performance.now();
    const text = await call(asked.path, { method: 'POST', ...asked });
    const took = performance.now() - started;
    const answer = JSON.parse(text);
    const v = m.versions.find(v => v.version === answer.version) ?? version(m);
    answered({ answer, took, curl: asked.curl, model: m.name, version: v.version, several: v.outputs.length > 1, texts: fields[0].kind === 'texts' && JSON.parse(asked.body).inputs }, m);
  } catch (error) {
    answered({ error: inWords(error) }, m);
  }
}

function answered(it, m) {
  if (m && m.name !== model()?.name) return;
  said = it;
  renderAnswer();
}

function renderAnswer() {
  const button = $('ask-button');
  if (button) button.setAttribute('aria-disabled', Boolean(said?.asking));
  part('answer', said, () => {
    if (!said) return [];
    if (said.asking) return el('p', { class: 'dim' }, t('asking'));
    if (said.error) return el('p', { class: 'error' }, '⚠ ', said.error);
    const { model: _, version: __, ...outputs } = said.answer;
    let shows;
    if (said.texts) shows = vectorsOf(said.texts, said.answer);
    else if (said.several) shows = Object.entries(outputs).map(([name, one]) => [el('h4', {}, name), inShapes(one)]);
    else shows = inShapes(outputs);
    return [shows, el('p', { class: 'dim' }, t('took', said.model, said.version, milliseconds(said.took)))];
  });
  part('details', said?.answer && said, () => said?.answer && [
    el('details', {}, el('summary', {}, t('as_curl')), el('pre', { id: 'curl', tabindex: '0' }, said.curl),
      el('button', { type: 'button', class: 'quiet', id: 'copy', onclick: copy }, t('copy'))),
    el('details', {}, el('summary', {}, t('raw')), el('pre', { tabindex: '0' }, short(said.answer))),
  ]);
}

/** JSON with the numbers of a vector on one line. */
const short = answer => JSON.stringify(answer, null, 2).replace(/\[[-\d.e,\s]+\]/g, list => list.replace(/\s+/g, ' '));

/** One answer, as it is best seen. */
function inShapes(answer) {
  if (answer.words) return el('p', { class: 'tagged' }, answer.words.map((word, i) => tagged(word, answer.tags[i])));
  if (answer.labels) return [
    el('p', { class: 'big' }, answer.labels.join(', ') || t('no_label')),
    bars(answer.probabilities.slice(0, 8), guess => answer.labels.includes(guess.label)),
  ];
  if (answer.probabilities) return [el('p', { class: 'big' }, answer.label), bars(answer.probabilities.slice(0, 5), (_, i) => i === 0)];
  if ('value' in answer) return el('p', { class: 'big' }, answer.value == null ? '–' : number(answer.value, 6));
  const list = answer.embedding ?? answer.values;
  return list ? vector(list) : el('pre', {}, short(answer));
}

const bars = (guesses, strong) => el('ol', { class: 'bars' }, guesses.map((guess, i) => el('li', { class: strong(guess, i) && 'strong' },
  el('span', {}, guess.label),
  el('span', { class: 'bar', style: `--p:${(guess.probability * 100).toFixed(2)}%` }),
  el('span', { class: 'number' }, percent(guess.probability)))));

/** A word under its tag. Tags of a kind (B-PER, I-PER) have a colour of their own; the tag itself is always written. */
function tagged(word, tag) {
  if (tag === 'O') return el('span', { class: 'word' }, word, ' ');
  if (tag == null) return el('span', { class: 'word dim' }, word, el('small', {}, t('cut')), ' ');
  const kind = [...tag.replace(/^[BIES]-/, '')].reduce((sum, c) => (sum * 31 + c.codePointAt(0)) % 997, 0) % 5;
  return el('span', { class: `word tag c${kind}` }, word, el('small', {}, tag), ' ');
}

function vector(list) {
  const most = list.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;
  const length = Math.sqrt(list.reduce((sum, v) => sum + v * v, 0));
  const strokes = list.filter((_, i) => i % Math.ceil(list.length / 1024) === 0);
  const path = strokes.map((v, i) => `M${i + 0.5} 0V${(-v / most).toFixed(3)}`).join('');
  return el('div', { class: 'vector' },
    el('p', {}, t('numbers', number(list.length, 9), number(length))),
    svg('svg', { viewBox: `0 -1 ${strokes.length} 2`, preserveAspectRatio: 'none', role: 'img', 'aria-label': t('vector_strip') }, svg('path', { d: path })),
    el('code', {}, `[${list.slice(0, 6).map(v => (v ?? NaN).toFixed(4)).join(', ')}${list.length > 6 ? ', …' : ''}]`));
}

/** Several vectors, and how alike they are. */
function vectorsOf(texts, list) {
  const cosine = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0) / Math.sqrt(a.reduce((s, x) => s + x * x, 0) * b.reduce((s, x) => s + x * x, 0) || 1);
  const few = texts.slice(0, 8);
  const table = texts.length > 1 && [
    el('h4', {}, t('alike')),
    el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': t('alike') }, el('table', { class: 'alike' },
      el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, t('text')), few.map((_, j) => el('th', { scope: 'col', class: 'number' }, j + 1)))),
      el('tbody', {}, few.map((text, i) => el('tr', {}, el('th', { scope: 'row' }, `${i + 1}  ${text}`), few.map((_, j) => {
        const like = cosine(list[i], list[j]);
        return el('td', { class: 'number', style: `--p:${Math.max(0, like * 45).toFixed(0)}%` }, like.toFixed(2));
      })))))),
  ];
  return [table, list.slice(0, few.length).map((one, i) => [texts.length > 1 && el('h4', {}, texts[i]), vector(one)])];
}

async function copy() {
  try {
    await navigator.clipboard.writeText(said.curl);
  } catch {
    // Pages that came over plain HTTP have no clipboard; the selection serves.
    getSelection().selectAllChildren($('curl'));
    document.execCommand('copy');
  }
  $('copy').textContent = t('copied');
  setTimeout(() => { if ($('copy')) $('copy').textContent = t('copy'); }, 2000);
}

// ---------------------------------------------------------------- changing who answers

/** The model whose forms are there: what stands in them stays when it changes. */
let adminOf = null;

function renderAdmin(m) {
  $('admin').hidden = !(state.server.may || []).includes('admin');
  if ($('admin').hidden) return;
  const numbers = m.versions.map(v => String(v.version));
  const options = numbers.map(n => [n, t('version_n', n)]);
  const path = `/admin/models/${encodeURIComponent(m.name)}`;
  part('admin-forms', [m.name, m.aliases, m.canary, numbers], () => {
    $('admin-said').textContent = '';
    const typed = adminOf === m.name;
    adminOf = m.name;
    const was = (id, otherwise) => (typed && $(id) ? $(id).value : otherwise);
    const one = (id, of, otherwise) => (of.includes(was(id)) ? was(id) : otherwise);
    const names = Object.keys(m.aliases);
    const form = (submit, ...parts) => el('form', { class: 'row', onsubmit: event => { event.preventDefault(); submit(); } }, parts);
    const button = (id, text, onclick) => el('button', { id, type: onclick ? 'button' : 'submit', class: 'quiet', onclick }, text);
    const alias = el('input', { type: 'text', required: true, autocomplete: 'off', list: 'aliases', value: was('alias-name', names[0] ?? 'production') });
    const to = select(options, one('alias-version', numbers, numbers[0]));
    const tried = select(options, one('canary-version', numbers, String(m.canary?.version ?? numbers[0])));
    const share = el('input', { type: 'number', min: '0', max: '100', step: 'any', required: true, value: was('canary-percent', m.canary?.percent ?? 5) });
    const shadow = el('input', { type: 'checkbox', id: 'canary-shadow', checked: typed ? $('canary-shadow')?.checked : m.canary?.shadow });
    const back = names.length > 0 && select(names.map(n => [n, n]), one('rollback-alias', names, names.includes('production') ? 'production' : names[0]));
    const move = () => {
      const [name, version] = [alias.value.trim(), Number(to.value)];
      const from = Object.hasOwn(m.aliases, name) ? m.aliases[name] : null;
      if (from === null || from === version || confirm(t('sure_move', name, m.name, from, version))) {
        change('PUT', `${path}/aliases/${encodeURIComponent(name)}`, { version });
      }
    };
    return [
      form(move,
        labelled('alias-name', t('alias'), alias), el('datalist', { id: 'aliases' }, names.map(value => el('option', { value }))),
        labelled('alias-version', t('version'), to), button('alias-move', t('move'))),
      back && form(() => confirm(t('sure', back.value, m.name)) && change('POST', `${path}/rollback`, { alias: back.value }),
        labelled('rollback-alias', t('alias'), back), button('rollback-go', t('roll_back'))),
      form(() => change('PUT', `${path}/canary`, { version: Number(tried.value), percent: Number(share.value), shadow: shadow.checked }),
        labelled('canary-version', t('version'), tried),
        labelled('canary-percent', t('percent'), share),
        el('div', { class: 'field check' }, shadow, el('label', { for: 'canary-shadow' }, t('compare'))),
        button('canary-set', t('set_canary')), m.canary && button('canary-end', t('end_canary'), () => change('DELETE', `${path}/canary`))),
    ];
  });
}

async function change(method, path, body) {
  const line = $('admin-said');
  line.textContent = '';
  let text = t('done');
  try {
    await call(path, { method, ...(body && { type: 'application/json', body: JSON.stringify(body) }) });
    line.className = 'dim';
    await poll();
  } catch (error) {
    line.className = 'error';
    text = `⚠ ${inWords(error)}`;
  }
  line.textContent = text;
}

// ---------------------------------------------------------------- what the reader does

function speak() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
  const other = language === 'zh' ? ['en', 'EN'] : ['zh', '中文'];
  [$('language').lang, $('language').textContent] = other;
  document.title = t('title');
  if (state) render();
}

$('language').addEventListener('click', () => {
  language = language === 'zh' ? 'en' : 'zh';
  localStorage.setItem('language', language);
  speak();
});

$('enter-form').addEventListener('submit', event => {
  event.preventDefault();
  const given = $('key').value.trim();
  // A header cannot hold anything else.
  if (!/^[\x21-\x7e]+$/.test(given)) return enter(t('wrong_key'));
  key = given;
  sessionStorage.setItem('key', key);
  poll().then(() => state && $('main').focus());
});

$('leave').addEventListener('click', () => {
  enter('');
  poll();
});

$('metrics').addEventListener('click', event => {
  if (key) openHere(event, '/metrics', t('metrics'), text => el('pre', { tabindex: '0' }, text));
});

$('sheet-close').addEventListener('click', () => $('sheet').close());
$('ask').addEventListener('submit', ask);
$('ask').addEventListener('keydown', event => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) $('ask').requestSubmit();
});

document.addEventListener('paste', event => {
  const file = [...event.clipboardData.files].find(f => f.type.startsWith('image/'));
  const field = fields.find(f => f.kind === 'picture');
  if (file && field && state) {
    event.preventDefault();
    take(field, file);
  }
});

// A file that misses the drop zone must not replace the page.
for (const kind of ['dragover', 'drop']) document.addEventListener(kind, event => event.preventDefault());

addEventListener('hashchange', () => state && modelOfAddress() && choose(modelOfAddress()));
document.addEventListener('visibilitychange', () => $('enter').hidden && poll());
speak();
poll();
