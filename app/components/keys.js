// Keys of the page; silent while someone types. Also tells which modifier a region is drawn with.
export function render({ model, el }) {
  const KEYS = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "1", "2", "3", "4", "f", "Escape", "/", "i", "z", "Z", "[", "]", "r", "?"])
  const typing = (event) => {
    const target = event.composedPath()[0]
    if (!target || !target.tagName) return false
    if (["TEXTAREA", "SELECT"].includes(target.tagName) || target.isContentEditable) return true
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
    if (event.key === "/" || event.key.startsWith("Arrow")) event.preventDefault()
    if (event.key === "/") document.dispatchEvent(new CustomEvent("vatun-search"))
    else model.send_msg({ key: event.key })
  }
  // A slider in motion changes the address many times; browsers refuse more than a few a second.
  // An address that was asked for before the last Back or Forward says where the page was, not is.
  let writing = 0, step = false, moves = 0
  model.on("msg:custom", (told) => {
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
  document.addEventListener("keydown", down)
  document.addEventListener("pointerdown", press, true)
  document.addEventListener("pointerup", lift, true)
  addEventListener("popstate", back)
  model.on("remove", () => {
    clearTimeout(writing)
    document.removeEventListener("keydown", down)
    document.removeEventListener("pointerdown", press, true)
    document.removeEventListener("pointerup", lift, true)
    removeEventListener("popstate", back)
  })
}
