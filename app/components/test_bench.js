// The test view in one piece: verdict, four pictures, evidence, controls, scores, and its states.
function verdictLine(hold) {
  const before = h("span", { class: "p" })
  const arrow = h("span", { class: "ar", "aria-hidden": "true" }, "→")
  const after = h("span", { class: "p" })
  const spoken = h("span", { class: "spoken", role: "status" })
  const flipped = h("span", { class: "chip" })
  const truth = h("span", { class: "chip truth" })
  const keep = h("button", { class: "btn hold", type: "button", title: "Hold this case beside the next ones; maximise this view (f) to see them", onclick: hold }, "Hold")
  const node = h("div", { class: "headline" }, h("span", { class: "names", "aria-hidden": "true" }, before, arrow, after), spoken, h("span", { class: "sp" }), flipped, truth, keep)
  const show = (box, side) => box.replaceChildren(h("span", { class: "sw", style: `background:${side.colour}` }), h("b", {}, side.name), h("em", {}, fixed(side.score, 2)))
  return {
    node,
    held(count) { keep.textContent = count ? `Hold · ${count}` : "Hold" },
    draw({ verdict: v, image }) {
      show(before, v.before)
      show(after, v.after)
      arrow.hidden = after.hidden = !v.is_changed
      arrow.classList.toggle("calm", !v.is_flipped)
      flipped.hidden = !v.is_flipped
      flipped.classList.toggle("wrong", !v.is_mended)
      flipped.replaceChildren(...(v.is_mended ? [] : [icon("no", 12)]), v.is_mended ? "flipped, now right" : "prediction flipped")
      truth.hidden = !v.truth && !image.is_upload
      truth.textContent = image.is_upload ? "upload: not part of the link" : `true class ${v.truth}`
      truth.classList.toggle("loose", Boolean(image.is_upload))
      truth.classList.toggle("bad", Boolean(v.is_wrong))
      if (spoken.textContent !== v.spoken) spoken.textContent = v.spoken
    },
  }
}

function scoreBars() {
  const rows = h("div", { class: "bars", role: "table", "aria-label": "Scores before and after the change" })
  const key = h("span", { class: "key" }, h("i", { class: "was" }), "original", h("i", { class: "now" }), "changed")
  return {
    node: h("div", { class: "scores" }, h("div", { class: "sh" }, h("h3", {}, "Scores"), key), rows),
    draw(v) {
      key.querySelector(".now").style.background = v.verdict.after.colour
      rows.replaceChildren(...v.scores.map((s) => {
        const delta = s.after - s.before
        const still = Math.abs(delta) < 0.005
        return h("div", { class: s.is_extra ? "row extra" : "row", role: "row" },
          h("span", { class: "nm", role: "rowheader", title: s.name }, s.name, s.is_true ? h("small", { title: "true class" }, " true") : null),
          h("span", { class: "bb", role: "cell", "aria-label": `${fixed(s.before, 2)} to ${fixed(s.after, 2)}` },
            h("i", { style: `width:${(100 * s.before).toFixed(1)}%` }), h("b", { style: `width:${Math.max(0.6, 100 * s.after).toFixed(1)}%;background:${s.colour}` })),
          h("span", { class: "num", role: "cell" }, fixed(s.after, 2)),
          h("span", { class: `dl ${still ? "" : delta > 0 ? "gain" : "loss"}`, role: "cell" }, still ? "" : signed(delta, 2)))
      }))
    },
  }
}

export function render({ model, el }) {
  const send = (message) => model.send_msg(message)
  let strength = 1
  const verdict = verdictLine(() => send({ kind: "hold" }))
  const pics = pictures(send)
  const cam = evidenceRow(send, (value) => { strength = value; drawPictures() })
  const panel = controls(model.bench_specs, send, () => pause(), (name, value) => curves.touch(name, value, size()))
  const curves = responseCurves(send, (name, value) => panel.move(name, value))
  const held = heldCases(send)
  const bars = scoreBars()
  const stop = h("button", { class: "btn", type: "button", onclick: () => send({ kind: "stop" }) }, "Stop")
  const waitText = h("span")
  const wait = h("div", { class: "wait", role: "status" }, waitText, stop)
  const progress = h("div", { class: "prog", "aria-hidden": "true" }, h("i"))
  const figures = h("div", { class: "figures" }, verdict.node, pics.node, cam.node)
  const right = h("div", { class: "right" }, bars.node)
  const bottom = h("div", { class: "bcols" }, panel.node, right)
  const head = h("b")
  const detail = h("p")
  const cure = h("button", { class: "btn", type: "button", onclick: () => send({ kind: "cure" }) })
  const sign = h("span", { class: "sign" }, icon("warn", 18))
  const notice = h("div", { class: "notice", role: "status" }, h("div", {}, sign, head, detail, cure))
  const bones = h("div", { class: "bones", role: "status", "aria-label": "loading" }, h("i", { class: "w" }), h("div", {}, h("i"), h("i"), h("i"), h("i")), h("i", { class: "w" }), h("i", { class: "f" }))
  const bench = h("div", { class: "bench" }, progress, figures, bottom, curves.node, held.node, wait, notice, bones)
  el.append(bench)

  // Room for everything (maximised), for a row of curves, or for the one that is being changed.
  function size() {
    const width = bench.clientWidth
    return width >= 900 ? "big" : width >= 560 && innerWidth > 760 ? "wide" : "small"
  }
  function arrange() {
    const now = size()
    if (bench.dataset.size !== now) {
      bench.dataset.size = now
      if (now === "small" && innerWidth > 760) right.append(curves.node)
      else bench.insertBefore(curves.node, held.node)
    }
    drawPictures()
    drawCurves()
    drawHeld()
  }
  const shorter = () => { const image = model.bench_view.image; return image ? Math.min(image.width, image.height) : 1 }
  const isReady = () => model.bench_view.stage === "ready"
  function drawPictures() { if (isReady()) pics.draw(model.bench_view, model.bench_evidence, model.bench_images, model.bench_maps, strength) }
  function drawCurves() { if (isReady()) curves.draw(size(), model.bench_curves, model.bench_specs, panel.isQuiet() ? model.bench_change : null) }
  function drawHeld() {
    verdict.held(model.bench_held.length)
     if (model.bench_view.inferno || !model.bench_held.length) held.draw(model.bench_held, ramp(model.bench_view.inferno || ["#000000", "#ffffff"])) }

  function draw() {
    const v = model.bench_view
    bench.dataset.stage = v.stage || "empty"
    sign.hidden = !v.is_error
    head.textContent = v.headline || ""
    detail.textContent = v.detail || ""
    cure.hidden = !v.cure
    cure.textContent = v.cure || ""
    pause()
    if (!isReady()) return
    verdict.draw(v)
    cam.draw(v, model.bench_evidence)
    bars.draw(v)
    sync()
    arrange()
  }
  function sync() {
    panel.set(model.bench_change, shorter(), model.bench_view.attack)
    pics.boxes(model.bench_change.boxes)
    drawCurves()
  }
  function pause() {
    const ahead = model.bench_ahead
    // From the moment a control is moved until its answer is drawn, the figures are old ones.
    // A notice has no figures: nothing is waited for beside it.
    const there = (model.bench_view.stage || "empty") !== "empty"
    bench.classList.toggle("waiting", there && (ahead >= 0 || !panel.isQuiet()))
    waitText.textContent = ahead > 0 ? `The network is busy: ${ahead} ${ahead === 1 ? "request is" : "requests are"} ahead of yours` : "Predicting… the figures belong to the previous change"
  }
  const ask = onceAFrame(model, ["bench_view", "bench_images", "bench_maps", "bench_evidence"], draw)
  onceAFrame(model, ["bench_curves"], drawCurves)
  model.on("bench_held", drawHeld)
  model.on("bench_specs", () => { panel.build(model.bench_specs); sync() })
  model.on("bench_change", sync)
  // An answer is no longer awaited in the frame that draws it, not before.
  model.on("bench_ahead", () => (model.bench_ahead < 0 ? ask() : pause()))
  const watch = new ResizeObserver(ask)
  watch.observe(bench)
  model.on("remove", () => watch.disconnect())
  curves.first(model.bench_change)
  draw()
  sync()
  pause()
}
