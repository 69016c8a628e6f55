// Overview of all classes and one small panel for each, as SVG.
// Names at the right end of the lines, spread so that none lies on another.
function endLabels(lines, height, size, framed) {
  const gap = (size + 1) / Math.max(height, 1)
  const list = lines.map((q) => ({ q, y: q.y.filter((v) => v != null).at(-1) ?? 0 })).sort((a, b) => b.y - a.y)
  const ys = list.map((e) => Math.min(e.y, 0.98))
  for (let k = 1; k < ys.length; k++) ys[k] = Math.min(ys[k], ys[k - 1] - gap)
  if (ys.length && ys.at(-1) < 0) {
    ys[ys.length - 1] = 0
    for (let k = ys.length - 2; k >= 0; k--) ys[k] = Math.max(ys[k], ys[k + 1] + gap)
  }
  return list.map((e, k) => ({ text: e.q.name.length > 11 ? e.q.name.slice(0, 10) + "…" : e.q.name, y: ys[k], from: e.y, colour: e.q.colour, size, bold: e.q.id === framed }))
}

export function render({ model, el }) {
  el.innerHTML = `<div class="grid"><div class="over"><div class="title"><b></b><span></span></div><div class="pl"></div></div><div class="sm"></div></div><div class="read" popover="manual"></div>`
  const $ = (s) => el.querySelector(s)
  const over = $(".over .pl"), small = $(".sm"), read = $(".read")
  let scale = null

  function drawOverview() {
    const d = model.curves_data
    $(".title b").textContent = d.title || ""
    $(".title span").textContent = d.subtitle || ""
    if (!d.overview) { over.replaceChildren(); return }
    const framed = model.curves_framed, tight = innerWidth < 1600
    const size = tight ? 10.5 : 11.5
    scale = chart(over, {
      x: d.x, margin: { l: 24, r: 74, t: 7, b: 15 }, xticks: d.ticks, yticks: [0, 0.5, 1], identity: d.identity, now: model.curves_now, drag: true, label: `${d.label}, all classes`,
      series: [...d.overview].sort((a, b) => (a.id === framed) - (b.id === framed)).map((q) => ({ ...q, faint: q.id !== framed, width: q.id === framed ? 2.8 : 1.5 })),
      labels: endLabels(d.overview, over.clientHeight - 22, size, framed),
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
      cell.onclick = () => model.send_msg({ class: Number(cell.dataset.class) })
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
      cell.title = `${p.name}: ${p.note}`
      const lastRow = k >= panels.length - columns
      chart(cell.querySelector(".pl"), {
        x: d.x, margin: { l: tight ? 3 : k % columns ? 8 : 24, r: 3, t: 5, b: tight ? 4 : lastRow ? 15 : 6 }, xticks: tight || !lastRow ? [] : d.ticks, yticks: tight ? [0, 1] : [0, 0.5, 1], identity: d.identity, now: model.curves_now, label: `${d.label}, true class ${p.name}, ${p.note}`,
        series: [...p.lines.map((q) => ({ ...q, width: q.dash ? 1.5 : 0.9 })), { y: p.y, lo: p.lo, hi: p.hi, colour: p.colour, width: 2.3 }],
        labels: p.lines.filter((q) => q.mark).map((q) => ({ text: q.name, x: q.mark[0], y: Math.min(q.mark[1], 0.78), dy: -7, size: 10.5 })),
      })
    })
  }
  function draw() { drawOverview(); drawPanels() }

  // The line of the current magnitude is dragged in the overview; at most one message a frame.
  let dragging = false, waiting = null
  const at = (event) => scale ? scale.back(event.clientX - over.getBoundingClientRect().left) : null
  function send(value) {
    if (value == null) return
    if (waiting === null) requestAnimationFrame(() => { model.send_msg({ now: waiting }); waiting = null })
    waiting = value
  }
  over.addEventListener("pointerdown", (event) => {
    if (!event.target.classList.contains("knob")) return
    dragging = true
    over.setPointerCapture(event.pointerId)
  })
  over.addEventListener("pointermove", (event) => {
    if (dragging) send(at(event)); else show(event)
  })
  over.addEventListener("pointerup", () => { dragging = false })
  over.addEventListener("click", (event) => { if (!event.target.classList.contains("knob")) send(at(event)) })

  function show(event) {
    const d = model.curves_data, value = at(event)
    if (value == null || !d.overview) return
    let k = 0
    d.x.forEach((x, i) => { if (Math.abs(x - value) < Math.abs(d.x[k] - value)) k = i })
    read.replaceChildren()
    const head = document.createElement("b")
    head.textContent = d.xtexts[k]
    read.append(head)
    for (const q of [...d.overview].sort((a, b) => (b.y[k] ?? 0) - (a.y[k] ?? 0)).slice(0, 12)) {
      const row = document.createElement("div"), swatch = document.createElement("i")
      swatch.style.background = q.colour
      row.append(swatch, document.createTextNode(`${q.name} ${q.y[k] == null ? "–" : q.y[k].toFixed(2)}`))
      read.append(row)
    }
    if (!read.matches(":popover-open")) read.showPopover()
    read.style.left = `${Math.min(event.clientX + 14, innerWidth - read.offsetWidth - 8)}px`
    read.style.top = `${Math.max(8, Math.min(event.clientY - read.offsetHeight / 2, innerHeight - read.offsetHeight - 8))}px`
  }
  over.addEventListener("pointerleave", () => { if (read.matches(":popover-open")) read.hidePopover() })

  model.on("curves_data", draw)
  model.on("curves_now", draw)
  model.on("curves_framed", draw)
  const seen = new ResizeObserver(draw)
  seen.observe(over)
  seen.observe(small)
  model.on("remove", () => seen.disconnect())
  draw()
}
