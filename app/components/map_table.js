// The map as a table: one page of the images in view. Arrows walk it, Enter puts one under test.
export function render({ model, el }) {
  const send = (message) => model.send_msg(message)
  const n = h("b"), of = h("span", { class: "mut" })
  const back = h("button", { class: "btn", type: "button", onclick: () => send({ kind: "close" }) }, "Show as map")
  const caption = h("caption"), top = h("tr"), body = h("tbody")
  const wrap = h("div", { class: "tw" }, h("table", {}, caption, h("thead", {}, top), body))
  const turn = (step, label, text) => h("button", { class: "btn", type: "button", "aria-label": label, title: label, onclick: () => page(step) }, text)
  const before = turn(-1, "Previous page", "‹"), after = turn(1, "Next page", "›"), range = h("span", { class: "mut" })
  const pager = h("div", { class: "pager" }, before, range, after)
  const notice = h("div", { class: "notice", role: "status" }, h("div", {}, h("b", {}, "No such image is in view"), h("p", {}, "Another part of the map is seen, or the legend hides them."), h("button", { class: "btn", type: "button", onclick: () => send({ kind: "home" }) }, "Show all of the map")))
  const all = h("section", { class: "all", "aria-label": "Map as a table" }, h("div", { class: "head" }, h("span", { class: "count", role: "status" }, n, " ", of), h("span", { class: "sp" }), back), wrap, notice, pager)
  el.append(all)

  let wanted = null
  function page(step, then = null) {
    const to = model.table_head.page + step
    if (to < 0 || to > model.table_head.last) return
    wanted = then
    send({ kind: "page", value: to })
  }
  const links = () => [...body.querySelectorAll(".go")]
  function rove(link, focus) {
    for (const each of links()) each.tabIndex = -1
    link.tabIndex = 0
    if (focus) link.focus()
  }
  body.addEventListener("keydown", (event) => {
    const each = links(), at = each.indexOf(event.target)
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: each.length - 1 }[event.key]
    if (at < 0 || (to === undefined && !["PageDown", "PageUp"].includes(event.key))) return
    event.preventDefault()
    event.stopPropagation()
    if (event.key === "PageDown" || to >= each.length) page(1, "first")
    else if (event.key === "PageUp" || to < 0) page(-1, event.key === "PageUp" ? "first" : "last")
    else rove(each[to], true)
  })

  function heads() {
    const d = model.table_head, held = top.contains(el.getRootNode().activeElement)
    n.textContent = d.n || ""
    of.textContent = d.of || ""
    caption.textContent = `Map, ${d.n} ${d.of}. A heading sorts, an image opens under test.`
    top.replaceChildren(...(d.columns || []).map((each) => {
      const on = each.key === d.sort
      return h("th", { scope: "col", class: each.number ? "r" : null, "aria-sort": on ? (d.down ? "descending" : "ascending") : "none" },
        h("button", { type: "button", "data-sort": each.key, title: each.text, onclick: () => send({ kind: "sort", value: each.key }) }, each.text, on ? (d.down ? " ↓" : " ↑") : ""))
    }))
    if (held) [...top.querySelectorAll("button")].find((each) => each.dataset.sort === d.sort)?.focus()
    const isEmpty = !d.range
    wrap.hidden = isEmpty
    notice.hidden = !isEmpty
    pager.hidden = isEmpty || !d.last
    range.textContent = d.range ? `${d.range} of ${d.n}` : ""
    before.disabled = !d.page
    after.disabled = d.page >= d.last
  }
  function rows() {
    const columns = model.table_head.columns || []
    body.replaceChildren(...model.table_rows.map((row) => h("tr", { "data-image": row.id, onclick: () => send({ kind: "open", value: row.id }) },
      h("th", { scope: "row", class: "r" }, h("button", { type: "button", class: "go", tabindex: -1, "aria-label": `image ${row.cells[0]}: put it under test` }, row.cells[0])),
      row.cells.slice(1).map((text, k) => h("td", { class: [columns[k + 1]?.number ? "r" : "", row.is_wrong && columns[k + 1]?.key === "predicted" ? "bad" : ""].join(" ").trim() || null, title: text.length > 18 ? text : null }, text)))))
    wrap.scrollTop = 0
    const each = links(), next = wanted === "last" ? each.at(-1) : each[0]
    if (next) rove(next, wanted !== null)
    wanted = null
    mark()
  }
  function mark() {
    for (const row of body.children) {
      const on = Number(row.dataset.image) === model.table_focus
      row.classList.toggle("on", on)
      if (on) row.setAttribute("aria-current", "true"); else row.removeAttribute("aria-current")
    }
  }
  // Who closes it goes on at the button that opened it, as soon as that is shown again.
  let opener = null
  function deepest() {
    let node = document.activeElement
    while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement
    return node
  }
  function giveBack(tries) {
    if (opener?.isConnected && getComputedStyle(opener).visibility === "visible") opener.focus({ preventScroll: true })
    else if (opener?.isConnected && tries) requestAnimationFrame(() => giveBack(tries - 1))
  }
  function open() {
    if (model.table_open) opener = deepest()
    all.hidden = !model.table_open
    if (model.table_open) back.focus(); else giveBack(40)
  }
  onceAFrame(model, ["table_head"], heads)
  onceAFrame(model, ["table_rows"], rows)
  model.on("table_focus", mark)
  model.on("table_open", open)
  heads()
  rows()
  all.hidden = !model.table_open
}
