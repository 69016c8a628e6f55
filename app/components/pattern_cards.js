// The list of recommended patterns, and above it the images of a chosen filter.
function arcs(shares, inner, outer) {
  const total = shares.reduce((sum, s) => sum + s.n, 0)
  const real = shares.filter((s) => s.n > 0)
  if (real.length === 1) return [svg("circle", { cx: 31, cy: 31, r: (inner + outer) / 2, fill: "none", style: `stroke:${real[0].colour}`, "stroke-width": outer - inner })]
  let from = -Math.PI / 2
  return real.map((s) => {
    const to = from + (2 * Math.PI * s.n) / total
    const at = (r, a) => `${(31 + r * Math.cos(a)).toFixed(2)} ${(31 + r * Math.sin(a)).toFixed(2)}`
    const big = to - from > Math.PI ? 1 : 0
    const d = `M${at(outer, from)}A${outer} ${outer} 0 ${big} 1 ${at(outer, to)}L${at(inner, to)}A${inner} ${inner} 0 ${big} 0 ${at(inner, from)}Z`
    from = to
    return svg("path", { d, style: `fill:${s.colour};stroke:var(--vt-surface)`, "stroke-width": 1 })
  })
}
const spell = (shares) => shares.filter((s) => s.n > 0).slice(0, 4).map((s) => `${s.name} ${s.n}`).join(", ")

function mix(card) {
  const words = `True classes: ${spell(card.truth)}. Predicted: ${spell(card.predicted)}.`
  if (!card.is_bars) {
    const pie = svg("svg", { width: 62, height: 62, viewBox: "0 0 62 62", role: "img", "aria-label": words })
    const title = svg("title")
    title.textContent = words
    pie.append(title, ...arcs(card.truth, 0.01, 21.5), ...arcs(card.predicted, 24, 29.5))
    return pie
  }
  const total = card.truth.reduce((sum, s) => sum + s.n, 0)
  return h("div", { class: "list", role: "img", "aria-label": words, title: words }, card.truth.slice(0, 4).map((s) =>
    h("span", {}, h("i", { style: `width:${(100 * s.n) / total}%;background:${s.colour}` }), h("em", {}, s.name))))
}

// Between two chips: a mark, or one small outline for each layer that is skipped.
function between(chip) {
  if (!chip.skipped.length) return h("span", { class: "gt", "aria-hidden": "true" }, "›")
  const words = `skips ${chip.skipped.map((layer) => layer.name).join(", ")}`
  return h("span", { class: "skip", role: "img", "aria-label": words, title: words }, chip.skipped.map((layer) => h("i", { style: `border-color:${layer.colour}` })))
}
const chips = (items) => items.map((c, i) => [i ? between(c) : null, h("span", { class: `flt${c.is_chosen ? " chosen" : ""}`, style: `border-left-color:${c.colour}`, title: c.title }, c.text)]).flat()

function cardNode(card, isOpen, send) {
  const figures = [
    h("span", { title: card.count_help || null }, h("b", {}, card.count), card.of),
    card.in_all ? h("span", { title: card.count_help || null }, card.in_all) : null,
    card.lift ? h("span", {}, h("b", {}, card.lift)) : null,
    card.q ? h("span", {}, card.q) : null,
    card.like ? h("span", { class: "like", title: card.like_help }, card.like) : null,
    card.wrong ? h("span", { class: card.is_raised ? "err raised" : "err", title: card.wrong_help }, "wrong ", card.is_raised ? "▲ " : "", h("b", {}, card.wrong), ` · class ${card.expected}`) : null,
  ]
  const head = h("div", { class: "hd", tabindex: 0, role: "button", "aria-expanded": String(isOpen), "aria-label": `Pattern ${card.spoken}, ${card.badge}` },
    h("div", { class: "path" }, chips(card.chips)), h("span", { class: "tag", title: card.badge_help }, card.badge, card.badge_range ? h("span", {}, ` ${card.badge_range}`) : null))
  const node = h("article", { class: `pc${isOpen ? " on" : ""}`, "data-id": card.id, "aria-label": `Pattern ${card.spoken}` },
    head,
    thumbRow(card.images.map((i) => thumb(i, send)), `Members of pattern ${card.spoken}`),
    h("div", { class: "pie" }, mix(card)),
    h("div", { class: "ev" }, figures),
    card.why ? h("div", { class: "why" }, card.why) : null,
    isOpen ? h("div", { class: "more", hidden: true, onclick: (event) => event.stopPropagation() }) : null,
    isOpen ? h("div", { class: "ablate-here" }) : null,
    isOpen ? h("div", { class: "acts" }, h("button", { class: "btn", type: "button", "data-action": "select", onclick: (event) => { event.stopPropagation(); send({ kind: "select", id: card.id }) } }, card.select), h("span", { class: "mut" }, spell(card.truth))) : null)
  const open = () => send({ kind: "open", id: isOpen ? -1 : card.id })
  node.addEventListener("click", open)
  head.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open() }
    const next = { ArrowDown: node.nextElementSibling, ArrowUp: node.previousElementSibling }[event.key]
    if (next && next.classList.contains("pc")) { event.preventDefault(); event.stopPropagation(); next.querySelector(".hd").focus() }
  })
  return node
}

export function render({ model, el }) {
  const send = (message) => model.send_msg(message)
  const title = h("h3")
  const detail = h("span", { class: "mut count" })
  const order = h("select", { "aria-label": "Which patterns", onchange: () => send({ kind: "order", value: order.value }) })
  const cell = h("select", { "aria-label": "Which errors, true → predicted", onchange: () => send({ kind: "cell", value: cell.value }) })
  const skips = h("button", { class: "btn", type: "button", "data-action": "skips", title: "Patterns whose filters need not be of neighbouring layers", onclick: () => send({ kind: "skips", value: skips.getAttribute("aria-pressed") !== "true" }) }, "Skip layers")
  const bar = h("div", { class: "bar" }, h("div", { class: "what" }, title, detail), cell, skips, order)
  const note = h("p", { class: "note mut" })
  const sum = h("summary"), rest = h("ul", { "aria-label": "What finds these errors without a pattern" })
  const notes = h("details", { class: "notes" }, sum, rest)
  const strip = h("div", { class: "strip" })
  const list = h("div", { class: "cards" })
  const end = h("div", { class: "end", "aria-hidden": "true" })
  const scroll = h("div", { class: "scroll" }, list, end)
  const head = h("b"), words = h("p"), command = h("code")
  const cure = h("button", { class: "btn", type: "button", onclick: () => send({ kind: "cure" }) })
  const notice = h("div", { class: "notice", role: "status" }, h("div", {}, head, words, command, cure))
  const progress = h("div", { class: "prog", "aria-hidden": "true" }, h("i"))
  el.append(h("div", { class: "all" }, progress, strip, bar, note, notes, notice, scroll))

  let drawn = []
  const pictures = () => {
    const s = model.card_strip
    strip.hidden = !s.label
    if (!s.label) { strip.replaceChildren(); return }
    strip.replaceChildren(...filterCard(s, send), h("div", { class: "ablate-here" }))
    ablation()
  }
  function options(select, offered, value) {
    const key = JSON.stringify(offered || [])
    if (select.dataset.key !== key) {
      select.dataset.key = key
      select.replaceChildren(...(offered || []).map((o) => h("option", { value: o.value }, o.label)))
    }
    select.value = value || ""
    select.hidden = !(offered || []).length
  }
  function top() {
    const v = model.card_head
    title.textContent = v.title || ""
    detail.textContent = v.detail || ""
    options(order, v.orders, v.order)
    options(cell, v.cells, v.cell)
    skips.hidden = v.skips === undefined
    skips.setAttribute("aria-pressed", String(Boolean(v.skips)))
    note.hidden = !v.note
    note.textContent = v.note || ""
    note.title = v.note_help ? `${v.note}. ${v.note_help}.` : v.note || ""
    const [first, ...others] = v.notes || []
    notes.hidden = !first
    // Closed again for other errors; drawn anew for the same ones it stays as it is.
    if (notes.hidden) notes.open = false
    sum.textContent = sum.title = first || ""
    notes.classList.toggle("bare", !others.length)
    rest.replaceChildren(...others.map((words) => h("li", { title: words }, words)))
    notice.hidden = !v.headline
    scroll.hidden = Boolean(v.headline)
    head.textContent = v.headline || ""
    words.textContent = v.words || ""
    command.hidden = !v.command
    command.textContent = v.command || ""
    cure.hidden = !v.cure
    cure.textContent = v.cure || ""
    progress.classList.toggle("on", Boolean(v.is_computing))
  }
  // Cards of the same patterns stay where they are, and only those that say something else are
  // drawn anew; another list starts at the top again. The keyboard stays on its card and image.
  function cards() {
    const items = model.card_items, texts = items.map((c) => JSON.stringify(c))
    const before = [...list.children].map((node) => node.dataset.id)
    const isSame = before.length && before.length <= items.length && before.every((id, i) => id === String(items[i].id))
    const held = heldPlace()
    if (!isSame) { list.replaceChildren(); scroll.scrollTop = 0; drawn = [] }
    items.forEach((card, i) => {
      if (drawn[i] === texts[i]) return
      const node = cardNode(card, card.id === model.card_open, send)
      if (i < drawn.length) list.children[i].replaceWith(node); else list.append(node)
    })
    drawn = texts
    more()
    held()
    end.hidden = items.length >= model.card_total
    watch.unobserve(end)
    if (!end.hidden) watch.observe(end)
  }
  // Remembers where the keyboard is in the list; the result takes it there again.
  function heldPlace() {
    const at = el.getRootNode().activeElement, node = at && list.contains(at) ? at.closest(".pc") : null
    if (!node) return () => {}
    const { id } = node.dataset, { image } = at.dataset
    return () => {
      if (at.isConnected) return
      const fresh = [...list.children].find((one) => one.dataset.id === id)
      const target = fresh && ((image && fresh.querySelector(`.th[data-image="${image}"]`)) || fresh.querySelector(".hd"))
      if (target) target.focus({ preventScroll: true })
    }
  }
  function opened() {
    const had = list.contains(el.getRootNode().activeElement)
    for (const node of [...list.children]) {
      const card = model.card_items.find((c) => String(c.id) === node.dataset.id)
      const isOpen = Boolean(card) && card.id === model.card_open
      if (card && node.classList.contains("on") !== isOpen) {
        const fresh = cardNode(card, isOpen, send)
        node.replaceWith(fresh)
        if (isOpen) { if (had) fresh.querySelector(".hd").focus(); fresh.scrollIntoView({ block: "nearest" }) }
      }
    }
    more()
  }
  // What is drawn anew under the keyboard leaves it where it was.
  function keepFocus(place, draw) {
    const at = [...place.querySelectorAll("button, select")].indexOf(el.getRootNode().activeElement)
    draw()
    if (at >= 0) place.querySelectorAll("button, select")[at]?.focus()
  }
  // The open card shows a page of its members, their mean and what they look like.
  function more() {
    const v = model.card_more, node = list.querySelector(".pc.on")
    ablation()
    if (!node || node.dataset.id !== String(v.id)) return
    fillRow(node.querySelector(".tg"), v.images.map((i) => thumb(i, send)))
    const place = node.querySelector(".more")
    place.hidden = false
    keepFocus(place, () => place.replaceChildren(...moreNodes(v, model.card_evidence, send)))
  }
  // Drawn anew where it stands, so that a choice under way elsewhere in the card is kept.
  function ablation() {
    const open = list.querySelector(".pc.on .ablate-here"), filters = strip.querySelector(".ablate-here")
    const draw = (place, target) => place && keepFocus(place, () => place.replaceChildren(ablationNode(target, model.card_ablation, send, few(target))))
    draw(open, "pattern")
    draw(filters, "filters")
  }
  const few = (target) => (target === "filters" ? model.card_strip.few : model.card_more.id === model.card_open && model.card_more.few) || {}
  const watch = new IntersectionObserver((entries) => { if (entries.some((e) => e.isIntersecting)) send({ kind: "more", have: model.card_items.length }) }, { root: scroll, rootMargin: "300px" })
  model.on("remove", () => watch.disconnect())
  onceAFrame(model, ["card_items", "card_total"], cards)
  onceAFrame(model, ["card_open"], opened)
  model.on("card_more", more)
  model.on("card_evidence", more)
  model.on("card_ablation", ablation)
  model.on("card_head", top)
  model.on("card_strip", pictures)
  top()
  pictures()
  cards()
}
