// Gatherplot: one mark per filter, one rectangle per layer in order of execution, none left out.
const TOP = 8, BOTTOM = 31, PAD = 9
// Below this pitch marks touch; the shade of a filter that never fires.
const SMALL = 3, FAINT = 0.3
// More frames of chosen filters than this run into each other, unless the pitch is larger.
const MANY = 4, ROOMY = 10
const REST_MS = 150, STEP = 4, KEPT = 1000

// The number of rows that gives the largest mark; every layer has the same pitch.
function packing(layers, width, height) {
  const space = Math.min(6, (0.12 * width) / Math.max(1, layers.length))
  const blocks = layers.reduce((n, l, i) => n + (i > 0 && l.block !== layers[i - 1].block), 0)
  const extra = Math.min(10, (0.08 * width) / Math.max(1, blocks))
  const free = width - 2 * PAD - space * (layers.length - 1) - extra * blocks
  const tall = height - TOP - BOTTOM
  let pitch = 0, rows = 1
  const most = Math.max(...layers.map((l) => l.filters), 1)
  for (let n = 1; n <= Math.min(most, Math.ceil(tall)); n++) {
    const columns = layers.reduce((sum, l) => sum + Math.ceil(l.filters / n), 0)
    const p = Math.min(free / columns, tall / n, 24)
    if (p > pitch + 1e-9) { pitch = p; rows = n }
  }
  let x = PAD
  const places = layers.map((l, i) => {
    if (i > 0) x += space + (l.block !== layers[i - 1].block ? extra : 0)
    const left = x
    x += Math.ceil(l.filters / rows) * pitch
    return { left, right: x, top: TOP }
  })
  const shift = Math.max(0, (width - PAD - x) / 2)
  for (const place of places) { place.left += shift; place.right += shift }
  return { pitch, rows, places, mark: pitch > 3 ? pitch * 0.8 : pitch * 0.9, space }
}

// The marks whose centres lie inside an outline: column by column, between pairs of crossings.
function inside(layers, plan, outline) {
  const found = []
  const [low, high] = [Math.min(...outline.map((p) => p[0])), Math.max(...outline.map((p) => p[0]))]
  layers.forEach((layer, l) => {
    const place = plan.places[l]
    if (place.right < low || place.left > high) return
    for (let column = 0; column * plan.rows < layer.filters; column++) {
      const x = place.left + column * plan.pitch + plan.mark / 2
      const ends = []
      for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
        const [a, b] = [outline[j], outline[i]]
        if (a[0] > x !== b[0] > x) ends.push(a[1] + ((x - a[0]) * (b[1] - a[1])) / (b[0] - a[0]))
      }
      ends.sort((a, b) => a - b)
      const least = column * plan.rows, most = Math.min(least + plan.rows, layer.filters) - 1
      const row = (y) => (y - place.top - plan.mark / 2) / plan.pitch
      for (let e = 0; e + 1 < ends.length; e += 2) {
        const to = Math.min(most, least + Math.floor(row(ends[e + 1])))
        for (let k = Math.max(least, least + Math.ceil(row(ends[e]))); k <= to; k++) found.push([l, k])
      }
    }
  })
  return found
}

export function render({ model, el }) {
  const marks = h("canvas", { class: "marks", "aria-hidden": "true" })
  const over = h("canvas", { class: "over", role: "application", tabindex: 0 })
  const tip = h("div", { class: "tip", hidden: true })
  const said = h("div", { class: "said", role: "status" })
  const box = h("div", { class: "units" }, marks, over, tip, said)
  el.append(box)
  let plan = null
  let cursor = null
  let starts = []
  let shades = new Uint8Array(0)
  // Where the mouse went down, and the outline that is drawn since; null while there is none.
  let press = null
  let lasso = null
  let isDrawn = false

  const css = (name) => getComputedStyle(box).getPropertyValue(`--vt-${name}`).trim()
  const isDark = () => getComputedStyle(box).colorScheme === "dark"
  const colourOf = (layer) => isDark() ? layer.dark : layer.light
  function size(canvas) {
    const scale = Math.min(2, devicePixelRatio || 1)
    canvas.width = Math.max(1, Math.round(box.clientWidth * scale))
    canvas.height = Math.max(1, Math.round(box.clientHeight * scale))
    const pen = canvas.getContext("2d")
    pen.scale(scale, scale)
    return pen
  }
  const corner = (l, k) => [plan.places[l].left + Math.floor(k / plan.rows) * plan.pitch, plan.places[l].top + (k % plan.rows) * plan.pitch]
  const centre = (l, k) => corner(l, k).map((v) => v + plan.mark / 2)

  function labels(pen) {
    const layers = model.unit_layers
    const base = TOP + plan.rows * plan.pitch + 4
    pen.textAlign = "center"
    let free = -Infinity
    for (let i = 0; i < layers.length;) {
      let j = i
      while (j + 1 < layers.length && layers[j + 1].block === layers[i].block) j++
      for (let k = i; k <= j; k++) {
        pen.fillStyle = css("ink-3")
        pen.fillRect(plan.places[k].left, base, Math.max(1, plan.places[k].right - plan.places[k].left - 1), 1)
      }
      const counts = layers.slice(i, j + 1).map((l) => l.filters)
      const [few, many] = [Math.min(...counts), Math.max(...counts)]
      const second = `${counts.length > 1 ? `${counts.length} × ` : ""}${few === many ? few : `${few}–${many}`}`
      pen.font = `600 11px ${css("font")}`
      const name = pen.measureText(layers[i].block).width
      pen.font = `400 10.5px ${css("font")}`
      const figures = pen.measureText(second).width
      const wanted = (plan.places[i].left + plan.places[j].right) / 2
      // Where both lines do not fit, the name alone may.
      for (const wide of [Math.max(name, figures), name]) {
        // A label may step aside for its neighbour, as long as it stays at its block.
        const middle = Math.min(Math.max(wanted, wide / 2 + 8, free + 4 + wide / 2), box.clientWidth - wide / 2 - 8)
        if (middle - wide / 2 < free + 4 || Math.abs(middle - wanted) >= 16) continue
        pen.font = `600 11px ${css("font")}`
        pen.fillStyle = css("ink")
        pen.fillText(layers[i].block, middle, base + 13)
        pen.font = `400 10.5px ${css("font")}`
        pen.fillStyle = css("ink-2")
        if (wide >= figures) pen.fillText(second, middle, base + 25)
        free = middle + wide / 2
        break
      }
      i = j + 1
    }
  }

  function draw() {
    const layers = model.unit_layers
    if (!box.clientWidth || !box.clientHeight || !layers.length) return
    plan = packing(layers, box.clientWidth, box.clientHeight)
    const pen = size(marks)
    shades = new Uint8Array(model.unit_shades)
    const total = layers.reduce((n, l) => n + l.filters, 0)
    const known = shades.length === total
    const [low, high] = model.unit_ends
    const alpha = Array.from({ length: 256 }, (_, v) => FAINT + (1 - FAINT) * Math.min(Math.max((v - low) / (high - low), 0), 1))
    // Small marks meet each other on whole pixels of the screen: half ones would blur them.
    const scale = pen.getTransform().a
    const at = plan.pitch < SMALL ? (v) => Math.round(v * scale) / scale : (v) => v
    const wide = plan.pitch < SMALL ? plan.pitch : plan.mark
    starts = []
    let before = 0
    layers.forEach((layer, l) => {
      starts.push(before)
      pen.fillStyle = colourOf(layer)
      for (let k = 0; k < layer.filters; k++) {
        const [x, y] = corner(l, k)
        pen.globalAlpha = known ? alpha[shades[before + k]] : 0.5
        pen.fillRect(at(x), at(y), at(x + wide) - at(x), at(y + wide) - at(y))
      }
      before += layer.filters
    })
    pen.globalAlpha = 1
    labels(pen)
    overlay()
  }

  const frame = (pen, l, k, side, colour, width) => {
    const [x, y] = centre(l, k)
    pen.lineWidth = width + 2
    pen.strokeStyle = css("surface")
    pen.strokeRect(x - side / 2, y - side / 2, side, side)
    pen.lineWidth = width
    pen.strokeStyle = colour
    pen.strokeRect(x - side / 2, y - side / 2, side, side)
  }
  // The changed copy, only where its winners differ: dashes to and from a hollow square.
  function copy(pen, valid) {
    const stops = model.unit_other.map((k, l) => [l, k]).filter(valid)
    const isOther = ([l, k]) => model.unit_path[l] !== k
    for (const [colour, width] of [[css("surface"), 3.4], [css("accent"), 1.2]]) {
      pen.beginPath()
      stops.forEach((stop, i) => {
        if (!i || !(isOther(stop) || isOther(stops[i - 1]))) return
        pen.moveTo(...centre(...stops[i - 1]))
        pen.lineTo(...centre(...stop))
      })
      pen.setLineDash([4, 3])
      pen.strokeStyle = colour
      pen.lineWidth = width
      pen.stroke()
    }
    pen.setLineDash([])
    stops.filter(isOther).forEach(([l, k]) => frame(pen, l, k, 7, css("accent"), 1.5))
  }
  // A few chosen filters stand out by their frames; those of many would be one blot, so the marks
  // are filled, below the path.
  function chosen(pen, valid, isBlot) {
    const items = model.unit_chosen.filter(valid)
    const colour = css("primary")
    if (!isBlot) { items.forEach(([l, k]) => frame(pen, l, k, 10, colour, 2)); return }
    const side = Math.max(plan.mark, 2)
    pen.fillStyle = colour
    for (const [l, k] of items) {
      const [x, y] = centre(l, k)
      pen.fillRect(x - side / 2, y - side / 2, side, side)
    }
  }
  function outline(pen) {
    if (!lasso) return
    pen.beginPath()
    lasso.forEach(([x, y], i) => i ? pen.lineTo(x, y) : pen.moveTo(x, y))
    pen.closePath()
    pen.globalAlpha = 0.12
    pen.fillStyle = css("primary")
    pen.fill()
    pen.globalAlpha = 1
    pen.lineWidth = 1.5
    pen.strokeStyle = css("primary")
    pen.stroke()
  }
  function overlay() {
    if (!plan) return
    const pen = size(over)
    const valid = ([l, k]) => model.unit_layers[l] && k >= 0 && k < model.unit_layers[l].filters
    const points = model.unit_path.map((k, l) => [l, k]).filter(valid).map(([l, k]) => centre(l, k))
    const isBlot = model.unit_chosen.length > MANY && plan.pitch < ROOMY
    if (isBlot) chosen(pen, valid, isBlot)
    pen.lineJoin = "round"
    for (const [colour, width] of [[css("surface"), 4], [css("accent"), 1.4]]) {
      pen.beginPath()
      points.forEach(([x, y], i) => i ? pen.lineTo(x, y) : pen.moveTo(x, y))
      pen.strokeStyle = colour
      pen.lineWidth = width
      pen.stroke()
    }
    copy(pen, valid)
    const radius = model.unit_layers.length > 24 ? 2.6 : 3.4
    for (const [x, y] of points) {
      for (const [colour, r] of [[css("surface"), radius + 1.2], [css("accent"), radius]]) {
        pen.beginPath()
        pen.arc(x, y, r, 0, 7)
        pen.fillStyle = colour
        pen.fill()
      }
    }
    model.unit_pattern.filter(valid).forEach(([l, k]) => frame(pen, l, k, 14, css("ink"), 2))
    if (!isBlot) chosen(pen, valid, isBlot)
    outline(pen)
    if (cursor) frame(pen, cursor[0], cursor[1], Math.max(8, plan.pitch + 3), css("primary"), 1.5)
    over.setAttribute("aria-label", model.unit_label)
  }

  const place = (event) => { const at = over.getBoundingClientRect(); return [event.clientX - at.left, event.clientY - at.top] }
  function hit(event) {
    if (!plan) return null
    const [x, y] = place(event)
    const reach = plan.space / 2
    const l = plan.places.findIndex((p) => x >= p.left - reach && x < p.right + reach)
    if (l < 0) return null
    const row = Math.floor((y - plan.places[l].top) / plan.pitch)
    const columns = Math.ceil(model.unit_layers[l].filters / plan.rows)
    const column = Math.min(columns - 1, Math.max(0, Math.floor((x - plan.places[l].left) / plan.pitch)))
    if (row < 0 || row >= plan.rows) return null
    const k = column * plan.rows + row
    return k < model.unit_layers[l].filters ? [l, k] : null
  }

  // The strongest images of a filter are asked for when the pointer rests on it, and kept.
  const peeks = new Map()
  let resting = 0
  const isAt = (l, k) => cursor && cursor[0] === l && cursor[1] === k
  function rest([l, k]) {
    clearTimeout(resting)
    if (!peeks.has(`${l}-${k}`)) resting = setTimeout(() => { if (isAt(l, k)) model.send_msg({ kind: "peek", layer: l, filter: k }) }, REST_MS)
  }
  model.on("msg:custom", (told) => {
    if (told.split !== model.unit_split) return
    if (peeks.size >= KEPT) peeks.delete(peeks.keys().next().value)
    peeks.set(`${told.layer}-${told.filter}`, told)
    if (isAt(told.layer, told.filter)) describe()
  })
  model.on("unit_split", () => { peeks.clear(); if (cursor) rest(cursor) })

  const words = ([l, k]) => [
    shades.length ? `${model.unit_means} ${Math.round((100 * shades[starts[l] + k]) / 255)}` : "",
    model.unit_path[l] === k ? "on the path" : "",
    model.unit_other[l] === k && model.unit_path[l] !== k ? "on the changed copy's path" : "",
    model.unit_chosen.some((item) => item[0] === l && item[1] === k) ? "chosen" : "",
  ].filter(Boolean).join(" · ")
  // Beside the mark, never on its column, and inside the plot as far as it is tall enough.
  function describe() {
    const [l, k] = cursor
    const text = words(cursor)
    const seen = peeks.get(`${l}-${k}`)
    const pictures = seen ? seen.images.map((i) => h("span", { class: `pic${i.is_wrong ? " bad" : ""}` }, h("img", { src: i.url, alt: "", title: i.title }))) : []
    tip.replaceChildren(h("b", {}, `${model.unit_layers[l].name} · ${k}`), text ? h("span", {}, text) : "",
      pictures.length ? h("div", { class: "pics" }, pictures) : "", pictures.length ? h("span", { class: "of" }, seen.words) : "")
    const [x, y] = centre(l, k)
    const left = x + 14 + tip.offsetWidth < box.clientWidth - 2 ? x + 14 : x - 14 - tip.offsetWidth
    tip.style.left = `${Math.max(2, left)}px`
    tip.style.top = `${Math.max(0, Math.min(y - tip.offsetHeight / 2, box.clientHeight - tip.offsetHeight))}px`
  }
  function point(at) {
    if (at ? isAt(...at) : !cursor) return
    cursor = at
    overlay()
    tip.hidden = !at
    clearTimeout(resting)
    if (!at) return
    describe()
    rest(at)
  }

  // A drag of mouse or pen draws an outline; a finger scrolls the page and taps.
  over.addEventListener("pointerdown", (event) => {
    isDrawn = false
    if (plan && event.button === 0 && event.pointerType !== "touch") press = place(event)
  })
  over.addEventListener("pointermove", (event) => {
    if (!press) { point(hit(event)); return }
    const at = place(event), last = lasso ? lasso[lasso.length - 1] : press
    if (Math.hypot(at[0] - last[0], at[1] - last[1]) < (lasso ? 2 : STEP)) return
    if (!lasso) { lasso = [press]; point(null); over.setPointerCapture(event.pointerId) }
    lasso.push(at)
    overlay()
  })
  over.addEventListener("pointerup", (event) => {
    const drawn = lasso
    stop()
    if (!drawn) return
    isDrawn = true
    const mode = event.shiftKey ? "add" : event.altKey ? "subtract" : "replace"
    const isChosen = new Set(model.unit_chosen.map(([l, k]) => `${l}-${k}`))
    let found = inside(model.unit_layers, plan, drawn)
    if (mode === "subtract") found = found.filter(([l, k]) => isChosen.has(`${l}-${k}`))
    if (found.length) model.send_msg({ kind: "lasso", filters: found.slice(0, model.unit_most), count: found.length, mode })
  })
  function stop() { press = lasso = null; overlay() }
  over.addEventListener("pointercancel", stop)
  over.addEventListener("pointerleave", () => { if (!lasso) { press = null; point(null) } })
  over.addEventListener("blur", () => point(null))
  const pick = (at, add) => model.send_msg({ kind: "pick", layer: at[0], filter: at[1], add })
  over.addEventListener("click", (event) => {
    const at = isDrawn ? null : hit(event)
    isDrawn = false
    if (at) pick(at, event.shiftKey || event.ctrlKey || event.metaKey)
  })
  over.addEventListener("keydown", (event) => {
    const layers = model.unit_layers
    if (event.key === "Escape" && press) { event.stopPropagation(); isDrawn = true; stop(); return }
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], "[": [-1, 0], "]": [1, 0] }[event.key]
    if (!layers.length || !(step || event.key === "Enter" || event.key === " ")) return
    event.preventDefault()
    event.stopPropagation()
    if (!step) { if (cursor) pick(cursor, event.shiftKey); return }
    const from = cursor || [0, -1]
    const l = Math.min(Math.max(from[0] + (cursor ? step[0] : 0), 0), layers.length - 1)
    // Stepping to another layer goes to the path's filter there: that is what one wants to see.
    const home = model.unit_path[l] >= 0 ? model.unit_path[l] : Math.min(Math.max(from[1], 0), layers[l].filters - 1)
    point([l, step[0] || !cursor ? home : Math.min(Math.max(from[1] + step[1], 0), layers[l].filters - 1)])
    said.textContent = `${layers[cursor[0]].name}, filter ${cursor[1]}, ${words(cursor)}`
  })

  const redraw = onceAFrame(model, ["unit_layers", "unit_shades", "unit_ends"], draw)
  onceAFrame(model, ["unit_path", "unit_other", "unit_pattern", "unit_chosen", "unit_label"], () => { overlay(); if (cursor) describe() })
  const watch = new ResizeObserver(redraw)
  watch.observe(box)
  model.on("remove", () => { watch.disconnect(); clearTimeout(resting) })
  onTheme(box, redraw)
  draw()
}
