// The gallery: one page of the selection. Arrows walk it, Enter puts an image under test.
function thumbnail(item, send) {
  return h("button", { class: `tile${item.is_wrong ? " bad" : ""}`, type: "button", role: "option", tabindex: -1, title: item.title, "aria-label": item.title, "data-image": item.id, onclick: () => send({ kind: "open", value: item.id }) },
    h("span", { class: "pic" }, h("img", { src: item.url, alt: "", loading: "lazy", decoding: "async", draggable: "false" })),
    h("span", { class: "cap" }, h("span", { class: "who" }, item.caption), h("span", { class: "mut" }, item.value)))
}

export function render({ model, el }) {
  const send = (message) => model.send_msg(message)
  const n = h("b"), of = h("span", { class: "mut" })
  const head = h("div", { class: "head" }, h("h3", {}, "Gallery"), h("span", { class: "count", role: "status" }, n, " ", of))
  const order = h("select", { "aria-label": "Order of the gallery and the film strip", onchange: () => send({ kind: "order", value: order.value }) })
  const swept = h("span", { class: "mut swept" })
  const sizes = [[false, "Small"], [true, "Large"]].map(([large, text]) =>
    h("button", { type: "button", role: "radio", onclick: () => { model.gallery_large = large } }, text))
  const size = h("div", { class: "seg", role: "radiogroup", "aria-label": "Size of the thumbnails" }, sizes)
  size.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].includes(event.key)) return
    event.preventDefault()
    event.stopPropagation()
    model.gallery_large = !model.gallery_large
    sizes[Number(model.gallery_large)].focus()
  })
  const turn = (step, label, text) => h("button", { class: "btn", type: "button", "aria-label": label, title: label, onclick: () => page(step) }, text)
  const before = turn(-1, "Previous page", "‹"), after = turn(1, "Next page", "›"), range = h("span", { class: "mut" })
  const pager = h("div", { class: "pager" }, before, range, after)
  const list = h("div", { class: "tiles", role: "listbox", "aria-label": "Images of the selection; Enter puts one under test" })
  const headline = h("b"), words = h("p")
  const notice = h("div", { class: "notice", role: "status" }, h("div", {}, headline, words))
  el.append(h("section", { class: "all", "aria-label": "Gallery" }, head, h("div", { class: "tools" }, order, swept, h("span", { class: "sp" }), size), list, notice, pager))

  let wanted = null
  function page(step, then = "first") {
    const h = model.gallery_head, to = h.page + step
    if (to < 0 || to > h.last) return false
    wanted = then
    send({ kind: "page", value: to })
    return true
  }
  const columns = (tiles) => {
    const wide = tiles.findIndex((t) => t.offsetTop > tiles[0].offsetTop)
    return wide < 0 ? tiles.length : wide
  }
  function rove(tile, focus) {
    for (const t of list.querySelectorAll("[tabindex='0']")) t.tabIndex = -1
    tile.tabIndex = 0
    if (focus) tile.focus()
  }
  list.addEventListener("keydown", (event) => {
    const tiles = [...list.children], at = tiles.indexOf(event.target.closest(".tile"))
    if (at < 0) return
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns(tiles), ArrowUp: at - columns(tiles), Home: 0, End: tiles.length - 1 }[event.key]
    if (event.key === "PageDown") page(1, "focus")
    else if (event.key === "PageUp") page(-1, "focus")
    else if (to === undefined) return
    else if (tiles[to]) rove(tiles[to], true)
    else if (to >= tiles.length && event.key === "ArrowRight") page(1, "focus")
    else if (to < 0 && event.key === "ArrowLeft") page(-1, "last")
    event.preventDefault()
    event.stopPropagation()
  })

  function orders() {
    order.replaceChildren(...model.gallery_orders.map((o) => h("option", { value: o.value }, o.label)))
    order.value = model.gallery_head.order || ""
  }
  function text() {
    const d = model.gallery_head, isEmpty = Boolean(d.headline)
    n.textContent = d.n || ""
    of.textContent = d.of || ""
    order.value = d.order || ""
    swept.textContent = d.swept || ""
    notice.hidden = !isEmpty
    list.hidden = isEmpty
    headline.textContent = d.headline || ""
    words.textContent = d.words || ""
    pager.hidden = isEmpty || !d.last
    range.textContent = d.range ? `${d.range} of ${d.n}` : ""
    before.disabled = !d.page
    after.disabled = d.page >= d.last
  }
  let drawn = ""
  function tiles() {
    const key = JSON.stringify(model.gallery_items.map((item) => [item.id, item.url]))
    if (key !== drawn) {
      drawn = key
      list.replaceChildren(...model.gallery_items.map((item) => thumbnail(item, send)))
      list.scrollTop = 0
      const next = wanted === "last" ? list.lastChild : list.firstChild
      if (next) rove(next, wanted === "focus" || wanted === "last")
      wanted = null
    }
    frame()
  }
  function frame() {
    for (const tile of list.children) {
      const on = Number(tile.dataset.image) === model.gallery_focus
      tile.classList.toggle("focus", on)
      tile.setAttribute("aria-selected", String(on))
      if (on && !list.contains(list.getRootNode().activeElement)) {
        rove(tile, false)
        tile.scrollIntoView({ block: "nearest" })
      }
    }
  }
  function large() {
    list.classList.toggle("large", model.gallery_large)
    sizes.forEach((button, k) => {
      const on = Boolean(k) === model.gallery_large
      button.setAttribute("aria-checked", String(on))
      button.tabIndex = on ? 0 : -1
    })
  }
  onceAFrame(model, ["gallery_head"], text)
  onceAFrame(model, ["gallery_items", "gallery_focus"], tiles)
  model.on("gallery_orders", orders)
  model.on("gallery_large", large)
  orders()
  text()
  tiles()
  large()
}
