// Replacing filters: what to replace, by what, on which images; then the verdict and its figures.
const CHOICES = {
  filters: { own: "its own filters", telling: "the 16 that tell it best" },
  replacement: { mean: "their mean", zero: "zero" },
  images: { members: "its members", selection: "the selection" },
}
const USE = { selection: "Use the selection", members: "Use its members" }

function ablationNode(target, v, send, few) {
  const mine = v.target === target ? v : {}
  const pick = (name, label, first = {}) => {
    const choices = { ...first, ...CHOICES[name] }
    const select = h("select", { "aria-label": label },
      ...Object.entries(choices).map(([value, words]) => h("option", { value }, words)))
    select.value = mine[name] in choices ? mine[name] : Object.keys(choices)[0]
    return select
  }
  const filters = pick("filters", "Which filters are replaced")
  const replacement = pick("replacement", "What takes their place")
  const images = pick("images", "On which images", few.n_errors ? { errors: few.n_errors === 1 ? "its error" : `its ${few.n_errors} errors` } : {})
  if (target === "filters") images.value = "selection"
  const ask = () => send({ kind: "ablate", target, filters: filters.value, replacement: replacement.value, images: images.value })
  const row = h("div", { class: "ask" },
    h("span", { class: target === "filters" ? "mut" : "mut lead" }, target === "filters" ? "Replace by" : "Replace"),
    target === "filters" ? null : filters,
    target === "filters" ? null : h("span", { class: "mut" }, "by"),
    replacement,
    h("span", { class: "mut" }, "on"),
    target === "filters" ? h("span", { title: "All images of the split where nothing is selected" }, "the selection, or all") : images,
    mine.is_running
      ? h("button", { class: "btn", type: "button", onclick: () => send({ kind: "stop_ablation" }) }, "Stop")
      : h("button", { class: "btn", type: "button", "data-action": "ablate", title: few.cost || null, onclick: ask }, "Replace"))
  // Before the click: on so few images, or of so many filters, there will be no verdict.
  const use = h("button", { class: "btn txt", type: "button", onclick: () => { images.value = few.use; warn() } }, USE[few.use])
  const note = h("p", { class: "few mut" })
  const warn = () => {
    const words = target === "filters" ? few.selection : few[images.value]
    note.hidden = !words || Boolean(mine.is_running)
    note.replaceChildren(words || "", ...(few.use && images.value !== few.use && target !== "filters" ? [" ", use] : []))
  }
  images.addEventListener("change", warn)
  warn()
  const nodes = [row, note]
  if (mine.is_running) {
    nodes.push(h("div", { class: "bar-of", role: "progressbar", "aria-label": "Replacing filters", "aria-valuenow": Math.round(100 * mine.share), "aria-valuemin": 0, "aria-valuemax": 100 }, h("i", { style: `width:${(100 * mine.share).toFixed(1)}%` })))
  } else if (mine.problem) {
    nodes.push(h("p", { class: "problem", role: "status" }, mine.problem))
  } else if (mine.verdict) {
    const verdict = h("div", { class: `verdict ${mine.verdict.split(" ")[0]}`, role: "status", title: mine.help },
      h("div", {}, h("b", {}, mine.verdict), h("span", { class: "mut" }, ` · ${mine.subject}`)), ...mine.lines.map((words) => h("span", {}, words)))
    nodes.push(verdict)
    // It answers the question that was asked, not one that is only being put together.
    row.addEventListener("change", () => {
      verdict.hidden = filters.value !== mine.filters || replacement.value !== mine.replacement || images.value !== mine.images
    })
    // A new answer is brought into view: on a laptop it comes below the fold.
    if (mine.lines !== ablationNode.seen) requestAnimationFrame(() => verdict.scrollIntoView({ block: "nearest" }))
    ablationNode.seen = mine.lines
  }
  return h("div", { class: "abl", onclick: (event) => event.stopPropagation(), onchange: (event) => event.stopPropagation(), onkeydown: (event) => { if (["Enter", " ", "ArrowUp", "ArrowDown"].includes(event.key)) event.stopPropagation() } }, nodes)
}
