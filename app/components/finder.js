// The finder: filters and the classes' fragility on the left, the images that match on the right.
const VERDICTS = [["any", "Any"], ["right", "Right"], ["wrong", "Wrong"]]

function radios(label, options, pick) {
  const buttons = options.map(([value, text]) =>
    h("button", { type: "button", role: "radio", "data-value": value, onclick: () => pick(value) }, text))
  const group = h("div", { class: "seg", role: "radiogroup", "aria-label": label }, buttons)
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
    if (!step) return
    event.preventDefault()
    const at = buttons.findIndex((b) => b.getAttribute("aria-checked") === "true")
    const next = buttons[(at + step + buttons.length) % buttons.length]
    next.focus()
    pick(next.dataset.value)
  })
  const set = (value) => buttons.forEach((b) => {
    const on = b.dataset.value === value
    b.setAttribute("aria-checked", String(on))
    b.tabIndex = on ? 0 : -1
  })
  return { node: group, set }
}

function fill(list, options, value) {
  const key = JSON.stringify(options)
  if (list.dataset.key !== key) {
    list.dataset.key = key
    list.replaceChildren(...options.map((o) => h("option", { value: o.value }, o.label)))
  }
  list.value = value
}

function form(model, send) {
  const set = (name, value) => send({ kind: "set", name, value })
  const ofClass = (name, label) => h("select", { "aria-label": label, "data-name": name, onchange: (event) => set(name, event.target.value === "any" ? null : Number(event.target.value)) })
  const truth = ofClass("true", "True class"), predicted = ofClass("predicted", "Predicted class")
  const verdict = radios("Right or wrong", VERDICTS, (value) => set("verdict", value))
  const bound = (name, label) => h("input", { type: "number", min: 0, max: 1, step: 0.05, "aria-label": label, "data-name": name, onchange: (event) => set(name, event.target.value === "" ? null : event.target.valueAsNumber) })
  const low = bound("low", "Confidence from"), high = bound("high", "Confidence to")
  const flips = h("select", { "aria-label": "Change whose smallest flip orders the images", "data-name": "flip", onchange: () => set("order", flips.value) })
  const order = h("select", { "aria-label": "Order", "data-name": "order", onchange: () => set("order", order.value === "flip" ? flips.value : order.value) },
    h("option", { value: "confidence" }, "least confident"), h("option", { value: "margin" }, "smallest margin"), h("option", { value: "flip" }, "smallest flip"))
  const why = h("span"), command = h("code")
  const none = h("p", { class: "mut why" }, why, " ", command)
  const reset = h("button", { class: "btn txt", type: "button", "data-action": "reset", onclick: () => send({ kind: "reset" }) }, "Reset filters")
  const row = (label, ...parts) => h("div", { class: "row" }, h("span", { class: "k" }, label), h("div", { class: "parts" }, parts))
  const flipRow = row("of", flips)
  const node = h("div", { class: "form", role: "group", "aria-label": "Filters and order" },
    row("True class", truth), row("Predicted", predicted), row("Prediction", verdict.node),
    row("Confidence", low, h("span", { class: "mut" }, "to"), high), row("Order", order), flipRow, none, h("div", { class: "row" }, h("span", { class: "k" }), reset))
  function draw() {
    const f = model.finder_form
    const any = [{ value: "any", label: "any" }]
    fill(truth, any.concat(f.truths || []), f.true ?? "any")
    fill(predicted, any.concat(f.classes || []), f.predicted ?? "any")
    verdict.set(f.verdict)
    low.value = f.low
    high.value = f.high
    const isFlip = String(f.order || "").startsWith("flip:")
    order.value = isFlip ? "flip" : f.order
    order.querySelector("[value=flip]").disabled = !(f.flips || []).length
    fill(flips, f.flips || [], isFlip ? f.order : flips.value || ((f.flips || [])[0] || {}).value)
    flipRow.hidden = !isFlip
    none.hidden = !f.why
    why.textContent = f.why ? `Smallest flip: ${f.why} Run` : ""
    command.textContent = f.command || ""
    reset.disabled = !f.can_reset
  }
  return { node, draw }
}

function classTable(model, send) {
  const title = h("h3"), extent = h("p", { class: "mut" }), help = h("p", { class: "mut" })
  const head = h("tr"), body = h("tbody")
  const table = h("table", {}, h("thead", {}, head), body)
  const node = h("section", { class: "classes" }, title, extent, h("div", { class: "tb" }, table), help)
  const row = (r) => h("tr", { class: r.is_chosen ? "on" : "", onclick: () => send({ kind: "set", name: "true", value: r.is_chosen ? null : r.id }) },
    h("td", {}, h("button", { type: "button", class: "cl", "aria-pressed": String(r.is_chosen), title: r.is_chosen ? "Show every true class" : `Show only true ${r.name}` }, h("span", { class: "sw", style: `background:${r.colour}` }), h("span", { class: "nm" }, r.name))),
    h("td", {}, r.n), h("td", { title: r.never }, r.share), r.distances.map((d) => h("td", {}, d)))
  function draw() {
    const c = model.finder_classes
    node.hidden = !c.title
    if (!c.title) return
    title.textContent = c.title
    extent.textContent = c.extent
    help.textContent = c.help
    table.setAttribute("aria-label", `${c.title} ${c.extent}`)
    head.replaceChildren(...["class", "n", "flip", ...c.heads].map((text) => h("th", { scope: "col" }, text)))
    const had = node.getRootNode().activeElement
    const at = had && body.contains(had) ? [...body.children].indexOf(had.closest("tr")) : -1
    body.replaceChildren(...c.rows.map(row))
    if (at >= 0 && body.children[at]) body.children[at].querySelector("button").focus()
  }
  return { node, draw }
}

function tile(item, send) {
  return h("button", { class: `tile${item.is_wrong ? " bad" : ""}`, type: "button", role: "option", "aria-selected": "false", tabindex: -1, title: item.title, "aria-label": item.title, "data-image": item.id, onclick: () => send({ kind: "open", value: item.id }) },
    h("span", { class: "pic" }, h("img", { src: item.url, alt: "", loading: "lazy", draggable: "false" })),
    h("span", { class: "cap" }, h("b", {}, item.classes), h("span", { class: "mut" }, item.value)))
}

// Arrows walk the tiles as they lie; Enter is the button's own.
function walk(list) {
  list.addEventListener("keydown", (event) => {
    const tiles = [...list.children]
    const at = tiles.indexOf(event.target.closest(".tile"))
    if (at < 0) return
    const wide = tiles.findIndex((t) => t.offsetTop > tiles[0].offsetTop)
    const columns = wide < 0 ? tiles.length : wide
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: tiles.length - 1 }[event.key]
    if (to === undefined) return
    event.preventDefault()
    const next = tiles[to]
    if (!next) return
    tiles[at].tabIndex = -1
    next.tabIndex = 0
    next.focus()
  })
}

export function render({ model, el }) {
  const send = (message) => model.send_msg(message)
  const controls = form(model, send), classes = classTable(model, send)
  const n = h("b"), of = h("span", { class: "mut" }), order = h("span", { class: "mut how" })
  const count = h("div", { class: "count", role: "status" }, h("span", {}, n, " ", of), order)
  const turn = (step, label, text) => h("button", { class: "btn", type: "button", "aria-label": label, title: label, onclick: () => send({ kind: "page", value: model.finder_found.page + step }) }, text)
  const before = turn(-1, "Previous images", "‹"), after = turn(1, "Next images", "›"), range = h("span", { class: "mut" })
  const pager = h("div", { class: "pager" }, before, range, after)
  const choose = h("button", { class: "btn main", type: "button", "data-action": "select", onclick: () => send({ kind: "select" }) })
  const list = h("div", { class: "tiles", role: "listbox", "aria-label": "Images that match; Enter puts one under test" })
  const headline = h("b"), words = h("p")
  const notice = h("div", { class: "notice", role: "status" }, h("div", {}, headline, words, h("button", { class: "btn", type: "button", "data-action": "reset", onclick: () => send({ kind: "reset" }) }, "Reset filters")))
  el.append(h("div", { class: "all" },
    h("div", { class: "side" }, controls.node, classes.node),
    h("div", { class: "found" }, h("div", { class: "top" }, count, h("span", { class: "sp" }), pager, choose), list, notice)))
  walk(list)
  // The keys of the page behind the dialog stay silent; Esc closes the dialog.
  el.addEventListener("keydown", (event) => { if (event.key !== "Escape") event.stopPropagation() })

  let drawn = ""
  function found() {
    const f = model.finder_found
    n.textContent = f.n || ""
    of.textContent = f.of || ""
    order.textContent = f.order || ""
    const isEmpty = Boolean(f.headline)
    notice.hidden = !isEmpty
    list.hidden = isEmpty
    headline.textContent = f.headline || ""
    words.textContent = f.words || ""
    choose.hidden = isEmpty
    choose.textContent = `Select these ${f.n}`
    pager.hidden = isEmpty || !f.last
    range.textContent = f.range || ""
    before.disabled = !f.page
    after.disabled = f.page >= f.last
    const key = JSON.stringify(f.items || [])
    if (key === drawn) return
    drawn = key
    list.replaceChildren(...(f.items || []).map((item) => tile(item, send)))
    if (list.firstChild) list.firstChild.tabIndex = 0
    list.scrollTop = 0
  }
  onceAFrame(model, ["finder_form"], controls.draw)
  onceAFrame(model, ["finder_classes"], classes.draw)
  onceAFrame(model, ["finder_found"], found)
  model.on("msg:custom", (message) => { if (message.again) controls.draw() })
  controls.draw()
  classes.draw()
  found()
}
