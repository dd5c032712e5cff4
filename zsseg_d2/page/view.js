// Single out a segment of a view: hovering over the image or the list shows it, a click keeps it, Escape lets it go.
(() => {
  const VEIL = [12, 12, 16, 200];
  const RIM = [255, 255, 255, 255];
  const maps = new WeakMap();

  // The code of each pixel: {width, height, codes}. The image of the codes is part of the page, and already decoded.
  const mapOf = (view) => {
    const image = view.querySelector("img.codes");
    if (!image.complete || !image.naturalWidth) return null;
    if (!maps.has(image)) {
      const canvas = document.createElement("canvas");
      const width = (canvas.width = image.naturalWidth);
      const height = (canvas.height = image.naturalHeight);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, width, height);
      const codes = new Uint32Array(width * height);
      for (let k = 0; k < codes.length; k++) codes[k] = data[4 * k] + 256 * data[4 * k + 1] + 65536 * data[4 * k + 2];
      maps.set(image, { width, height, codes });
    }
    return maps.get(image);
  };

  const belongs = (button, code) => (code & Number(button.dataset.bits)) === Number(button.dataset.code);
  const kept = (view) => view.querySelector('button[aria-pressed="true"]');

  // Veil all but the segment of a button; without one, veil nothing.
  const show = (view, button) => {
    if (view.shown === button) return;
    view.shown = button;
    view.querySelectorAll("button").forEach((other) => other.classList.toggle("shown", other === button));
    const map = mapOf(view);
    if (!map) return;
    const canvas = view.querySelector(".picture canvas");
    canvas.width = map.width;
    canvas.height = map.height;
    if (!button) return;
    const { width, height, codes } = map;
    const inside = Uint8Array.from(codes, (code) => belongs(button, code));
    const context = canvas.getContext("2d");
    const drawn = context.createImageData(width, height);
    for (let y = 0, k = 0; y < height; y++) {
      for (let x = 0; x < width; x++, k++) {
        if (inside[k]) continue;
        const rim =
          (x > 0 && inside[k - 1]) || (x < width - 1 && inside[k + 1]) ||
          (y > 0 && inside[k - width]) || (y < height - 1 && inside[k + width]);
        drawn.data.set(rim ? RIM : VEIL, 4 * k);
      }
    }
    context.putImageData(drawn, 0, 0);
  };

  // The button under the pointer: of the list, or of the segment that the image shows there; the last is on top.
  const pointed = (view, event) => {
    const button = event.target.closest("button");
    if (button || !event.target.closest(".picture")) return button;
    const map = mapOf(view);
    if (!map) return null;
    const box = view.querySelector(".drawn").getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * map.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * map.height);
    if (x < 0 || y < 0 || x >= map.width || y >= map.height) return null;
    const code = map.codes[y * map.width + x];
    return code ? [...view.querySelectorAll("button")].reverse().find((other) => belongs(other, code)) : null;
  };

  const keep = (view, button) => {
    const before = kept(view);
    before?.setAttribute("aria-pressed", "false");
    if (button && button !== before) button.setAttribute("aria-pressed", "true");
    show(view, kept(view));
  };

  const viewOf = (event) => (event.target instanceof Element ? event.target.closest(".segments-view") : null);
  const on = (kind, action) => document.addEventListener(kind, (event) => {
    const view = viewOf(event);
    if (view) action(view, event);
  });
  on("mousemove", (view, event) => show(view, pointed(view, event) || kept(view)));
  on("focusin", (view, event) => show(view, event.target.closest("button") || kept(view)));
  on("focusout", (view) => show(view, kept(view)));
  on("click", (view, event) => keep(view, pointed(view, event)));
  document.addEventListener("mousemove", (event) => {
    document.querySelectorAll(".segments-view").forEach((view) => {
      if (view !== viewOf(event)) show(view, kept(view));
    });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelectorAll(".segments-view").forEach((view) => keep(view, null));
  });
})();
