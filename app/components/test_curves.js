// Response curves: one chart for each change, the current magnitude as a handle that moves the image.
const WIDE_CURVES = ["rotation", "hue", "brightness", "blur", "fgsm"]

function responseCurves(send, move) {
  const grid = h("div", { class: "curves" })
  const note = h("span", { class: "mut" }, "one change at a time, the others at identity")
  const legend = h("span", { class: "mut marks" }, h("i", {}, "▼"), " prediction changes")
  const node = h("section", { class: "respond", "aria-label": "Response curves" }, h("div", { class: "sh" }, h("h3", {}, "Response curves"), note, legend), grid)
  const read = h("div", { class: "read", popover: "manual" })
  node.append(read)
  const cells = new Map()
  let curves = {}, specs = [], now = {}, touched = "rotation", told = ""

  // As many as there is room for: all, five, or the one of the control last touched.
  function visible(size) {
    const known = specs.map((spec) => spec.name)
    if (size === "big") return known
    const first = known.includes(touched) ? touched : known[0]
    if (size !== "wide") return first ? [first] : []
    const five = WIDE_CURVES.filter((name) => known.includes(name))
    return five.includes(first) ? five : [...five.slice(0, 4), first]
  }
  function cell(name) {
    const label = h("b"), flip = h("button", { class: "flip", type: "button" }), plot = h("div", { class: "pl" })
    // The flip that is named can be gone to: the very magnitude that was tried.
    flip.addEventListener("click", () => { const known = curves[name] && curves[name].flip; if (known && known.flips) move(name, known.nearest) })
    const box = h("div", { class: "curve", "data-name": name }, h("div", { class: "t" }, label, flip), plot)
    const made = { box, label, flip, plot, scale: null }
    const at = (event) => made.scale ? made.scale.back(event.clientX - plot.getBoundingClientRect().left) : null
    let held = false
    plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !made.scale) return
      held = true
      plot.setPointerCapture(event.pointerId)
      move(name, at(event))
    })
    plot.addEventListener("pointermove", (event) => {
      if (held) { move(name, at(event)); hush() } else tell(made, name, event, at(event))
    })
    for (const end of ["pointerup", "pointercancel"]) plot.addEventListener(end, () => { held = false })
    plot.addEventListener("pointerleave", hush)
    return made
  }
  const hush = () => { if (read.matches(":popover-open")) read.hidePopover() }
  function tell(made, name, event, value) {
    const curve = curves[name]
    if (!curve || value == null) return
    let k = 0
    curve.x.forEach((x, i) => { if (Math.abs(x - value) < Math.abs(curve.x[k] - value)) k = i })
    read.replaceChildren(h("b", {}, `${curve.label} ${curve.texts[k]}`),
      ...[...curve.lines].sort((a, b) => (b.y[k] ?? 0) - (a.y[k] ?? 0)).map((line) => h("div", {}, h("i", { style: `background:${line.colour}` }), `${line.name} ${line.y[k] == null ? "–" : fixed(line.y[k], 2)}`)))
    if (!read.matches(":popover-open")) read.showPopover()
    read.style.left = `${Math.min(event.clientX + 14, innerWidth - read.offsetWidth - 8)}px`
    read.style.top = `${Math.max(8, Math.min(event.clientY - read.offsetHeight / 2, innerHeight - read.offsetHeight - 8))}px`
  }
  // The two highest lines are named where they are highest.
  function names(curve) {
    const ranked = curve.lines.map((line) => {
      let k = 0
      line.y.forEach((v, i) => { if ((v ?? 0) > (line.y[k] ?? 0)) k = i })
      return { line, k, top: line.y[k] ?? 0 }
    }).sort((a, b) => b.line.first - a.line.first || b.top - a.top)
    const placed = []
    for (const { line, k, top } of ranked) {
      if (placed.length === 3 || top < 0.3) break
      const share = (curve.x[k] - curve.x[0]) / (curve.x.at(-1) - curve.x[0])
      if (placed.some((p) => Math.abs(p.share - share) < 0.3)) continue
      placed.push({ share, text: line.name, x: curve.x[0] + Math.min(Math.max(share, 0.14), 0.86) * (curve.x.at(-1) - curve.x[0]), y: Math.min(top, 0.9), dy: top > 0.85 ? 9 : -7, size: 10.5, bold: line.first })
    }
    return placed
  }
  function drawCell(name, size) {
    const made = cells.get(name), curve = curves[name], spec = specs.find((each) => each.name === name)
    made.label.textContent = spec ? spec.label : name
    const flip = curve && curve.flip
    made.flip.textContent = !flip ? "" : size === "big" ? flip.long : flip.flips ? `▼ ${flip.short}` : flip.short
    made.flip.classList.toggle("calm", !(flip && flip.flips))
    made.flip.disabled = !(flip && flip.flips)
    made.flip.title = flip && flip.flips ? `Smallest change that flips the prediction: ${flip.long}. Click to make it.` : flip && flip.known ? "No magnitude up to the limits flips the prediction" : ""
    made.box.classList.toggle("unknown", !curve)
    if (!curve) { made.plot.querySelector("svg")?.remove(); made.scale = made.drawn = null; return }
    const tall = size === "big"
    const value = name in now ? now[name] : curve.identity
    // Most answers change nothing here, and eleven charts are slow to draw.
    const drawn = [curve, value, tall, made.plot.clientWidth, made.plot.clientHeight]
    if (made.drawn && drawn.every((part, k) => part === made.drawn[k])) return
    made.drawn = drawn
    made.scale = chart(made.plot, {
      x: curve.x, margin: { l: tall ? 24 : 5, r: 5, t: 6, b: 14 }, yticks: tall ? [0, 0.5, 1] : [0, 1], xticks: curve.ticks, identity: curve.identity, now: value, drag: true,
      label: curve.spoken, marks: curve.marks.map((mark) => mark.at), labels: names(curve),
      series: [...curve.lines].reverse().map((line) => ({ y: line.y, colour: line.colour, width: line.first ? 2.6 : 1.4, dash: line.true && !line.first })),
    })
  }
  function draw(size) {
    const list = visible(size)
    grid.style.setProperty("--vt-columns", size === "big" ? "auto-fill" : list.length)
    for (const [name, made] of cells) if (!list.includes(name)) { made.box.remove(); cells.delete(name) }
    list.forEach((name, place) => {
      if (!cells.has(name)) cells.set(name, cell(name))
      const box = cells.get(name).box
      if (grid.children[place] !== box) grid.insertBefore(box, grid.children[place] || null)
    })
    const failed = curves[""]
    note.textContent = failed ? failed.message : "one change at a time, the others at identity"
    const asked = JSON.stringify(list)
    if (asked !== told && list.length) { told = asked; send({ kind: "curves", names: list }) }
    for (const name of list) drawCell(name, size)
  }
  return {
    node,
    draw(size, given, all, change) { curves = given; specs = all; if (change) now = { ...change.magnitudes }; draw(size) },
    touch(name, value, size) {
      now = { ...now, [name]: value }
      const isOther = touched !== name
      touched = name
      if (isOther) draw(size)
      else if (cells.has(name)) drawCell(name, size)
    },
    first(change) { const name = Object.keys(change.magnitudes)[0]; if (name) touched = name },
  }
}
