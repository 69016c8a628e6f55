// Keys of the page; silent while someone types. Also tells which modifier a region is drawn with.
// All elements that match, through every shadow root below.
function deep(selector, root = document, found = []) {
  for (const node of root.querySelectorAll("*")) {
    if (node.matches(selector)) found.push(node)
    if (node.shadowRoot) deep(selector, node.shadowRoot, found)
  }
  return found
}
const shown = (node) => node.isConnected && node.getClientRects().length > 0
const usable = (node) => shown(node) && !node.disabled
function focused() {
  let node = document.activeElement
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement
  return node
}
// Focus that went with its element: what was redrawn in its place takes it, or else its view.
function keepFocus() {
  const MARKS = ["data-image", "data-act", "data-action", "data-id", "data-page", "data-view", "data-value", "aria-label"]
  let last = null
  const note = () => {
    const node = focused(), hosts = []
    if (!node || node === document.body) return
    for (let up = node; up; up = up.parentElement || up.getRootNode().host) hosts.push(up)
    last = { node, root: node.getRootNode(), hosts }
  }
  const likely = () => {
    const { node, root, hosts } = last
    for (const mark of MARKS) {
      const value = node.getAttribute(mark)
      if (value === null) continue
      const same = [...root.querySelectorAll(`[${mark}="${CSS.escape(value)}"]`)].find(usable)
      if (same) return same
    }
    const near = [...root.querySelectorAll("button, select, input, a[href], [tabindex]")].find((other) => usable(other) && other.tabIndex >= 0)
    return near || hosts.find((host) => shown(host) && host.classList.contains("view"))
  }
  const look = () => {
    note()
    if (!last || focused() !== document.body) return
    const next = usable(last.node) ? null : likely()
    // Who clicks on an empty place wants to be there; only what vanished is made good.
    last = null
    if (next?.classList.contains("view")) next.tabIndex = -1
    next?.focus({ preventScroll: true })
  }
  // A removed element tells nobody that it had the focus, and what moves inside the page's shadow
  // root is not heard outside.
  document.addEventListener("keydown", note, true)
  document.addEventListener("click", note, true)
  const timer = setInterval(look, 100)
  return () => {
    clearInterval(timer)
    document.removeEventListener("keydown", note, true)
    document.removeEventListener("click", note, true)
  }
}

export function render({ model, el }) {
  const KEYS = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "1", "2", "3", "4", "f", "Escape", "/", "i", "z", "Z", "[", "]", "r", "?"])
  const typing = (event) => {
    const target = event.composedPath()[0]
    if (!target || !target.tagName) return false
    if (target.tagName === "TEXTAREA" || target.isContentEditable) return true
    // A list that was used keeps the focus: only its own keys are its own, while it is closed.
    if (target.tagName === "SELECT") return event.key.startsWith("Arrow") || (CSS.supports("selector(:open)") && target.matches(":open"))
    if (target.tagName === "INPUT" && target.type !== "range") return true
    const slider = target.type === "range" || target.getAttribute("role") === "slider"
    return slider && event.key.startsWith("Arrow")
  }
  // The modifier belongs to the gesture: a region may reach the server after its key was let go.
  let modifier = ""
  const tell = (now) => { if (now !== modifier) { modifier = now; model.send_msg({ modifier }) } }
  const held = (event) => event.shiftKey ? "shift" : event.altKey ? "alt" : ""
  const press = (event) => tell(held(event))
  const lift = (event) => { if (held(event)) tell(held(event)) }
  const down = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event) || !KEYS.has(event.key)) return
    // The browser itself closes a popover on Escape: that is one step, and the page takes none.
    if (event.key === "Escape" && (event.defaultPrevented || deep("[popover=auto]:popover-open").length)) return
    // A closed list would otherwise jump to the entry that begins with the letter.
    if (event.key === "/" || event.key.startsWith("Arrow") || event.composedPath()[0].tagName === "SELECT") event.preventDefault()
    if (event.key === "/") document.dispatchEvent(new CustomEvent("vatun-search"))
    else model.send_msg({ key: event.key })
  }
  // A slider in motion changes the address many times; browsers refuse more than a few a second.
  // An address that was asked for before the last Back or Forward says where the page was, not is.
  // The layout that shows a view may come a little after the word to go there.
  const goTo = (view, tries = 40) => {
    const frame = deep(`.view-${view}`).find(shown)
    if (!frame) { if (tries) requestAnimationFrame(() => goTo(view, tries - 1)); return }
    frame.tabIndex = -1
    frame.focus({ preventScroll: true, focusVisible: true })
  }
  let writing = 0, step = false, moves = 0
  model.on("msg:custom", (told) => {
    if (/^[abcd]$/.test(told.view)) { goTo(told.view); return }
    if (typeof told.address !== "string" || told.moves !== moves) return
    step = step || Boolean(told.step)
    clearTimeout(writing)
    writing = setTimeout(() => {
      const address = location.pathname + told.address + location.hash
      if (address !== location.pathname + location.search + location.hash) history[step ? "pushState" : "replaceState"](history.state, "", address)
      step = false
    }, 250)
  })
  const back = () => {
    clearTimeout(writing)
    step = false
    moves += 1
    model.send_msg({ address: location.search, moves })
  }
  const forget = keepFocus()
  document.addEventListener("keydown", down)
  document.addEventListener("pointerdown", press, true)
  document.addEventListener("pointerup", lift, true)
  addEventListener("popstate", back)
  model.on("remove", () => {
    clearTimeout(writing)
    forget()
    document.removeEventListener("keydown", down)
    document.removeEventListener("pointerdown", press, true)
    document.removeEventListener("pointerup", lift, true)
    removeEventListener("popstate", back)
  })
}
