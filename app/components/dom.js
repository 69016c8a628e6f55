// Shared by our components: elements whose words are always set as text, never as HTML.
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value)
    else if (name === "style") element.style.cssText = value
    else element.setAttribute(name, value === true ? "" : String(value))
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false))
  return element
}

const SVG = "http://www.w3.org/2000/svg"
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value))
  element.append(...children)
  return element
}

const ICON_PATHS = {
  lock: ["M4 7.5h8v6H4z", "M5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5"],
  no: ["M4 4l8 8M12 4l-8 8"],
  warn: ["M8 2L14.5 13.5h-13z", "M8 6.500v3.500M8 11.800v.300"],
}
function icon(name, size = 14) {
  return svg("svg", { width: size, height: size, viewBox: "0 0 16 16", fill: "none", stroke: "currentColor", "stroke-width": 1.5, "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" },
    ...(ICON_PATHS[name] || []).map((d) => svg("path", { d })))
}

const MINUS = "\u2212"
const fixed = (value, digits) => value.toFixed(digits).replace("-", MINUS)
const signed = (value, digits) => {
  const text = Math.abs(value).toFixed(digits)
  return Number(text) === 0 ? text : (value < 0 ? MINUS : "+") + text
}
const whole = (value) => Math.round(value).toLocaleString("en-US")

// Runs `draw` once per frame however many parameters changed, and stops when the view is removed.
function onceAFrame(model, names, draw) {
  let waiting = 0
  const ask = () => { if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; draw() }) }
  model.on(names, ask)
  model.on("remove", () => cancelAnimationFrame(waiting))
  return ask
}

// Canvas colours are read from the style sheet; a finished colour transition says the theme changed.
function onTheme(element, draw) {
  element.style.color = "var(--vt-ink)"
  element.style.transition = "color 1ms"
  element.addEventListener("transitionend", (event) => { if (event.propertyName === "color" && event.target === element) draw() })
}

function ramp(stops) {
  const parsed = stops.map((s) => [1, 3, 5].map((k) => parseInt(s.slice(k, k + 2), 16)))
  return (share) => {
    const at = Math.min(Math.max(share, 0), 1) * (parsed.length - 1)
    const low = Math.min(Math.floor(at), parsed.length - 2)
    return parsed[low].map((v, k) => v + (parsed[low + 1][k] - v) * (at - low))
  }
}
