// The card of a chosen filter: its strongest images, the patch of each where it fires, and the
// histogram of its activations by class.
function patchNode(image) {
  const [left, top, width, height] = image.patch.part
  const share = (at, size) => (size < 1 ? (100 * at) / (1 - size) : 0)
  const inner = h("i", {})
  const wide = Math.min(image.patch.shape, 1), tall = Math.min(1 / image.patch.shape, 1)
  inner.style.width = `${100 * wide}%`
  inner.style.height = `${100 * tall}%`
  inner.style.backgroundImage = `url("${image.url}")`
  inner.style.backgroundSize = `${100 / width}% ${100 / height}%`
  inner.style.backgroundPosition = `${share(left, width)}% ${share(top, height)}%`
  return h("span", { class: `pt${image.is_dim ? " dim" : ""}`, "aria-hidden": "true" }, inner)
}

function boxNode(box) {
  const [left, top, width, height] = box.map((v) => `${(100 * v).toFixed(2)}%`)
  return h("span", { class: "bx", "aria-hidden": "true", style: `left:${left};top:${top};width:${width};height:${height}` })
}

function strongest(image, send) {
  const picture = thumb(image, send)
  if (!image.patch) return h("span", { class: "fi" }, picture)
  picture.append(boxNode(image.patch.box))
  return h("span", { class: "fi" }, picture, patchNode(image))
}

function histogramNode(v) {
  if (!v.stacks || !v.stacks.length) return null
  const bins = v.stacks[0].counts.length
  const totals = Array.from({ length: bins }, (_, i) => v.stacks.reduce((sum, s) => sum + s.counts[i], 0))
  const most = Math.max(...totals, 1)
  const plot = svg("svg", { viewBox: `0 0 ${bins} 100`, preserveAspectRatio: "none", role: "img", "aria-label": v.words })
  const title = svg("title")
  title.textContent = v.words
  plot.append(title)
  for (let i = 0; i < bins; i++) {
    let from = 100
    for (const s of v.stacks) {
      const tall = (100 * s.counts[i]) / most
      if (!tall) continue
      from -= tall
      const bar = svg("rect", { x: i + 0.06, y: from.toFixed(2), width: 0.88, height: tall.toFixed(2), style: `fill:${s.colour}` })
      const words = svg("title")
      words.textContent = `${s.name}: ${s.counts[i].toLocaleString("en-US")}`
      bar.append(words)
      plot.append(bar)
    }
  }
  return h("figure", { class: "hist" }, plot,
    h("figcaption", {}, h("span", {}, v.low), h("span", { class: "mid", title: v.words }, v.top), h("span", {}, v.high)))
}

function filterCard(strip, send) {
  const s = strip
  return [
    h("div", { class: "sh" }, h("span", { class: "mut sees" }, `${s.lead} `, chips(s.chips), ` ${s.sees}`), h("span", { class: "sp" }),
      s.images.length > 0 && h("button", { class: "btn txt", style: "flex:none", type: "button", onclick: () => send({ kind: "select_top" }) }, `Select these ${s.images.length}`),
      h("button", { class: "btn txt", style: "flex:none", type: "button", onclick: () => send({ kind: "unfilter" }) }, s.count > 1 ? `Clear ${s.count} filters` : "Clear filter")),
    s.problem
      ? h("p", { class: "problem", role: "status" }, s.problem)
      : s.images.length
      ? h("div", { class: "fc" }, thumbRow(s.images.map((i) => strongest(i, send)), "Strongest images"), histogramNode(s.histogram || {}))
      : h("p", { class: "mut" }, "It never fires in these images."),
  ]
}
