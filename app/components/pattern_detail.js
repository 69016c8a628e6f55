// What an open pattern card shows besides: pages of members, their mean, and what they look like.
function moreNodes(v, send) {
  const turn = (step, label, path, isThere) => h("button", { class: "btn", type: "button", "aria-label": label, title: label, disabled: !isThere, onclick: () => send({ kind: "page", step }) },
    svg("svg", { width: 12, height: 12, viewBox: "0 0 16 16", fill: "none", stroke: "currentColor", "stroke-width": 1.8, "aria-hidden": "true" }, svg("path", { d: path })))
  return [
    v.mean ? h("img", { class: "mean", src: v.mean, alt: v.mean_words, title: v.mean_words, draggable: "false" }) : null,
    h("div", { class: "said" },
      v.name_words === undefined
        ? h("span", { class: "mut" }, "Looking at the pictures …")
        : h("span", { title: v.name_words }, v.name ? [h("span", { class: "mut" }, "They look "), h("b", {}, v.name)] : "Nothing in their colours or edges tells them apart"),
      v.mean ? h("span", { class: "mut", title: v.mean_words }, v.mean_words) : null,
      h("div", { class: "pager" },
        turn(-1, "Members before", "M10 3L5 8l5 5", v.has_before),
        turn(1, "Members after", "M6 3l5 5-5 5", v.has_after),
        h("span", { class: "mut" }, v.where))),
  ].filter(Boolean)
}
