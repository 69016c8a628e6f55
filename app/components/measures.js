// All measures of the simulation, beside its curves: ranking, calibration, consistency, flips, images.
const RANKING = [
  { key: "name", text: "Class" }, { key: "label", text: "Change" }, { key: "start", text: "Unchanged", number: true },
  { key: "reach", text: "Half at", number: true, first: "reach" }, { key: "lost", text: "Lost", number: true, falls: true }, { key: "n", text: "n", number: true },
]

// A card with its charts, and the same figures as a table on request.
function card(name, title, fill, tables) {
  const button = tables ? h("button", { class: "btn txt", type: "button", "aria-pressed": "false" }, "Show as table") : null
  const note = h("span", { class: "mut note" }), body = h("div", { class: "cb" })
  const node = h("section", { class: `card ${name}`, "aria-label": title }, h("div", { class: "sh" }, h("h3", {}, title), note, h("span", { class: "sp" }), button), body)
  let data = null, open = false
  function draw() {
    node.hidden = !data
    if (!data) return
    note.textContent = data.note || ""
    note.title = data.note || ""
    body.replaceChildren()
    if (data.message) { body.append(h("p", { class: "mut" }, data.message)); return }
    if (open) body.append(...tables(data)); else fill(body, data)
    for (const words of data.words || []) body.append(h("p", { class: "mut" }, words))
  }
  if (button) button.onclick = () => { open = !open; button.setAttribute("aria-pressed", open); button.textContent = open ? "Show as chart" : "Show as table"; draw() }
  return { node, body, set(value) { data = value; draw() }, draw }
}

function grid(caption, columns, rows) {
  return h("div", { class: "tw", tabindex: 0, role: "region", "aria-label": caption }, h("table", {},
    h("caption", {}, caption), h("thead", {}, h("tr", {}, columns.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((text, k) => h(k ? "td" : "th", k ? {} : { scope: "row" }, text)))))))
}

const swatch = (colour) => h("i", { class: "sw", style: `background:${colour}` })

export function render({ model, el }) {
  const send = (message) => model.send_msg(message)
  let order = { key: "reach", down: false }, group = 0

  function ranking(body, d) {
    const column = RANKING.find((each) => each.key === order.key)
    const value = (row) => row[order.key] == null ? Infinity : row[order.key]
    const rows = [...d.rows].sort((a, b) => (column.number ? value(a) - value(b) || b.lost - a.lost : String(value(a)).localeCompare(value(b))) * (order.down ? -1 : 1))
    const list = h("tbody", {})
    rows.forEach((row, k) => {
      const go = h("button", { type: "button", class: "go", tabindex: row.is_on || (k === 0 && !rows.some((each) => each.is_on)) ? 0 : -1, "aria-label": `${row.name}, ${row.label}: show it` }, swatch(row.colour), row.name)
      list.append(h("tr", { class: row.is_on ? "on" : null, "aria-current": row.is_on ? "true" : null, onclick: () => send({ kind: "row", perturbation: row.perturbation, class: row.id }) },
        h("th", { scope: "row" }, go), h("td", {}, row.label), h("td", { class: "r" }, row.start_text), h("td", { class: "r", title: row.half_title }, h("b", {}, row.half_text), " ", h("span", { class: "mut" }, row.half_interval)),
        h("td", { class: "r", title: row.lost_title }, row.lost_text), h("td", { class: "r" }, whole(row.n))))
    })
    list.addEventListener("keydown", (event) => {
      const all = [...list.querySelectorAll(".go")], at = all.indexOf(event.target)
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key]
      if (at < 0 || to === undefined) return
      event.preventDefault()
      event.stopPropagation()
      const next = all[Math.min(Math.max(to, 0), all.length - 1)]
      all[at].tabIndex = -1
      next.tabIndex = 0
      next.focus()
    })
    const head = RANKING.map((each) => h("th", { scope: "col", class: each.number ? "r" : null, "aria-sort": each.key === order.key ? (order.down ? "descending" : "ascending") : "none" },
      h("button", { type: "button", "data-sort": each.key, onclick: () => { order = { key: each.key, down: each.key === order.key ? !order.down : Boolean(each.falls) }; parts.ranking.draw(); parts.ranking.body.querySelector(`[data-sort=${each.key}]`).focus() } }, each.text, each.key === order.key ? (order.down ? " ↓" : " ↑") : "")))
    body.append(h("div", { class: "tw" }, h("table", { class: "rank" }, h("caption", { class: "hide" }, d.caption), h("thead", {}, h("tr", {}, head)), list)))
  }

  // Accuracy against confidence: a dot for each bin, its area the images in it.
  function reliability(box, d) {
    const W = box.clientWidth, H = box.clientHeight, m = { l: 34, r: 8, t: 6, b: 26 }
    if (W < 60 || H < 60) return
    const sx = (v) => m.l + v * (W - m.l - m.r), sy = (v) => m.t + (1 - v) * (H - m.t - m.b)
    const text = (x, y, words, more = {}) => { const t = svg("text", { x, y, "font-size": 10.5, fill: "var(--vt-ink-2)", ...more }); t.textContent = words; return t }
    const node = svg("svg", { width: W, height: H, role: "img", "aria-label": d.spoken })
    for (const v of [0, 0.5, 1]) node.append(svg("line", { x1: sx(0), x2: sx(1), y1: sy(v), y2: sy(v), stroke: "var(--vt-grid)" }), text(m.l - 4, sy(v) + 3.5, v, { "text-anchor": "end" }), text(sx(v), H - 14, v, { "text-anchor": v ? v === 1 ? "end" : "middle" : "start" }))
    node.append(svg("line", { x1: sx(0), y1: sy(0), x2: sx(1), y2: sy(1), stroke: "var(--vt-ink-3)", "stroke-dasharray": "3 3" }), text((sx(0) + sx(1)) / 2, H - 2, "confidence", { "text-anchor": "middle" }), text(10, (sy(0) + sy(1)) / 2, "accuracy", { "text-anchor": "middle", transform: `rotate(-90 10 ${(sy(0) + sy(1)) / 2})` }))
    const total = Math.max(...d.bins.map((bin) => bin.n), 1)
    for (const bin of d.bins) {
      if (!bin.n) continue
      node.append(svg("line", { x1: sx(bin.confidence), x2: sx(bin.confidence), y1: sy(bin.low), y2: sy(bin.high), stroke: "var(--vt-primary)", "stroke-width": 1.2 }))
      const dot = svg("circle", { cx: sx(bin.confidence), cy: sy(bin.accuracy), r: 2.4 + 5 * Math.sqrt(bin.n / total), fill: "var(--vt-primary)", stroke: "var(--vt-surface)" }), told = svg("title", {})
      told.textContent = bin.title
      dot.append(told)
      node.append(dot)
    }
    box.append(node)
  }
  function nearest(d) {
    const now = model.measures_now == null ? d.identity : model.measures_now
    let k = 0
    d.x.forEach((x, i) => { if (Math.abs(x - now) < Math.abs(d.x[k] - now)) k = i })
    return k
  }
  function calibration(body, d) {
    const k = nearest(d), one = d.at[k]
    const left = h("div", { class: "pl sq" }), right = h("div", { class: "pl" })
    body.append(h("div", { class: "two" }, h("figure", {}, h("figcaption", {}, one.title), left, h("figcaption", { class: "ece" }, one.words)), h("figure", {}, h("figcaption", {}, d.along), right, h("figcaption", { class: "mut" }, d.legend))))
    reliability(left, one)
    const scale = chart(right, {
      x: d.x, margin: { l: 26, r: 8, t: 6, b: 15 }, xticks: d.ticks, yticks: [0, 0.5, 1], identity: d.identity, now: model.measures_now, label: d.spoken,
      series: [{ y: d.chance, colour: "var(--vt-ink-3)", width: 1, dash: true }, { y: d.error, lo: d.low, hi: d.high, colour: "var(--vt-primary)", width: 2 }],
    })
    right.onclick = (event) => { if (scale) send({ kind: "now", value: scale.back(event.clientX - right.getBoundingClientRect().left) }) }
  }
  function calibrationTables(d) {
    const one = d.at[nearest(d)]
    return [
      grid(`Expected calibration error, ${d.label}`, ["Magnitude", "Error", "95 % interval", "By chance", "n"], d.rows),
      grid(`Reliability, ${one.title}`, ["Confidence", "Mean confidence", "Accuracy", "95 % interval", "n"], one.bins.map((bin) => bin.row)),
    ]
  }

  const bar = (share, low, high) => {
    const node = svg("svg", { width: 90, height: 12, "aria-hidden": "true" })
    node.append(svg("rect", { x: 0, y: 3, width: 90, height: 6, fill: "var(--vt-well)" }), svg("rect", { x: 0, y: 3, width: 90 * share, height: 6, fill: "var(--vt-primary)" }), svg("line", { x1: 90 * low, x2: 90 * high, y1: 6, y2: 6, stroke: "var(--vt-ink)", "stroke-width": 1.4 }))
    return node
  }
  function consistency(body, d) {
    group = Math.min(group, d.groups.length - 1)
    const pick = h("select", { "aria-label": "Images, by the class predicted without a change", onchange: () => { group = Number(pick.value); parts.consistency.draw(); parts.consistency.body.querySelector("select").focus() } }, d.groups.map((each, k) => h("option", { value: k }, each.name)))
    pick.value = group
    body.append(pick, h("div", { class: "tw" }, h("table", {}, h("caption", { class: "hide" }, "Share of images whose prediction stays"),
      h("thead", {}, h("tr", {}, ["Change", "Stays", "", "95 % interval", "n"].map((text, k) => h("th", { scope: "col", class: k ? "r" : null }, text)))),
      h("tbody", {}, d.groups[group].rows.map((row) => h("tr", { class: row.is_all ? "all" : null }, h("th", { scope: "row" }, row.label), h("td", { class: "r" }, h("b", {}, row.text)), h("td", {}, bar(row.share, row.low, row.high)), h("td", { class: "r mut" }, row.interval), h("td", { class: "r" }, row.n)))))))
  }

  // Of every class: median, middle half and middle eight tenths of the distance of the smallest flip.
  function range(q) {
    const node = svg("svg", { width: 120, height: 14, "aria-hidden": "true" })
    const x = (v) => v == null ? 120 : 4 + Math.min(v, 1) * 106
    node.append(svg("line", { x1: x(q[0]), x2: x(q[4]), y1: 7, y2: 7, stroke: "var(--vt-ink-3)", "stroke-width": 1.2 }))
    if (q[1] != null) node.append(svg("line", { x1: x(q[1]), x2: x(q[3]), y1: 7, y2: 7, stroke: "var(--vt-primary)", "stroke-width": 5, opacity: 0.45 }))
    if (q[2] != null) node.append(svg("circle", { cx: x(q[2]), cy: 7, r: 4, fill: "var(--vt-primary)", stroke: "var(--vt-surface)" }))
    return node
  }
  function flips(body, d) {
    body.append(h("div", { class: "tw" }, h("table", {}, h("caption", { class: "hide" }, d.caption),
      h("thead", {}, h("tr", {}, ["Class", "", ...d.shares, "Never", "n"].map((text, k) => h("th", { scope: "col", class: k > 1 ? "r" : null }, text)))),
      h("tbody", {}, d.rows.map((row) => h("tr", { class: row.is_on ? "on" : null }, h("th", { scope: "row" }, swatch(row.colour), row.name), h("td", {}, range(row.places)), row.texts.map((text, k) => h("td", { class: `r${k === 2 ? " mid" : ""}` }, text)), h("td", { class: "r" }, row.never, row.never === "0" ? null : h("span", { class: "mut" }, ` (${row.never_wrong} wrong)`)), h("td", { class: "r" }, row.n)))))))
  }

  function images(body, d) {
    for (const row of d.rows) {
      body.append(h("p", { class: "rowt" }, h("b", {}, row.title), " ", h("span", { class: "mut" }, row.note)))
      body.append(row.images.length ? thumbRow(row.images.map((each) => h("figure", { class: "ti" }, thumb(each, send), h("figcaption", {}, each.words))), row.title) : h("p", { class: "mut" }, "none"))
    }
  }

  const parts = {
    ranking: card("ranking", "What falls fastest", ranking),
    images: card("images", "Images of the class", images),
    flips: card("flips", "Smallest flip by class", flips),
    calibration: card("calibration", "Calibration", calibration, calibrationTables),
    consistency: card("consistency", "Consistency, no labels needed", consistency),
  }
  el.replaceChildren(h("div", { class: "cols" }, h("div", { class: "col" }, parts.ranking.node), h("div", { class: "col" }, parts.images.node, parts.flips.node), h("div", { class: "col" }, parts.calibration.node, parts.consistency.node)))

  function draw() {
    const d = model.measures_data
    el.firstChild.classList.toggle("old", Boolean(d.is_computing))
    el.firstChild.classList.toggle("first", Boolean(d.is_computing) && !d.ranking)
    for (const name of Object.keys(parts)) parts[name].set(d[name])
  }
  const ask = onceAFrame(model, ["measures_data"], draw)
  onceAFrame(model, ["measures_now"], () => parts.calibration.draw())
  const seen = new ResizeObserver(ask)
  seen.observe(el.firstChild)
  model.on("remove", () => seen.disconnect())
  draw()
}
