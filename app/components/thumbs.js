// Thumbnails in a row: one Tab stop for all, arrows move between them, Enter shows one.
function thumb(image, send) {
  return h("button", { class: `th${image.is_dim ? " dim" : ""}${image.is_wrong ? " bad" : ""}${image.is_focus ? " focus" : ""}`, type: "button", tabindex: -1, "data-image": image.id, title: image.title, "aria-label": image.title, "aria-current": image.is_focus ? "true" : null, onclick: (event) => {
    // On a closed card a click opens it, wherever it lands; a key meant this image.
    if (event.detail > 0 && event.currentTarget.closest(".pc:not(.on)")) return
    event.stopPropagation()
    send({ kind: "focus", image: image.id })
  } },
    h("img", { src: image.url, alt: "", loading: "lazy", draggable: "false" }))
}

// `nodes` hold one thumbnail each. The row remembers which one Tab reaches.
function thumbRow(nodes, label) {
  const row = h("div", { class: "tg", role: "group", "aria-label": label })
  row.addEventListener("keydown", (event) => {
    const all = [...row.querySelectorAll(".th")], at = all.indexOf(event.target)
    if (at < 0) return
    if (event.key === "Enter" || event.key === " ") { event.stopPropagation(); return }
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key]
    if (to === undefined) return
    event.preventDefault()
    event.stopPropagation()
    all[Math.min(Math.max(to, 0), all.length - 1)].focus()
  })
  row.addEventListener("focusin", (event) => {
    if (event.target.classList.contains("th")) row.querySelectorAll(".th").forEach((one) => { one.tabIndex = one === event.target ? 0 : -1 })
  })
  fillRow(row, nodes)
  return row
}

// Under the keyboard the same image stays, or else the same place.
function fillRow(row, nodes) {
  const before = [...row.querySelectorAll(".th")]
  const held = before.find((one) => one === row.getRootNode().activeElement)
  const stop = before.find((one) => one.tabIndex === 0)
  row.replaceChildren(...nodes)
  const all = [...row.querySelectorAll(".th")]
  const same = (one) => one && (all.find((other) => other.dataset.image === one.dataset.image) || all[Math.min(before.indexOf(one), all.length - 1)])
  const reached = same(stop) || all[0]
  if (reached) reached.tabIndex = 0
  if (held && all.length) same(held).focus()
}
