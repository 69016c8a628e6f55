// Gatherplot: one mark per filter, one rectangle per layer in order of execution, none left out.
const TOP = 8, BOTTOM = 31, PAD = 9

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
    return { left, right: x }
  })
  const shift = Math.max(0, (width - PAD - x) / 2)
  for (const place of places) { place.left += shift; place.right += shift }
  return { pitch, rows, places, mark: pitch > 3 ? pitch * 0.8 : pitch * 0.9, space }
}

export function render({ model, el }) {
  const marks = h("canvas", { class: "marks", "aria-hidden": "true" })
  const over = h("canvas", { class: "over", role: "application", tabindex: 0 })
  const tip = h("div", { class: "tip", hidden: true })
  const box = h("div", { class: "units" }, marks, over, tip)
  el.append(box)
  let plan = null
  let cursor = null
  let starts = []

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
  const corner = (l, k) => [plan.places[l].left + Math.floor(k / plan.rows) * plan.pitch, TOP + (k % plan.rows) * plan.pitch]
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
      const wide = Math.max(pen.measureText(layers[i].block).width, 0.95 * pen.measureText(second).width)
      const wanted = (plan.places[i].left + plan.places[j].right) / 2
      // A label may step aside for its neighbour, as long as it stays at its block.
      const middle = Math.min(Math.max(wanted, wide / 2 + 1, free + 4 + wide / 2), box.clientWidth - wide / 2 - 1)
      if (middle - wide / 2 >= free + 4 && Math.abs(middle - wanted) < 16) {
        pen.fillStyle = css("ink")
        pen.fillText(layers[i].block, middle, base + 13)
        pen.font = `400 10.5px ${css("font")}`
        pen.fillStyle = css("ink-2")
        pen.fillText(second, middle, base + 25)
        free = middle + wide / 2
      }
      i = j + 1
    }
  }

  function draw() {
    const layers = model.unit_layers
    if (!box.clientWidth || !box.clientHeight || !layers.length) return
    plan = packing(layers, box.clientWidth, box.clientHeight)
    const pen = size(marks)
    const shades = new Uint8Array(model.unit_shades)
    const total = layers.reduce((n, l) => n + l.filters, 0)
    const known = shades.length === total
    starts = []
    let at = 0
    layers.forEach((layer, l) => {
      starts.push(at)
      pen.fillStyle = colourOf(layer)
      for (let k = 0; k < layer.filters; k++) {
        const [x, y] = corner(l, k)
        pen.globalAlpha = known ? 0.34 + (0.66 * shades[at + k]) / 255 : 0.5
        pen.fillRect(x, y, plan.mark, plan.mark)
      }
      at += layer.filters
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
  function overlay() {
    if (!plan) return
    const pen = size(over)
    const valid = ([l, k]) => model.unit_layers[l] && k >= 0 && k < model.unit_layers[l].filters
    const points = model.unit_path.map((k, l) => [l, k]).filter(valid).map(([l, k]) => centre(l, k))
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
    model.unit_chosen.filter(valid).forEach(([l, k]) => frame(pen, l, k, 10, css("primary"), 2))
    if (cursor) frame(pen, cursor[0], cursor[1], Math.max(8, plan.pitch + 3), css("primary"), 1.5)
    over.setAttribute("aria-label", model.unit_label)
  }

  function hit(event) {
    if (!plan) return null
    const at = over.getBoundingClientRect()
    const [x, y] = [event.clientX - at.left, event.clientY - at.top]
    const reach = plan.space / 2
    const l = plan.places.findIndex((p) => x >= p.left - reach && x < p.right + reach)
    if (l < 0) return null
    const row = Math.floor((y - TOP) / plan.pitch)
    const columns = Math.ceil(model.unit_layers[l].filters / plan.rows)
    const column = Math.min(columns - 1, Math.max(0, Math.floor((x - plan.places[l].left) / plan.pitch)))
    if (row < 0 || row >= plan.rows) return null
    const k = column * plan.rows + row
    return k < model.unit_layers[l].filters ? [l, k] : null
  }
  function point(at) {
    if (cursor && at && cursor[0] === at[0] && cursor[1] === at[1]) return
    cursor = at
    overlay()
    tip.hidden = !at
    if (!at) return
    const [l, k] = at
    const layer = model.unit_layers[l]
    const shades = new Uint8Array(model.unit_shades)
    const share = shades.length ? `percentile ${Math.round((100 * shades[starts[l] + k]) / 255)}` : ""
    const words = [share, model.unit_path[l] === k ? "on the path" : "", model.unit_other[l] === k && model.unit_path[l] !== k ? "on the changed copy's path" : ""].filter(Boolean).join(" · ")
    tip.replaceChildren(h("b", {}, `${layer.name} · ${k}`), words ? h("span", {}, words) : "")
    const [x, y] = centre(l, k)
    tip.style.left = `${Math.min(Math.max(4, x - tip.offsetWidth / 2), box.clientWidth - tip.offsetWidth - 4)}px`
    tip.style.top = y > 60 ? `${y - tip.offsetHeight - 12}px` : `${y + 14}px`
  }
  over.addEventListener("pointermove", (event) => point(hit(event)))
  over.addEventListener("pointerleave", () => point(null))
  over.addEventListener("blur", () => point(null))
  over.addEventListener("click", (event) => {
    const at = hit(event)
    if (at) model.send_msg({ layer: at[0], filter: at[1], add: event.shiftKey || event.ctrlKey || event.metaKey })
  })
  over.addEventListener("keydown", (event) => {
    const layers = model.unit_layers
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], "[": [-1, 0], "]": [1, 0] }[event.key]
    if (!layers.length || !(step || event.key === "Enter" || event.key === " ")) return
    event.preventDefault()
    event.stopPropagation()
    if (!step) { if (cursor) model.send_msg({ layer: cursor[0], filter: cursor[1], add: event.shiftKey }); return }
    const from = cursor || [0, -1]
    const l = Math.min(Math.max(from[0] + (cursor ? step[0] : 0), 0), layers.length - 1)
    // Stepping to another layer goes to the path's filter there: that is what one wants to see.
    const home = model.unit_path[l] >= 0 ? model.unit_path[l] : Math.min(Math.max(from[1], 0), layers[l].filters - 1)
    point([l, step[0] || !cursor ? home : Math.min(Math.max(from[1] + step[1], 0), layers[l].filters - 1)])
  })

  const redraw = onceAFrame(model, ["unit_layers", "unit_shades"], draw)
  onceAFrame(model, ["unit_path", "unit_other", "unit_pattern", "unit_chosen", "unit_label"], overlay)
  const watch = new ResizeObserver(redraw)
  watch.observe(box)
  model.on("remove", () => watch.disconnect())
  onTheme(box, redraw)
  draw()
}
