"""Makes docs/images/report.png: `python docs/report_image.py RUN`, with playwright and Chromium.

RUN is the folder of the demo, trained and extracted as in README.md.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

OUT = Path(__file__).parent / "images" / "report.png"
# a row in front whose nearest neighbour is of another class, near the middle
CHOSEN = """() => {
  const v = vmf.views[0], far = (i) => Math.hypot(v.x[i] - v.width / 2, v.y[i] - v.height / 2);
  const rows = [...Array(v.n).keys()].filter((i) => v.isFront(i) && v.hit[i] === 0);
  return rows.sort((a, b) => far(a) - far(b))[0];
}"""


def main() -> None:
    """Writes the image."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "report.html"
        words = [sys.executable, "-m", "vmf_embeddings", "report", sys.argv[1], "-o", str(page)]
        subprocess.run(words, check=True)
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1180, "height": 760}, device_scale_factor=1.5)
        tab.goto(page.as_uri())
        tab.wait_for_timeout(2000)
        tab.evaluate("document.getElementById('map').scrollIntoView()")
        canvas = tab.locator(".stage > canvas").first.bounding_box()
        x, y = tab.evaluate(f"[vmf.views[0].x, vmf.views[0].y].map((v) => v[({CHOSEN})()])")
        tab.mouse.move(canvas["x"] + x, canvas["y"] + y)
        tab.wait_for_timeout(500)
        tab.screenshot(path=OUT)


if __name__ == "__main__":
    main()
