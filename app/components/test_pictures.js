// Pictures of the test view: pixels as they are, and evidence over the grey picture.
function pixelCanvas(bytes, width, height, grey) {
  const canvas = document.createElement("canvas")
  canvas.width = width
  canvas.height = height
  const image = new ImageData(width, height)
  for (let i = 0, j = 0; j < image.data.length; i += 3, j += 4) {
    let [r, g, b] = [bytes[i], bytes[i + 1], bytes[i + 2]]
    if (grey) r = g = b = 40 + 0.8 * (0.299 * r + 0.587 * g + 0.114 * b)
    image.data.set([r, g, b, 255], j)
  }
  canvas.getContext("2d").putImageData(image, 0, 0)
  return canvas
}

function fit(canvas) {
  const side = Math.max(1, Math.round(canvas.clientWidth * Math.min(2, devicePixelRatio || 1)))
  const tall = Math.max(1, Math.round(canvas.clientHeight * Math.min(2, devicePixelRatio || 1)))
  if (canvas.width !== side || canvas.height !== tall) { canvas.width = side; canvas.height = tall }
  return canvas.getContext("2d")
}

function drawPixels(canvas, bytes, width, height, grey = false) {
  const pen = fit(canvas)
  pen.imageSmoothingEnabled = false
  pen.drawImage(pixelCanvas(bytes, width, height, grey), 0, 0, canvas.width, canvas.height)
  return pen
}

// Bilinear, pixel centres aligned as picture scaling does it.
function enlarge(map, width, height, size) {
  const out = new Float32Array(size * size)
  const steps = (length) => Array.from({ length: size }, (_, i) => {
    const at = Math.min(Math.max(((i + 0.5) * length) / size - 0.5, 0), length - 1)
    const low = Math.min(Math.floor(at), Math.max(length - 2, 0))
    return [low, Math.min(low + 1, length - 1), at - low]
  })
  const xs = steps(width)
  steps(height).forEach(([y0, y1, v], y) => xs.forEach(([x0, x1, u], x) => {
    const top = map[y0 * width + x0] * (1 - u) + map[y0 * width + x1] * u
    const bottom = map[y1 * width + x0] * (1 - u) + map[y1 * width + x1] * u
    out[y * size + x] = top * (1 - v) + bottom * v
  }))
  return out
}

// Marching squares: segments of the line at `level`, in units of the grid.
function contour(field, size, level) {
  const lines = []
  const cross = (a, b) => (level - a) / (b - a)
  for (let y = 0; y < size - 1; y++) for (let x = 0; x < size - 1; x++) {
    const [a, b, c, d] = [field[y * size + x], field[y * size + x + 1], field[(y + 1) * size + x + 1], field[(y + 1) * size + x]]
    const ends = []
    if (a >= level !== b >= level) ends.push([x + cross(a, b), y])
    if (b >= level !== c >= level) ends.push([x + 1, y + cross(b, c)])
    if (d >= level !== c >= level) ends.push([x + cross(d, c), y + 1])
    if (a >= level !== d >= level) ends.push([x, y + cross(a, d)])
    for (let k = 0; k + 1 < ends.length; k += 2) lines.push([ends[k], ends[k + 1]])
  }
  return lines
}

const FIELD = 96
function drawEvidence(canvas, bytes, width, height, map, mapWidth, mapHeight, shared, colour, strength) {
  const pen = drawPixels(canvas, bytes, width, height, true)
  if (!(shared > 0) || !(strength > 0)) return
  const field = enlarge(map, mapWidth, mapHeight, FIELD)
  const layer = document.createElement("canvas")
  layer.width = layer.height = FIELD
  const image = new ImageData(FIELD, FIELD)
  field.forEach((value, i) => {
    const share = value / shared
    image.data.set([...colour(share), 255 * strength * Math.min(0.82, 1.5 * share)], 4 * i)
  })
  layer.getContext("2d").putImageData(image, 0, 0)
  pen.imageSmoothingEnabled = true
  pen.drawImage(layer, 0, 0, canvas.width, canvas.height)
  const [sx, sy] = [canvas.width / FIELD, canvas.height / FIELD]
  pen.beginPath()
  for (const [p, q] of contour(field, FIELD, shared / 2)) {
    pen.moveTo((p[0] + 0.5) * sx, (p[1] + 0.5) * sy)
    pen.lineTo((q[0] + 0.5) * sx, (q[1] + 0.5) * sy)
  }
  pen.lineCap = "round"
  pen.lineWidth = Math.max(1.5, canvas.width / 110)
  pen.strokeStyle = "#fff"
  pen.stroke()
}

const readable = (value) => value === 0 ? "0" : value >= 100 ? whole(value) : value >= 0.01 ? value.toPrecision(2) : value.toExponential(0).replace("-", MINUS)

// Two lines under a picture.
function facts() {
  const node = h("div", { class: "facts" })
  return { node, draw: (lines) => node.replaceChildren(...lines.map((line) => h("span", { title: line.help }, line.text))) }
}

// Four figures; dragging on the first removes a rectangle, given as shares of width and height.
function pictures(send) {
  const figure = (kind) => {
    const canvas = h("canvas", { role: "img" })
    const badge = h("span", { class: "badge", hidden: true })
    const words = h("div", { class: "none", hidden: true })
    const frame = h("div", { class: `im ${kind}` }, canvas, badge, words)
    const title = h("b")
    const more = kind === "evidence" ? trustLines() : facts()
    return { canvas, badge, words, frame, title, more, box: h("figure", {}, frame, h("figcaption", {}, title), more.node) }
  }
  const [original, changed, first, second] = ["original", "changed", "evidence", "evidence"].map(figure)
  const hint = h("span", { class: "hint" }, "drag to remove")
  original.frame.append(hint)
  const node = h("div", { class: "pics" }, original.box, changed.box, first.box, second.box)

  let start = null
  const rubber = h("div", { class: "rubber", hidden: true })
  original.frame.append(rubber)
  const share = (event) => {
    const at = original.frame.getBoundingClientRect()
    return [(event.clientX - at.left) / at.width, (event.clientY - at.top) / at.height].map((v) => Math.min(Math.max(v, 0), 1))
  }
  const corners = (p, q) => [Math.min(p[0], q[0]), Math.min(p[1], q[1]), Math.max(p[0], q[0]), Math.max(p[1], q[1])]
  const lay = (box, [l, t, r, b]) => { box.style.cssText = `left:${100 * l}%;top:${100 * t}%;width:${100 * (r - l)}%;height:${100 * (b - t)}%` }
  original.frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("button")) return
    start = share(event)
    original.frame.setPointerCapture(event.pointerId)
    event.preventDefault()
  })
  original.frame.addEventListener("pointermove", (event) => {
    if (!start) return
    rubber.hidden = false
    lay(rubber, corners(start, share(event)))
  })
  const finish = (event) => {
    if (!start) return
    const box = corners(start, share(event))
    start = null
    rubber.hidden = true
    if (event.type === "pointerup" && box[2] - box[0] > 0.02 && box[3] - box[1] > 0.02) send({ kind: "box", box })
  }
  original.frame.addEventListener("pointerup", finish)
  original.frame.addEventListener("pointercancel", finish)

  function boxes(list) {
    original.frame.querySelectorAll(".gone").forEach((box) => box.remove())
    list.forEach((corner, index) => {
      const box = h("div", { class: "gone" }, h("button", { type: "button", title: "Restore this part", "aria-label": `Restore removed part ${index + 1}`, onclick: () => send({ kind: "unbox", index }) }, "×"))
      lay(box, corner)
      original.frame.append(box)
    })
  }

  function draw(view, evidence, imageBytes, mapBytes, strength) {
    const { width, height } = view.image
    for (const part of [original, changed, first, second]) part.frame.style.aspectRatio = `${width} / ${height}`
    const size = 3 * width * height
    const pixels = new Uint8Array(imageBytes)
    if (pixels.length !== 2 * size) return
    const pair = [pixels.subarray(0, size), pixels.subarray(size)]
    drawPixels(original.canvas, pair[0], width, height)
    drawPixels(changed.canvas, pair[1], width, height)
    original.title.textContent = view.image.caption
    original.title.title = view.image.shape
    original.canvas.setAttribute("aria-label", `original ${view.image.id}`)
    changed.title.textContent = view.image.same ? "No change yet" : "Changed"
    changed.canvas.setAttribute("aria-label", `changed ${view.image.id}: ${view.words}`)
    changed.title.title = view.words
    original.more.draw(view.facts[0])
    changed.more.draw(view.image.same ? [] : view.facts[1])
    drawMaps(view, evidence, pair, mapBytes, strength)
  }
  function drawMaps(view, e, pair, mapBytes, strength) {
    const { width, height } = view.image
    const isReady = e.stage === "ready"
    node.classList.toggle("old", e.stage === "pending")
    if (e.stage === "pending" && e.max) return
    const cells = isReady ? e.width * e.height : 0
    const maps = new Float32Array(mapBytes.slice ? mapBytes.slice(0) : mapBytes)
    const fits = isReady && maps.length === 2 * cells
    const shared = fits ? Math.max(...e.max) : 0
    const colour = ramp(view.inferno)
    ;[first, second].forEach((part, k) => {
      drawEvidence(part.canvas, pair[k], width, height, maps.subarray(k * cells, (k + 1) * cells), e.width, e.height, shared, colour, strength)
      const top = fits ? e.max[k] : 0
      part.badge.hidden = !(top > 0)
      part.badge.textContent = `max ${readable(top)}`
      part.words.hidden = !fits || top > 0
      part.words.textContent = fits && !(top > 0) ? `No positive evidence for ${e.names[k]} in ${e.place}` : ""
      part.canvas.setAttribute("aria-label", fits ? `Evidence (${e.title}) for ${e.names[k]} in the ${k ? "changed" : "original"} image, highest ${readable(top)}` : "Evidence is being drawn")
      part.more.draw(fits && e.trust ? e.trust[k] : null, Boolean(fits && e.trust))
    })
    first.title.textContent = fits ? `Evidence for ${e.names[0]}` : "Evidence"
    second.title.textContent = !fits ? "… in the changed" : e.names[0] === e.names[1] ? "… in the changed" : `… ${e.names[1]}, changed`
    for (const part of [first, second]) part.title.title = part.title.textContent
  }
  return { node, draw, boxes }
}
