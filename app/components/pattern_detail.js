// What an open pattern card shows besides: pages of members, their mean, where the network looked
// in them, and what they look like.
const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0))

// The mean picture in grey with the mean evidence over it; drawn once it has its size.
function evidencePicture(e) {
  const canvas = h("canvas", { class: "mean", role: "img", "aria-label": e.words, title: e.help })
  requestAnimationFrame(() => {
    if (!canvas.isConnected) return
    const map = new Float32Array(bytesOf(e.map).buffer)
    drawEvidence(canvas, bytesOf(e.picture), e.width, e.height, map, e.map_width, e.map_height, e.max, ramp(e.inferno), 1)
  })
  return e.max > 0 ? h("span", { class: "cam" }, canvas, h("span", { class: "badge", "aria-hidden": "true" }, `max ${readable(e.max)}`)) : canvas
}

function evidenceWords(e, send) {
  if (e.is_running) {
    return h("span", { class: "going" }, h("span", { class: "mut" }, "Drawing the evidence"),
      h("span", { class: "bar-of", role: "progressbar", "aria-label": "Drawing the mean evidence", "aria-valuenow": Math.round(100 * e.share), "aria-valuemin": 0, "aria-valuemax": 100 }, h("i", { style: `width:${(100 * e.share).toFixed(1)}%` })),
      h("button", { class: "btn", type: "button", onclick: () => send({ kind: "stop_evidence" }) }, "Stop"))
  }
  if (e.problem) return h("span", { class: "problem", role: "status", title: e.problem }, e.problem)
  return e.words ? h("span", { class: "mut where", role: "status", title: e.help }, e.words) : null
}

function moreNodes(v, evidence, send) {
  const e = evidence.id === v.id ? evidence : {}
  const turn = (step, label, path, isThere) => h("button", { class: "btn", type: "button", "aria-label": label, title: label, disabled: !isThere, onclick: () => send({ kind: "page", step }) },
    svg("svg", { width: 12, height: 12, viewBox: "0 0 16 16", fill: "none", stroke: "currentColor", "stroke-width": 1.8, "aria-hidden": "true" }, svg("path", { d: path })))
  if (v.problem && v.where === undefined) return [h("div", { class: "said" }, h("span", { class: "problem", role: "status", title: v.problem }, v.problem))]
  const looks = v.problem
    ? h("span", { class: "problem", role: "status", title: v.problem }, v.problem)
    : v.name_words === undefined
    ? h("span", { class: "mut" }, "Looking at the pictures …")
    : h("span", { title: v.name_words }, v.name ? [h("span", { class: "mut" }, "They look "), h("b", {}, v.name)] : "Nothing in their colours or edges tells them apart")
  const asks = v.mean && !e.is_running && !e.map
  return [
    v.mean ? h("img", { class: "mean", src: v.mean, alt: v.mean_words, title: v.mean_words, draggable: "false" }) : null,
    e.map ? evidencePicture(e) : null,
    h("div", { class: "said" },
      looks,
      v.mean ? h("span", { class: "mut", title: v.mean_words }, v.mean_words) : null,
      evidenceWords(e, send),
      v.splits ? h("span", { class: "mut" }, v.splits) : null,
      h("div", { class: "pager" },
        turn(-1, "Members before", "M10 3L5 8l5 5", v.has_before),
        turn(1, "Members after", "M6 3l5 5-5 5", v.has_after),
        h("span", { class: "mut", title: v.where }, v.where)),
      asks ? h("div", {}, h("button", { class: "btn", type: "button", "data-action": "evidence", title: "Average the evidence (Grad-CAM) of the strongest members, each for what it is predicted", onclick: () => send({ kind: "mean_evidence" }) }, "Mean evidence")) : null),
  ].filter(Boolean)
}
