// One small chart of lines over a magnitude, as SVG: it follows the theme by style variables.
const NS = "http://www.w3.org/2000/svg"

function add(parent, name, attributes, text) {
  const node = document.createElementNS(NS, name)
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value)
  if (text !== undefined) node.textContent = text
  parent.append(node)
  return node
}

function path(xs, ys, sx, sy) {
  let d = "", pen = "M"
  xs.forEach((x, i) => {
    if (ys[i] == null) { pen = "M"; return }
    d += `${pen}${sx(x).toFixed(1)} ${sy(ys[i]).toFixed(1)}`
    pen = "L"
  })
  return d
}

function band(xs, lo, hi, sx, sy) {
  const there = xs.map((x, i) => [x, lo[i], hi[i]]).filter((p) => p[1] != null && p[2] != null)
  if (there.length < 2) return ""
  const up = there.map((p) => `${sx(p[0]).toFixed(1)} ${sy(p[2]).toFixed(1)}`)
  const down = there.reverse().map((p) => `${sx(p[0]).toFixed(1)} ${sy(p[1]).toFixed(1)}`)
  return `M${up.join("L")}L${down.join("L")}Z`
}

// One chart; returns its scale so that the pointer can be read back.
function chart(box, o) {
  box.querySelector("svg")?.remove()
  const W = box.clientWidth, H = box.clientHeight
  if (W < 10 || H < 10) return null
  const m = o.margin, xs = o.x, x0 = xs[0], x1 = xs[xs.length - 1]
  const sx = (v) => m.l + (v - x0) / (x1 - x0 || 1) * (W - m.l - m.r)
  const sy = (v) => m.t + (1 - v) * (H - m.t - m.b)
  const svg = document.createElementNS(NS, "svg")
  svg.setAttribute("width", W)
  svg.setAttribute("height", H)
  svg.setAttribute("role", "img")
  svg.setAttribute("aria-label", o.label)
  for (const v of o.yticks) {
    add(svg, "line", { x1: m.l, x2: W - m.r, y1: sy(v), y2: sy(v), stroke: "var(--vt-grid)" })
    if (m.l > 16) add(svg, "text", { x: m.l - 6, y: sy(v) + 3.5, "font-size": 10.5, "text-anchor": "end", fill: "var(--vt-ink-2)" }, v)
  }
  for (const [v, text] of o.xticks)
    add(svg, "text", { x: sx(v), y: H - 3, "font-size": 10.5, fill: "var(--vt-ink-2)", "text-anchor": v === x0 ? "start" : v === x1 ? "end" : "middle" }, text)
  if (o.identity != null && o.identity > x0)
    add(svg, "line", { x1: sx(o.identity), x2: sx(o.identity), y1: m.t, y2: H - m.b, stroke: "var(--vt-line-strong)", "stroke-dasharray": "2 2" })
  for (const q of o.series) if (q.lo) add(svg, "path", { d: band(xs, q.lo, q.hi, sx, sy), fill: q.colour, opacity: q.faint ? 0.09 : 0.2 })
  for (const q of o.series) {
    // Apart from what it lies on.
    if (q.halo) add(svg, "path", { class: "halo", d: path(xs, q.y, sx, sy), fill: "none", stroke: "var(--vt-surface)", "stroke-width": q.width + 2.4, "stroke-linejoin": "round" })
    add(svg, "path", { d: path(xs, q.y, sx, sy), fill: "none", stroke: q.colour, "stroke-width": q.width, "stroke-linejoin": "round", ...(q.dash ? { "stroke-dasharray": "4 2" } : {}) })
  }
  for (const q of o.labels || []) {
    if (q.from != null) add(svg, "polyline", { points: `${W - m.r},${sy(q.from)} ${W - m.r + 2},${sy(q.from)} ${W - m.r + 9},${sy(q.y)} ${W - m.r + 11},${sy(q.y)}`, stroke: q.colour, fill: "none" })
    add(svg, "text", { x: q.x != null ? sx(q.x) : W - m.r + (q.from != null ? 13 : 4), y: sy(q.y) + (q.dy || 0) + 3.5, "font-size": q.size, fill: "var(--vt-ink)", "font-weight": q.bold ? 600 : 400, "text-anchor": q.x != null ? "middle" : "start", "paint-order": "stroke", stroke: "var(--vt-surface)", "stroke-width": 2.5 }, q.text)
  }
  for (const v of o.marks || []) {
    const x = sx(v), y = H - m.b
    add(svg, "path", { d: `M${x - 4} ${y - 6}h8l-4 6z`, fill: "var(--vt-wrong)", stroke: "var(--vt-surface)", "stroke-width": 0.8 })
  }
  if (o.now != null) {
    add(svg, "line", { x1: sx(o.now), x2: sx(o.now), y1: m.t - 1, y2: H - m.b, stroke: "var(--vt-primary)", "stroke-width": 1.6 })
    add(svg, "circle", { cx: sx(o.now), cy: m.t, r: o.drag ? 4 : 3.2, fill: "var(--vt-primary)" })
    if (o.drag) add(svg, "rect", { class: "knob", x: sx(o.now) - 9, y: 0, width: 18, height: H - m.b, fill: "transparent" })
  }
  box.append(svg)
  return { sx, sy, back: (px) => Math.min(x1, Math.max(x0, x0 + (px - m.l) / (W - m.l - m.r) * (x1 - x0))) }
}
