// The browser's half of the page: draws the state of the Python half and sends it what is to be done. HTML, the text of page.html, is put before it.
const PIECE = 1 << 20

// TALK: send what is to be done and wait for the `turn` that ends it; true: it was done, or goes on
const talk = model => {
  const waiting = []
  let seen = model.get('turn'), number = 0
  const send = ({message, buffers}) => model.send(message, undefined, buffers)
  model.on('change:turn', () => { for (; seen < model.get('turn'); seen++) waiting.shift()?.done(['', 'busy'].includes(model.get('kind'))) })
  // where a machine is busy, a question or its answer can be lost: whoever waits asks again, and the kernel does once what has the same number
  setInterval(() => { if (waiting.length) { waiting.forEach(send); model.send({what: 'again'}) } }, 20_000)
  return (message, ...buffers) => new Promise(done => {
    waiting.push({done, buffers, message: {...message, number: ++number}})
    send(waiting.at(-1))
  })
}
const upload = async (file, act, stopped) => {
  for (let at = 0; at === 0 || at < file.size; at += PIECE) {
    const piece = await file.slice(at, at + PIECE).arrayBuffer()
    if (stopped()) return act({what: 'forget'})
    if (!await act({what: 'upload', name: file.name, size: file.size, at}, piece)) return
  }
}
const make = (tag, given = {}, ...inside) => { const x = Object.assign(document.createElement(tag), given); x.append(...inside); return x }
const share = (x, model) => `${100*Math.min(1, x/(model.get('seconds') || 1))}%`
const clock = t => {
  const two = x => String(Math.floor(x % 60)).padStart(2, '0')
  return t < 3600 ? `${Math.floor(t/60)}:${two(t)}` : `${Math.floor(t/3600)}:${two(t/60)}:${two(t)}`
}

// DRAW: each part of the state
const draw = (model, $, find, play, clips) => ({
  videos() {
    const names = model.get('videos'), chosen = model.get('chosen')
    const none = make('option', {value: '', textContent: names.length ? 'Choose one …' : 'None yet: upload one', disabled: true, selected: true})
    const some = names.map(n => make('option', {value: n, textContent: n, selected: n === chosen}))
    $('select').replaceChildren(...(chosen ? [] : [none]), ...some)
  },
  examples() {
    const some = model.get('examples').map(q => make('button', {type: 'button', className: 'example', textContent: q, onclick: () => find(q)}))
    $('.examples').replaceChildren(...(some.length ? ['For example:'] : []), ...some)
  },
  strip() {
    $('.strip').replaceChildren(...model.get('strip').map(src => make('img', {src, alt: ''})))
    const parts = 4
    $('.axis').replaceChildren(...Array.from({length: parts + 1}, (_, i) => make('span', {textContent: clock(i*model.get('seconds')/parts)})))
  },
  answers() {
    const all = model.get('answers')
    $('.answers').hidden = !all.length
    $('ol').replaceChildren(...all.map((a, i) => {
      const part = (className, textContent, ...inside) => make('span', {className, textContent}, ...inside)
      const score = part('score', '', part('unseen', 'score: '), a.score.toFixed(2))
      score.title = 'Score: higher is better'
      score.style.setProperty('--share', a.score)
      return make('li', {}, make('button', {type: 'button', onclick: () => play(i, true)}, part('number', i + 1), part('label', a.label), score))
    }))
    $('.bars').style.height = `${1.25*all.length}rem`
    const place = (x, m, row) => { Object.assign(x.style, {left: share(m.start, model), width: share(m.end - m.start, model), top: `${1.25*row}rem`}); return x }
    $('.bars').replaceChildren(...all.flatMap((a, i) => {
      const bar = make('div', {className: 'bar', textContent: i + 1, title: a.label, onclick: e => { e.stopPropagation(); play(i, true) }})
      const pointing = a.beside.map(m => place(make('div', {className: 'beside', title: m.text}), m, i))   // what the sentence names beside it
      return [place(bar, a, i), ...pointing]
    }))
  },
  files() {
    const all = model.get('files')
    const links = all.map(f => make('a', {href: new URL(f.src, document.baseURI), download: f.name, title: f.name, textContent: f.label}))
    const cut = make('button', {type: 'button', className: 'example', textContent: 'cut out as videos', onclick: clips})
    const some = all.some(f => f.name.endsWith('.mp4')) ? links : [...links, cut]
    $('.files').replaceChildren(...all.length ? ['Take along: ', ...some.flatMap((x, i) => i ? [', ', x] : [x])] : [])
  },
  progress() {
    $('.wait').hidden = !model.get('far')
    $('progress').value = model.get('progress')
    $('.far').textContent = model.get('far')
  },
})

// PLAY: an answer moves the player to the start of the moment and, when a person asked for it, plays it to the end of the moment
const player = (model, $, ask) => {
  const video = $('video')
  let end = null, tried = ''
  const play = (i, run) => {
    const a = model.get('answers')[i]
    $('ol button', true).forEach((x, j) => i === j ? x.setAttribute('aria-current', 'true') : x.removeAttribute('aria-current'))
    $('.bar', true).forEach((x, j) => x.classList.toggle('now', i === j))
    video.currentTime = a.start
    end = a.end
    run ? video.play() : video.pause()
  }
  const load = () => { end = null; video.src = new URL(model.get('src'), document.baseURI) }
  const rescue = async () => {
    if (tried === model.get('src')) return
    tried = model.get('src')
    const at = video.currentTime
    if (await ask({what: 'convert'})) video.currentTime = at
  }
  video.onerror = rescue
  video.onloadedmetadata = () => video.videoWidth || rescue()
  video.ontimeupdate = () => {
    $('.head').style.left = share(video.currentTime, model)
    if (end !== null && video.currentTime >= end) { video.pause(); end = null }
  }
  $('.time').onclick = e => {
    const box = $('.time').getBoundingClientRect()
    end = null
    video.currentTime = (e.clientX - box.left)/box.width*model.get('seconds')
  }
  return {play, load}
}

// WATCH: is the kernel still there? Asked every five seconds, and when this computer wakes up
const AWAY = 6
const watch = lost => {
  const about = document.getElementById('jupyter-config-data')
  if (!about) return                                              // another front end, which looks after its kernel itself
  const {baseUrl, kernelId} = JSON.parse(about.textContent)
  let silent = 0, alone = 0, over = false
  const look = async () => {
    if (over) return
    const answer = await fetch(`${baseUrl}api/kernels/${kernelId}`, {cache: 'no-store'}).catch(() => null)
    silent = answer ? 0 : silent + 1
    alone = answer?.ok && !(await answer.json()).connections ? alone + 1 : 0
    const why = silent > 1 ? 'The program that shows this page has ended. Start it again and open the address that it prints.'
      : answer && !answer.ok || alone > AWAY ? 'The connection to the model was lost: it was stopped, or this computer slept for long.' : ''
    if (why && !over) { over = true; clearInterval(timer); lost(`${why} Your question is kept.`) }
  }
  const timer = setInterval(look, 5000)
  addEventListener('online', look)
  document.addEventListener('visibilitychange', () => document.hidden || look())
}

// MAIN: what a person can do: choose, upload, type and press Enter, and go through the answers with the arrows
function render({model, el}) {
  document.title = 'ms2d: when does it happen?'
  document.documentElement.lang = 'en'
  const page = make('main', {className: 'ms2d', innerHTML: HTML})
  el.replaceChildren(page)
  const $ = (what, all) => all ? page.querySelectorAll(what) : page.querySelector(what)
  const query = $('#ms2d-query')
  let gone = '', stopped = false
  const say = (text, kind) => Object.assign($('.message'), {textContent: gone || text, className: `message ${gone ? 'error' : kind}`})
  const act = talk(model), limit = model.get('limit')
  const ask = async message => {
    if (gone) { say(); return false }
    page.classList.add('busy')
    const good = await act(message)
    page.classList.remove('busy')
    return good
  }
  const keep = () => sessionStorage.setItem('ms2d-query', query.value)
  const {play, load} = player(model, $, ask)
  const find = async text => { query.value = text; keep(); if (await ask({what: 'find', query: text})) play(0, false) }
  const drawn = draw(model, $, find, play, () => ask({what: 'clips'}))
  $('#ms2d-limit').textContent = `A file of up to ${limit} MB. It stays on this computer and is deleted when the page is closed.`
  $('#ms2d-about').textContent = model.get('about')
  model.on('change:message', () => say(model.get('message'), model.get('kind')))
  for (const what of ['videos', 'examples', 'strip', 'answers', 'files', 'progress']) { model.on(`change:${what}`, drawn[what]); drawn[what]() }
  model.on('change:far', drawn.progress)
  model.on('change:chosen', () => { drawn.videos(); $('.result').hidden = false })
  model.on('change:src', load)
  query.value = sessionStorage.getItem('ms2d-query') ?? ''
  query.oninput = keep
  $('form').onsubmit = e => { e.preventDefault(); find(query.value) }
  $('select').onchange = async e => { if (!await ask({what: 'choose', name: e.target.value})) drawn.videos() }
  $('.cancel').onclick = () => { stopped = true; model.send({what: 'cancel'}) }
  $('.reload').onclick = () => location.reload()
  $('[type=file]').onchange = async e => {
    const [file] = e.target.files
    const size = file ? file.size/1e6 : 0
    stopped = false
    if (size > limit) say(`${file.name} has ${size.toFixed(1)} MB, and no more than ${limit} MB can be uploaded: cut it or save it smaller.`, 'error')
    else if (gone) say()
    else if (file) await upload(file, act, () => stopped || gone)
    e.target.value = ''
  }
  page.onkeydown = e => {
    const step = {ArrowDown: 1, ArrowUp: -1}[e.key], some = [query, ...$('ol button', true)], at = some.indexOf(document.activeElement)
    if (step && at >= 0 && some[at + step]) { e.preventDefault(); some[at + step].focus() }
  }
  watch(why => {
    gone = why
    page.classList.remove('busy')
    $('.wait').hidden = true
    $('.gone').hidden = false
    say()
  })
  if (model.get('first')) ask({what: 'choose', name: model.get('first')})
}
export default {render}
