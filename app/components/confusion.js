// The confusion matrix: rows true, columns predicted. A cell, a row or a column selects its images.
const MEASURES = [["count", "Count"], ["share", "Row %"], ["selected", "Selected"]]
const short = (n) => n < 1000 ? String(n) : n < 9950 ? `${(n / 1000).toFixed(1)}k` : n < 999500 ? `${Math.round(n / 1000)}k` : `${(n / 1e6).toFixed(1)}M`
const perCent = (share) => { const p = 100 * share; return p === 0 || p >= 9.95 ? `${Math.round(p)} %` : `${p.toFixed(1)} %` }
const images = (n) => `${whole(n)} image${n === 1 ? "" : "s"}`
const how = (event) => event.shiftKey ? "add" : event.altKey ? "subtract" : ""

function choice(label, options, pick) {
  const buttons = options.map(([value, text]) =>
    h("button", { type: "button", role: "radio", "data-value": value, onclick: () => pick(value) }, text))
  const node = h("div", { class: "seg", role: "radiogroup", "aria-label": label }, buttons)
  node.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
    if (!step) return
    event.preventDefault()
    event.stopPropagation()
    const able = buttons.filter((b) => !b.disabled)
    const next = able[(able.findIndex((b) => b.tabIndex === 0) + step + able.length) % able.length]
    pick(next.dataset.value)
    next.focus()
  })
  const set = (value, disabled = []) => buttons.forEach((b) => {
    const on = b.dataset.value === value
    b.disabled = disabled.includes(b.dataset.value)
    b.setAttribute("aria-checked", String(on))
    b.tabIndex = on ? 0 : -1
  })
  return { node, set }
}

export function render({ model, el }) {
  const send = (message) => model.send_msg(message)
  let measure = "count", at = null, picked = null

  const extent = h("span", { class: "mut extent" }), part = h("span", { class: "mut" })
  const measures = choice("What the cells say", MEASURES, (value) => { measure = value; draw() })
  const names = h("datalist", { id: "confusion-names" })
  const search = h("input", { type: "search", class: "find", placeholder: "Find a class", "aria-label": "Find a class in the matrix", list: "confusion-names", onchange: (event) => send({ kind: "search", value: event.target.value }) })
  search.addEventListener("keydown", (event) => { if (event.key !== "Escape" || search.value) event.stopPropagation() })
  search.addEventListener("search", () => send({ kind: "search", value: search.value }))
  const head = h("div", { class: "head" }, h("h3", {}, "Confusion"), extent)
  const tools = h("div", { class: "tools" }, measures.node, part, h("span", { class: "sp" }), search, names)
  const grid = h("table", { role: "grid", "aria-multiselectable": "true" })
  const said = h("span", { class: "now", role: "status" })
  const explain = h("button", { type: "button", class: "btn", "data-action": "explain", title: "Show in Network which patterns stand behind these errors", onclick: () => picked && send({ kind: "explain", true: picked[0], predicted: picked[1] }) }, "Behind these errors")
  const strip = h("div", { class: "strip" }, said, explain)
  const list = h("div", { class: "list", role: "list", "aria-label": "Largest errors, true → predicted" })
  const largestWords = h("span", { class: "mut" })
  const largest = h("div", { class: "largest" }, h("h3", {}, "Largest errors", largestWords), list)
  const headline = h("b"), words = h("p")
  const notice = h("div", { class: "notice", role: "status" }, h("div", {}, headline, words))
  const body = h("div", { class: "body" }, tools, h("div", { class: "box" }, grid), strip, largest)
  el.append(h("section", { class: "all", "aria-label": "Confusion matrix" }, head, body, notice))

  const cellOf = (row, column) => grid.querySelector(`[data-at="${row},${column}"]`)
  const canExplain = (d, r, c) => r !== c && d.explained.some(([t, p]) => t === d.classes[r].id && p === d.classes[c].id)

  // Row 0 and column 0 are the heads.
  function words_of(d, row, column) {
    if (row === 0) return `column of images predicted ${d.classes[column - 1].name}`
    const r = row - 1, cls = d.classes[r]
    if (column === 0) return `row of images whose true class is ${cls.name}, ${images(cls.n)}`
    const n = d.counts[r][column - 1], k = d.selected.length ? d.selected[r][column - 1] : null
    const share = cls.n ? `, ${perCent(n / cls.n)} of true ${cls.name}` : ""
    return `true ${cls.name}, predicted ${d.classes[column - 1].name}: ${images(n)}${share}${k === null ? "" : `; ${whole(k)} of ${whole(n)} selected`}`
  }

  function show(row, column) {
    const d = model.confusion_data
    picked = null
    if (row > 0 && column > 0) picked = [d.classes[row - 1].id, d.classes[column - 1].id]
    const text = words_of(d, row, column)
    said.textContent = text[0].toUpperCase() + text.slice(1)
    explain.hidden = !(picked && canExplain(d, row - 1, column - 1))
  }

  function move(row, column, focus) {
    const before = at && cellOf(...at), next = cellOf(row, column)
    if (!next) return
    if (before) before.tabIndex = -1
    next.tabIndex = 0
    at = [row, column]
    show(row, column)
    if (focus) next.focus()
  }

  function act(row, column, event) {
    const d = model.confusion_data
    const message = { kind: "select", how: how(event) }
    if (row > 0) message.true = d.classes[row - 1].id
    if (column > 0) message.predicted = d.classes[column - 1].id
    move(row, column, true)
    send(message)
  }

  grid.addEventListener("click", (event) => {
    const cell = event.target.closest("[data-at]")
    if (cell) act(...cell.dataset.at.split(",").map(Number), event)
  })
  grid.addEventListener("keydown", (event) => {
    const cell = event.target.closest("[data-at]")
    if (!cell) return
    const [row, column] = cell.dataset.at.split(",").map(Number)
    const last = model.confusion_data.classes.length
    const to = {
      ArrowRight: [row, column + 1], ArrowLeft: [row, column - 1], ArrowDown: [row + 1, column], ArrowUp: [row - 1, column],
      Home: [row, event.ctrlKey ? 1 : row ? 0 : 1], End: [event.ctrlKey ? last : row, last],
    }[event.key]
    if (to) move(...to, true)
    else if (event.key === "Enter" || event.key === " ") act(row, column, event)
    else return
    event.preventDefault()
    event.stopPropagation()
  })
  grid.addEventListener("focusin", (event) => {
    const cell = event.target.closest("[data-at]")
    if (cell) move(...cell.dataset.at.split(",").map(Number), false)
  })

  function text(d, r, c) {
    const n = d.counts[r][c]
    if (bySelection(d)) return d.selected[r][c] ? short(d.selected[r][c]) : ""
    if (!n) return ""
    return measure === "share" ? perCent(n / d.classes[r].n).replace(" %", "") : short(n)
  }

  function classHead(d, k, isRow) {
    const c = d.classes[k], place = isRow ? `${k + 1},0` : `0,${k + 1}`
    const title = `${c.name}: select ${isRow ? "the images of this true class" : "what is predicted so"} (Shift adds, Alt takes away)`
    return h("th", { scope: isRow ? "row" : "col", role: isRow ? "rowheader" : "columnheader", "data-at": place, tabindex: -1, title, "aria-label": words_of(d, isRow ? k + 1 : 0, isRow ? 0 : k + 1) },
      h("span", { class: "hd" }, h("i", { class: "sw", style: `background:${c.colour}` }), h("span", { class: "nm" }, c.name)))
  }

  const bySelection = (d) => measure === "selected" && d.selected.length > 0

  // The shade says what the figures say: the selected images, else the share of the true class.
  function shadeOf(d, r, c) {
    if (bySelection(d)) return d.selected[r][c]
    return d.classes[r].n ? d.counts[r][c] / d.classes[r].n : 0
  }

  function cell(d, r, c, most) {
    const n = d.counts[r][c], k = d.selected.length ? d.selected[r][c] : null
    const shade = shadeOf(d, r, c)
    const kind = [r === c ? "diag" : "err", k === 0 && "out", k && "in"].filter(Boolean).join(" ")
    const tint = r === c ? 0 : Math.round(6 + 40 * shade / most)
    const node = h("td", { role: "gridcell", class: kind, "data-at": `${r + 1},${c + 1}`, tabindex: -1, title: words_of(d, r + 1, c + 1), "aria-label": words_of(d, r + 1, c + 1), "aria-selected": k === null ? null : String(n > 0 && k === n),
      style: r !== c && shade ? `background:color-mix(in srgb, var(--vt-wrong) ${tint}%, var(--vt-surface))` : "" }, text(d, r, c))
    if (k) node.append(h("i", { class: "mark", style: `width:${Math.max(8, 100 * k / n)}%` }))
    return node
  }

  function table(d) {
    const m = d.classes.length
    let most = bySelection(d) ? 1 : 0.02, worst = [0, 0, -1]
    for (let r = 0; r < m; r++) for (let c = 0; c < m; c++) if (r !== c && d.classes[r].n) {
      most = Math.max(most, shadeOf(d, r, c))
      if (d.counts[r][c] > worst[2]) worst = [r + 1, c + 1, d.counts[r][c]]
    }
    grid.setAttribute("aria-label", `True class by predicted class, ${d.extent}`)
    grid.classList.toggle("many", m > 10)
    const top = h("tr", { role: "row" }, h("td", { class: "corner", "aria-hidden": "true" }, h("span", {}, "true ↓"), h("span", {}, "predicted →")), d.classes.map((_, k) => classHead(d, k, false)))
    const rows = d.classes.map((_, r) => h("tr", { role: "row" }, classHead(d, r, true), d.classes.map((_, c) => cell(d, r, c, most))))
    grid.replaceChildren(h("thead", {}, top), h("tbody", {}, rows))
    return worst
  }

  function line(d, item) {
    const pair = `${item.names[0]} → ${item.names[1]}`
    const chosen = item.k === null ? "" : `; ${whole(item.k)} of ${whole(item.n)} selected`
    const known = d.explained.some(([t, p]) => t === item.true && p === item.predicted)
    const open = h("button", { type: "button", class: "pair", title: `Select the ${images(item.n)} of ${item.names[0]} taken for ${item.names[1]} (Shift adds, Alt takes away)`, "aria-label": `${item.names[0]} taken for ${item.names[1]}: ${images(item.n)}, ${perCent(item.share)} of true ${item.names[0]}${chosen}`, onclick: (event) => send({ kind: "select", true: item.true, predicted: item.predicted, how: how(event) }) },
      h("span", { class: "who" }, pair), h("b", {}, whole(bySelection(d) ? item.k : item.n)), h("span", { class: "mut" }, bySelection(d) ? `of ${whole(item.n)}` : perCent(item.share)),
      h("span", { class: "bar", "aria-hidden": "true" }, item.k ? h("i", { class: "mark", style: `width:${Math.max(4, 100 * item.k / item.n)}%` }) : null))
    return h("div", { class: "line", role: "listitem" }, open,
      known ? h("button", { type: "button", class: "btn txt", title: `Behind these errors: which patterns stand behind ${item.names[0]} taken for ${item.names[1]}`, "aria-label": `Behind these errors, ${pair}`, onclick: () => send({ kind: "explain", true: item.true, predicted: item.predicted }) }, "Behind") : h("span"))
  }

  let shape = ""
  function draw() {
    const d = model.confusion_data
    const isEmpty = Boolean(d.headline) || !d.classes
    notice.hidden = !d.headline
    body.hidden = isEmpty
    headline.textContent = d.headline || ""
    words.textContent = d.words || ""
    extent.textContent = d.extent || ""
    if (isEmpty) return
    const hasSelection = d.selected.length > 0
    if (!hasSelection && measure === "selected") measure = "count"
    measures.set(measure, hasSelection ? [] : ["selected"])
    part.textContent = d.part || ""
    search.hidden = !d.part
    if (search !== search.getRootNode().activeElement) search.value = d.search || ""
    if (names.childElementCount !== d.all.length) names.replaceChildren(...d.all.map((name) => h("option", { value: name })))
    const had = grid.contains(grid.getRootNode().activeElement)
    const worst = table(d)
    const now = d.classes.map((c) => c.id).join()
    if (now !== shape || !at) at = [worst[0] || 1, worst[1] || 1]
    shape = now
    move(...at, had)
    const top = list.scrollTop
    const isSelected = bySelection(d), items = isSelected ? d.largest_selected : d.largest
    largestWords.textContent = ` true → predicted, ${isSelected ? "selected of all" : "share of the true class"}`
    const none = `No ${isSelected ? "selected " : ""}image is predicted wrong.`
    list.replaceChildren(...(items.length ? items.map((item) => line(d, item)) : [h("p", { class: "mut" }, none)]))
    list.scrollTop = top
  }
  onceAFrame(model, ["confusion_data"], draw)
  draw()
}
