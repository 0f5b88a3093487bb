"""The console in a real browser: Chromium, headless.

    apt-get install chromium chromium-driver
    python3 -m venv venv && venv/bin/pip install selenium
    venv/bin/python crates/brisk-serve/tests/console.py http://127.0.0.1:8080 [KEY]

The server has at least one model of pictures, of texts, or of numbers; with a KEY it is one that asks for keys.
A line is printed for each thing that holds. The exit status is 1 as soon as something does not.
"""

import json
import os
import struct
import sys
import tempfile
import tempfile
import time
import zlib
from pathlib import Path

os.environ["SE_OFFLINE"] = os.environ["SE_AVOID_STATS"] = "true"

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

FAILED = f"{tempfile.gettempdir()}/console-failed.png"

BASE = sys.argv[1].rstrip("/") if len(sys.argv) > 1 else sys.exit(__doc__)
KEY = sys.argv[2] if len(sys.argv) > 2 else None

# What is wrong with the page for those who do not see it, or do not use a mouse: a list of words.
FLAWS = r"""
const flaws = [];
const seen = node => node.checkVisibility({ checkVisibilityCSS: true });
const all = selector => [...document.querySelectorAll(selector)].filter(seen);
const words = id => document.getElementById(id)?.textContent.trim();
const name = node => node.getAttribute('aria-label') || (node.getAttribute('aria-labelledby') ?? '').split(' ').map(words).join(' ').trim();
const what = node => node.outerHTML.slice(0, 120);
for (const node of all('input, select, textarea')) {
  const label = [...node.labels ?? []].map(l => l.textContent.trim()).join('');
  if (!label && !name(node)) flaws.push(`a field without a label: ${what(node)}`);
}
for (const node of all('button, a, summary')) if (!node.textContent.trim() && !name(node)) flaws.push(`no name: ${what(node)}`);
for (const node of all('img')) if (!node.hasAttribute('alt')) flaws.push(`no alt: ${what(node)}`);
for (const node of all('svg')) if (node.getAttribute('role') !== 'img' || !name(node)) flaws.push(`no text for: ${what(node)}`);
for (const node of all('.chart')) if (!/\d/.test(name(node))) flaws.push(`a chart without numbers in words: ${what(node)}`);
for (const node of all('th')) if (!node.scope) flaws.push(`th without scope: ${what(node)}`);
for (const tag of ['header', 'nav', 'main', 'h1']) if (!all(tag).length) flaws.push(`no <${tag}>`);
for (const node of all('section, article, [role=region]')) if (node.id !== 'refused' && node.closest('#refused') === null && !name(node) && !node.querySelector('h2, h3')) flaws.push(`a part without a name: ${what(node)}`);
const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
for (const id of new Set(ids)) if (ids.filter(i => i === id).length > 1) flaws.push(`the id ${id} is there twice`);
let level = 1;
for (const node of all('h1, h2, h3, h4')) {
  const next = Number(node.tagName[1]);
  if (next > level + 1) flaws.push(`h${level} is followed by ${what(node)}`);
  level = next;
}
if (document.documentElement.scrollWidth > innerWidth) flaws.push(`${document.documentElement.scrollWidth} wide on ${innerWidth}`);

// Contrast of text, as WCAG counts it: 4.5, or 3 for large letters.
const pen = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
function over(colour, under) {
  pen.clearRect(0, 0, 1, 1);
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
  return [r, g, b].map((c, i) => c * a / 255 + (under ? under[i] : 255) * (1 - a / 255));
}
const behind = node => (node ? over(getComputedStyle(node).backgroundColor, behind(node.parentElement)) : null);
const light = rgb => rgb.map(c => c / 255).map(c => (c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
for (const node of all('body *')) {
  if (node.closest('svg, noscript, option') || ![...node.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
  const style = getComputedStyle(node), ground = behind(node);
  const [a, b] = [light(over(style.color, ground)), light(ground)];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) flaws.push(`contrast ${ratio.toFixed(2)}: ${what(node)}`);
}
return flaws;
"""


def chromium():
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-US", "--window-size=1300,1000"):
        options.add_argument(argument)
    options.add_argument("--disable-background-networking")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")))


def check(holds, what, more=""):
    if not holds:
        print(f"FAILED {what} {more}")
        driver.save_screenshot(FAILED)
        sys.exit(f"the page as it was: {FAILED}")
    print(f"ok {what}")


def wait(condition, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    return None


def one(selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def shown(selector):
    return [node for node in driver.find_elements(By.CSS_SELECTOR, selector) if node.is_displayed()]


def text(selector):
    return driver.execute_script("return document.querySelector(arguments[0])?.textContent.trim() ?? ''", selector)


def keys(*pressed):
    webdriver.ActionChains(driver).send_keys(*pressed).perform()


def chord(modifier, key):
    webdriver.ActionChains(driver).key_down(modifier).send_keys(key).key_up(modifier).perform()


def tab_to(selector, most=400):
    """Presses Tab until something has the focus."""
    for _ in range(most):
        if driver.execute_script("return document.activeElement.matches(arguments[0])", selector):
            return True
        keys(Keys.TAB)
    return False


def media(**features):
    features = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def width(pixels):
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": pixels, "height": 1000, "deviceScaleFactor": 1, "mobile": False})


def offline(on):
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": on, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})


def faults_of_log(allowed=()):
    lines = [line["message"] for line in driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
    return [line for line in lines if not any(word in line for word in allowed)]


def flaws(what):
    found = driver.execute_script(FLAWS)
    check(not found, f"labels, names, landmarks, headings, contrast: {what}", "\n  " + "\n  ".join(found))


def picture(folder, side=28):
    """A PNG with a grey slope."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(9 * x % 256 for x in range(side)) for _ in range(side))
    path = Path(folder, "slope.png")
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return str(path)


def sign_in():
    check(wait(lambda: shown("#key")), "a server with keys shows the door")
    check(wait(lambda: driver.execute_script("return document.activeElement.id") == "key"), "the field of the key has the focus")
    flaws("the door")
    keys("not-the-key", Keys.ENTER)
    check(wait(lambda: text("#enter-error")), "a wrong key is refused in words")
    keys(KEY, Keys.ENTER)
    check(wait(lambda: shown("#model-list button")), "the right key opens")
    check(KEY not in driver.execute_script("return JSON.stringify(localStorage) + document.cookie + location.href"), "the key is kept in this tab only")
    driver.refresh()
    check(wait(lambda: shown("#model-list button")), "a reload keeps it")


def ask_by_keyboard(file):
    """Chooses each model with the keyboard, asks it once, and reads the answer where it is read aloud."""
    driver.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    check(tab_to(".skip"), "the first Tab reaches the link to the content")
    outline = driver.execute_script("const s = getComputedStyle(document.activeElement); return s.outlineStyle + parseFloat(s.outlineWidth)")
    check(outline not in ("none0", "none3") and outline[-1] != "0", "focus is visible", outline)
    state = wait(lambda: driver.execute_script("return state"))
    for place, model in enumerate(m for m in state["models"] if m["versions"]):
        name = model["name"]
        check(tab_to(f"#model-{state['models'].index(model)}"), f"{name}: Tab reaches it")
        keys(Keys.ENTER)
        check(wait(lambda: text("#model-title") == name), f"{name}: Enter opens it")
        check(tab_to("#field-0"), f"{name}: Tab reaches its form")
        kinds = driver.execute_script("return fields.map(f => f.kind)")
        for i, kind in enumerate(kinds):
            check(tab_to(f"#field-{i}", 12), f"{name}: Tab reaches the field of a {kind}")
            match kind:
                case "picture":
                    # What the window that Enter opens would do is left to the driver.
                    one(f"#field-{i}").send_keys(file)
                    check(wait(lambda: shown(".look img")), f"{name}: the picture is shown")
                case "number":
                    keys("1.5")
                case "list":
                    size = model["versions"][0]["inputs"][i]["shape"]
                    keys(", ".join(["0.5"] * max(1, abs(size[-1] if len(size) > 1 else 1))))
                case "texts":
                    keys("A good one", Keys.ENTER, "另一个")
                case _:
                    keys("A good one, in London: 很好")
        if {"text", "texts"} & {kinds[-1]}:
            chord(Keys.CONTROL, Keys.ENTER)
        else:
            check(tab_to("#ask-button", 12), f"{name}: Tab reaches the button")
            keys(Keys.ENTER)
        check(wait(lambda: shown("#answer .big, #answer .bars, #answer .tagged, #answer .vector"), 30), f"{name}: it answers", text("#answer"))
        live = driver.execute_script("return document.querySelector('#answer').closest('[aria-live]')?.ariaLive")
        check(live == "polite", f"{name}: the answer is in a live region")
        check(" ms" in text("#answer"), f"{name}: the time is there")
        check(tab_to("#details summary", 12), f"{name}: Tab reaches the details")
        keys(Keys.ENTER)
        check(shown("#curl") and text("#curl").startswith(f"curl {BASE}"), f"{name}: the same for curl", text("#curl"))
        check(KEY is None or KEY not in text("#curl"), f"{name}: without the key")
        flaws(f"{name}, light")
        media(prefers_color_scheme="dark")
        flaws(f"{name}, dark")
        media(prefers_color_scheme="light")
        if place == 0:
            width(400)
            flaws("on 400 pixels")
            width(1300)
        driver.execute_script("document.querySelector('.skip').focus()")


def colours():
    found = {}
    for scheme in ("light", "dark"):
        media(prefers_color_scheme=scheme)
        found[scheme] = driver.execute_script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    media(prefers_color_scheme="light")
    check(found["light"] != found["dark"], "dark and light differ", str(found))
    media(prefers_reduced_motion="reduce")
    moves = driver.execute_script("return [...document.querySelectorAll('*')].filter(n => getComputedStyle(n, '::before').animationName !== 'none').length")
    check(moves == 0, "nothing moves for those who want no motion")
    media(prefers_color_scheme="light")


def languages():
    chinese = "return (document.body.innerText.match(/[\\u4e00-\\u9fff]/g) ?? []).length"
    both = "return Object.entries(WORDS).filter(([, w]) => w.length !== 2 || !w[0] || !w[1] || String(w[0].match(/\\{\\d\\}/g)?.sort()) !== String(w[1].match(/\\{\\d\\}/g)?.sort())).map(([k]) => k)"
    missing = driver.execute_script(both)
    check(not missing, "each text is there in both languages, with the same places", str(missing))
    unknown = driver.execute_script("return [...document.querySelectorAll('[data-t]')].map(n => n.dataset.t).filter(w => !(w in WORDS))")
    check(not unknown, "the page names no unknown texts", str(unknown))
    check(driver.execute_script("return document.documentElement.lang") == "en", "English for English browsers")
    one("#language").click()
    check(driver.execute_script("return document.documentElement.lang") == "zh" and driver.execute_script(chinese) > 40, "the button gives Chinese")
    flaws("in Chinese")
    driver.refresh()
    check(wait(lambda: shown("#model-list button")) and driver.execute_script("return document.documentElement.lang") == "zh", "and a reload keeps it")
    one("#language").click()
    check(driver.execute_script("return document.documentElement.lang") == "en", "and English again")
    agent = driver.execute_script("return navigator.userAgent")
    driver.execute_cdp_cmd("Network.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": "zh-CN"})
    driver.execute_script("localStorage.clear()")
    driver.refresh()
    check(wait(lambda: driver.execute_script("return document.documentElement.lang") == "zh"), "Chinese for Chinese browsers")
    driver.execute_cdp_cmd("Network.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": "en-US"})
    driver.refresh()
    wait(lambda: shown("#model-list button"))


def outage():
    offline(True)
    check(wait(lambda: text("#banner")), "a server that is away is noticed")
    check(one("#banner").get_attribute("role") == "alert", "and said")
    offline(False)
    check(wait(lambda: "good" in one("#banner").get_attribute("class")), "and that it is back")
    check(wait(lambda: not text("#banner")), "and then no more of it")


def report():
    links = shown("#versions td a")
    if not links:
        return
    links[0].send_keys(Keys.ENTER)
    check(wait(lambda: shown("#sheet iframe")), "a report opens")
    check("allow-scripts" not in one("#sheet iframe").get_attribute("sandbox"), "and runs nothing")
    keys(Keys.ESCAPE)
    check(wait(lambda: not shown("#sheet")), "and Escape closes it")


def everything():
    media(prefers_color_scheme="light")
    width(1300)
    driver.get(BASE + "/")
    # Chromium itself writes a line for each answer of 401.
    allowed = ["status of 401"] if KEY else []
    if KEY:
        sign_in()
    check(wait(lambda: shown("#model-list button")), "models are listed")
    names = driver.execute_script("return state.models.map(m => m.name)")
    check([node.text for node in shown("#model-list button")] == names, "all of them", str(names))
    check(shown("#server-facts .badge") and text("#server-facts dd"), "the server says how it is")
    rises = driver.execute_script("return state.server.uptime_seconds")
    check(wait(lambda: driver.execute_script("return state.server.uptime_seconds") > rises, 5), "the page follows the server")
    before = faults_of_log(allowed)
    check(not before, "no errors in the console", str(before))
    # The page reads the file again when it is built anew.
    with tempfile.TemporaryDirectory() as folder:
        ask_by_keyboard(picture(folder))
        report()
        colours()
        languages()
    after = faults_of_log(allowed)
    check(not after, "no errors in the console after all that", str(after))
    outage()
    if KEY:
        check(shown("#admin"), "with a key there are the forms for changes")
        one("#leave").click()
        check(wait(lambda: shown("#key")) and driver.execute_script("return sessionStorage.getItem('key')") is None, "signing out forgets the key")
        check(not shown("#inside"), "and shows nothing any more")
    driver.get(BASE + "/docs")
    check(shown("main.docs summary"), "the page of the interface is there")
    flaws("the page of the interface")
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    urls = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    strange = [url for url in urls if not url.startswith((BASE + "/", "data:", "blob:" + BASE, "about:"))]
    check(urls and not strange, "nothing is asked of other hosts", str(strange))
    print("all well")


driver = chromium()
try:
    everything()
finally:
    driver.quit()
