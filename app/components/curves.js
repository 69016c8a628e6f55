// Overview of all classes and one small panel for each, as SVG.
// Below this height points of a panel lie so close that a click means the class.
const POINTS_FROM = 90
// Names at the right end of the lines, moved as little as keeps them apart; where not all have
// room, those that lie closest to others are left out, never a bold one.
function endLabels(lines, height, size, isBold) {
  const gap = (size + 1) / Math.max(height, 1), top = 0.98
  const list = lines.map((q) => ({ q, y: q.y.filter((v) => v != null).at(-1) ?? 0 })).sort((a, b) => b.y - a.y)
  while (list.length > 1 && (list.length - 1) * gap > top) {
    const near = list.map((e, k) => isBold(e.q) ? Infinity : Math.min(...[k - 1, k + 1].filter((j) => list[j]).map((j) => Math.abs(list[j].y - e.y))))
    list.splice(near.indexOf(Math.min(...near)), 1)
  }
  // Shifted by its place in the list, each may not lie above the one before: runs that would are
  // pooled at their mean.
  const runs = []
  list.forEach((e, k) => {
    runs.push({ sum: e.y + k * gap, n: 1 })
    while (runs.length > 1 && runs.at(-1).sum / runs.at(-1).n > runs.at(-2).sum / runs.at(-2).n) {
      const last = runs.pop()
      runs.at(-1).sum += last.sum
      runs.at(-1).n += last.n
    }
  })
  const ys = runs.flatMap((run) => Array(run.n).fill(run.sum / run.n)).map((z, k) => Math.min(top, Math.max(z, (list.length - 1) * gap)) - k * gap)
  return list.map((e, k) => ({ text: e.q.name.length > 11 ? e.q.name.slice(0, 10) + "…" : e.q.name, y: ys[k], from: e.y, colour: e.q.colour, size, bold: isBold(e.q) }))
}

export function render({ model, el }) {
  el.innerHTML = `<div class="grid"><div class="over"><div class="title"><b></b><span></span><input class="find" type="search" list="found" aria-label="Show another class" placeholder="Show class …"><datalist id="found"></datalist><button class="tab" type="button" aria-label="Show as table" title="Show as table">Table</button></div><div class="pl"></div></div><div class="sm"></div></div><div class="tables" hidden></div><div class="said" role="status"></div><div class="read" popover="manual"></div>`
  const $ = (s) => el.querySelector(s)
  const over = $(".over .pl"), small = $(".sm"), read = $(".read"), tables = $(".tables"), find = $(".find")
  let scale = null, isTable = false, whose = "own"
  const scales = new Map()

  function drawOverview() {
    const d = model.curves_data
    $(".title b").textContent = d.title || ""
    $(".title span").textContent = d.subtitle || ""
    find.hidden = !d.can_search
    if (!d.overview) { over.replaceChildren(); return }
    const framed = model.curves_framed, tight = innerWidth < 1600
    const size = tight ? 10.5 : 11.5, all = d.together, isBold = (q) => q === all || q.id === framed
    scale = chart(over, {
      x: d.x, margin: { l: 24, r: 80, t: 7, b: 15 }, xticks: d.ticks, yticks: [0, 0.5, 1], identity: d.identity, now: model.curves_now, drag: true, label: `${d.label}, ${d.title.toLowerCase()}, n ${d.overview.reduce((sum, q) => sum + q.n, 0).toLocaleString("en-US")}, and all images together`,
      series: [
        ...[...d.overview].sort((a, b) => (a.id === framed) - (b.id === framed)).map((q) => ({ ...q, faint: q.id !== framed, width: q.id === framed ? 2.8 : 1.5 })),
        { ...all, width: 3.2, halo: true },
      ],
      labels: endLabels([...d.overview, all], over.clientHeight - 22, size, isBold),
    })
  }

  function drawPanels() {
    const d = model.curves_data, panels = d.panels || []
    const tight = innerWidth < 1600, phone = innerWidth <= 760
    const columns = phone ? 2 : Math.min(5, Math.max(1, Math.ceil(panels.length / 2)))
    small.style.setProperty("--vt-columns", columns)
    while (small.children.length > panels.length) small.lastChild.remove()
    while (small.children.length < panels.length) {
      const cell = document.createElement("button")
      cell.type = "button"
      cell.className = "smc"
      cell.innerHTML = `<span class="t"><i class="sw"></i><b></b><span class="note"><span class="full"></span><span class="short"></span></span></span><span class="pl"></span>`
      const plot = cell.querySelector(".pl"), near = (event) => plot.clientHeight < POINTS_FROM ? null : hit(event, plot, scales.get(cell), linesOf(model.curves_data.panels.find((p) => p.id === Number(cell.dataset.class))))
      cell.onclick = (event) => {
        const point = event.detail > 0 ? near(event) : null
        if (point) choose(point); else model.send_msg({ class: Number(cell.dataset.class) })
      }
      plot.onpointermove = (event) => tell(near(event), plot, scales.get(cell), event)
      plot.onpointerleave = hush
      small.append(cell)
    }
    panels.forEach((p, k) => {
      const cell = small.children[k]
      cell.dataset.class = p.id
      cell.classList.toggle("on", p.id === model.curves_framed)
      cell.querySelector(".sw").style.background = p.colour
      cell.querySelector("b").textContent = p.name
      cell.querySelector(".full").textContent = p.note
      cell.querySelector(".short").textContent = p.short
      cell.querySelector(".note").title = `${p.name}: ${p.long}; first to fall first`
      cell.title = `${p.name}: ${p.long} · n ${p.n.toLocaleString("en-US")}`
      const lastRow = k >= panels.length - columns
      scales.set(cell, chart(cell.querySelector(".pl"), {
        x: d.x, margin: { l: tight ? 3 : k % columns ? 8 : 24, r: 3, t: 5, b: tight ? 4 : lastRow ? 15 : 6 }, xticks: tight || !lastRow ? [] : d.ticks, yticks: tight ? [0, 1] : [0, 0.5, 1], identity: d.identity, now: model.curves_now, label: `${d.label}, true class ${p.name}, n ${p.n}, ${p.long}`,
        series: [...p.lines.map((q) => ({ ...q, width: q.dash ? 1.5 : 0.9 })), { y: p.y, lo: p.lo, hi: p.hi, colour: p.colour, width: 2.3 }],
        labels: p.lines.filter((q) => q.mark).map((q) => ({ text: q.name, x: q.mark[0], y: Math.min(q.mark[1], 0.78), dy: -7, size: 10.5 })),
      }))
    })
  }
  function draw() {
    $(".grid").classList.toggle("tabled", isTable)
    $(".grid").classList.toggle("tall", el.clientHeight > 240 && el.clientWidth > 1000)
    tables.hidden = !isTable
    $(".said").textContent = model.curves_said
    drawOverview()
    if (isTable) drawTable(); else drawPanels()
  }

  // A point of a line stands for images: those of its true class that are wrong there, or, of the
  // line of another class, those that are taken for it.
  const allOf = (p) => [{ ...p, true: p.id, owner: p.name }, ...p.lines.map((q) => ({ ...q, true: p.id, as: q.id, owner: p.name }))]
  const linesOf = (p) => p ? allOf(p).filter((q) => q.as == null || q.dash) : []
  function hit(event, box, drawn, lines) {
    if (!drawn) return null
    const at = box.getBoundingClientRect(), px = event.clientX - at.left, py = event.clientY - at.top
    let found = null, best = 64
    model.curves_data.x.forEach((x, k) => {
      const dx = drawn.sx(x) - px
      if (dx * dx >= best) return
      for (const q of lines) {
        if (q.y[k] == null) continue
        const far = dx * dx + (drawn.sy(q.y[k]) - py) ** 2
        if (far < best) { best = far; found = { k, q } }
      }
    })
    return found
  }
  const choose = ({ k, q }) => model.send_msg({ point: { class: q.true ?? q.id, magnitude: model.curves_data.x[k], as: q.as ?? null } })
  const two = (v) => v == null ? "–" : v.toFixed(2)
  function wordsOf({ k, q }) {
    const d = model.curves_data, part = q.as == null ? `${q.name}: ${d.measure} ${two(q.y[k])}${q.lo?.[k] != null ? ` (${two(q.lo[k])} to ${two(q.hi[k])})` : ""}, n ${(q.ns?.[k] ?? q.n).toLocaleString("en-US")}` : `${q.owner} images: mean score of ${q.name} ${two(q.y[k])}`
    if (q.ns) return [part]
    return [part, q.as == null ? `Click selects the ${q.name} images that are wrong here` : `Click selects the ${q.owner} images predicted ${q.name}`]
  }
  let dot = null
  function mark(point, box, drawn) {
    dot?.remove()
    dot = null
    box.style.cursor = point ? "pointer" : ""
    if (!point) return
    dot = document.createElement("i")
    dot.className = "dot"
    dot.style.left = `${drawn.sx(model.curves_data.x[point.k])}px`
    dot.style.top = `${drawn.sy(point.q.y[point.k])}px`
    dot.style.borderColor = point.q.colour
    box.append(dot)
  }
  function hush() {
    mark(null, over)
    if (read.matches(":popover-open")) read.hidePopover()
  }
  function lines(point) {
    return wordsOf(point).map((text, k) => {
      const line = document.createElement("div")
      line.textContent = text
      line.className = k ? "hint" : ""
      return line
    })
  }
  function tell(point, box, drawn, event) {
    mark(point, box, drawn)
    if (!point) { hush(); return }
    const head = document.createElement("b")
    head.textContent = model.curves_data.xtexts[point.k]
    read.replaceChildren(head, ...lines(point))
    if (!read.matches(":popover-open")) read.showPopover()
    const at = box.getBoundingClientRect()
    read.style.left = `${Math.max(8, Math.min(at.left, innerWidth - read.offsetWidth - 8))}px`
    read.style.top = `${at.top - read.offsetHeight - 24 > 8 ? at.top - read.offsetHeight - 24 : at.bottom + 6}px`
  }

  // The same rows as a table; every figure is a button that selects the images behind it.
  function drawTable() {
    const d = model.curves_data, panels = d.panels || []
    const node = (tag, text, attributes = {}) => {
      const made = document.createElement(tag)
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
      if (text != null) made.textContent = text
      return made
    }
    if (whose !== "own" && !panels.some((p) => String(p.id) === whose && p.lines.length)) whose = "own"
    const p = panels.find((each) => String(each.id) === whose)
    const shown = p ? allOf(p) : [d.together, ...panels]
    const pick = node("select", null, { "aria-label": "Which curves" })
    pick.append(node("option", "every class, its own curve", { value: "own" }))
    for (const each of panels) if (each.lines.length) pick.append(node("option", `true class ${each.name}, all lines`, { value: each.id }))
    pick.value = whose
    pick.onchange = () => { whose = pick.value; drawTable(); tables.querySelector("select").focus() }
    const back = node("button", "Show as chart", { type: "button", class: "tab" })
    back.onclick = () => turn(false)
    const table = node("table"), head = node("tr"), body = node("tbody")
    table.append(node("caption", `${d.label}, ${p ? `images of ${p.name}, n ${p.n}` : "images of each class, and all images together"}; 95 % band in brackets. A figure${p ? "" : " of a class"} selects the images that are wrong there${p ? ", or predicted as the class of the column" : ""}.`))
    head.append(node("th", "Magnitude", { scope: "col" }))
    for (const q of shown) head.append(node("th", p ? q.name : `${q.name} · n ${(q.n ?? Math.max(...q.ns)).toLocaleString("en-US")}`, { scope: "col" }))
    d.x.forEach((_, k) => {
      const row = node("tr")
      row.append(node("th", d.xtexts[k], { scope: "row" }))
      for (const q of shown) {
        const cell = node("td"), title = wordsOf({ k, q }).join(". ")
        const go = q.ns ? node("b", two(q.y[k]), { title }) : node("button", two(q.y[k]), { type: "button", title })
        if (!q.ns) go.onclick = () => choose({ k, q })
        cell.append(go)
        if (q.lo?.[k] != null) cell.append(node("span", ` (${two(q.lo[k])}, ${two(q.hi[k])})`))
        row.append(cell)
      }
      body.append(row)
    })
    const top = node("thead")
    top.append(head)
    table.append(top, body)
    const bar = node("div", null, { class: "bar" }), wrap = node("div", null, { class: "tw" })
    bar.append(pick, back)
    wrap.append(table)
    tables.replaceChildren(bar, wrap)
  }
  function turn(to) {
    isTable = to
    draw()
    ;(to ? tables.querySelector(".tab") : $(".title .tab")).focus()
  }
  $(".title .tab").onclick = () => turn(true)

  // With very many classes one is named to see it; the server says which names begin so.
  let asking = 0
  find.oninput = () => { clearTimeout(asking); asking = setTimeout(() => model.send_msg({ find: find.value }), 150) }
  find.onchange = () => { if (find.value) model.send_msg({ show: find.value }) }
  function offer() {
    $("#found").replaceChildren(...model.curves_found.map((name) => { const item = document.createElement("option"); item.value = name; return item }))
  }

  // The line of the current magnitude is dragged in the overview; at most one message a frame.
  let dragging = false, isDragged = false, waiting = null
  const at = (event) => scale ? scale.back(event.clientX - over.getBoundingClientRect().left) : null
  function send(value) {
    if (value == null) return
    if (waiting === null) requestAnimationFrame(() => { model.send_msg({ now: waiting }); waiting = null })
    waiting = value
  }
  over.addEventListener("pointerdown", (event) => {
    isDragged = false
    if (!event.target.classList.contains("knob")) return
    dragging = true
    hush()
    over.setPointerCapture(event.pointerId)
  })
  over.addEventListener("pointermove", (event) => {
    if (!dragging) { show(event); return }
    isDragged = true
    send(at(event))
  })
  for (const end of ["pointerup", "pointercancel"]) over.addEventListener(end, () => { dragging = false })
  const near = (event) => hit(event, over, scale, [...(model.curves_data.overview || []), model.curves_data.together])
  over.addEventListener("click", (event) => {
    // The end of a drag chooses nothing, whatever lies there.
    if (isDragged) return
    const point = near(event)
    if (point && !point.q.ns) choose(point)
    else if (!event.target.classList.contains("knob")) send(point ? model.curves_data.x[point.k] : at(event))
  })

  function show(event) {
    const d = model.curves_data, value = at(event)
    if (value == null || !d.overview) return
    let k = 0
    d.x.forEach((x, i) => { if (Math.abs(x - value) < Math.abs(d.x[k] - value)) k = i })
    read.replaceChildren()
    const point = near(event)
    mark(point, over, scale)
    const head = document.createElement("b")
    head.textContent = d.xtexts[k]
    const [all] = lines({ k, q: d.together }), ink = document.createElement("i")
    ink.style.background = d.together.colour
    all.prepend(ink)
    read.append(head, all)
    const list = document.createElement("div")
    list.className = "rows"
    read.append(list)
    for (const q of [...d.overview].sort((a, b) => (b.y[k] ?? 0) - (a.y[k] ?? 0)).slice(0, 12)) {
      const row = document.createElement("div"), swatch = document.createElement("i")
      swatch.style.background = q.colour
      row.append(swatch, document.createTextNode(`${q.name} ${q.y[k] == null ? "–" : q.y[k].toFixed(2)}`))
      list.append(row)
    }
    if (point && !point.q.ns) read.append(...lines(point))
    if (!read.matches(":popover-open")) read.showPopover()
    // Beside the chart that it speaks of, never over it; under it where there is no room beside.
    const chart = over.getBoundingClientRect()
    const isBeside = chart.right + 10 + read.offsetWidth <= innerWidth - 8
    const left = isBeside ? chart.right + 10 : chart.left, top = isBeside ? chart.top : chart.bottom + 6
    read.style.left = `${left}px`
    read.style.top = `${Math.max(8, Math.min(top, innerHeight - read.offsetHeight - 8))}px`
  }
  over.addEventListener("pointerleave", hush)

  model.on("curves_data", draw)
  model.on("curves_now", draw)
  model.on("curves_framed", draw)
  model.on("curves_said", draw)
  model.on("curves_found", offer)
  const seen = new ResizeObserver(draw)
  seen.observe(over)
  seen.observe(small)
  model.on("remove", () => seen.disconnect())
  draw()
}
