"use strict";
// What is around a map: buttons, keys, the card of the chosen row, the legend that filters classes.
(function () {
  var views = [], sheets = {}, MOST_LISTED = 200;

  function bytes(text) {
    return Uint8Array.from(atob(text), function (c) { return c.charCodeAt(0); }).buffer;
  }

  function element(tag, attributes, children) {
    var one = document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (key) { one.setAttribute(key, attributes[key]); });
    (children || []).forEach(function (child) {
      one.appendChild(typeof child === "string" ? document.createTextNode(child) : child);
    });
    return one;
  }

  // the sheet of images of a map, decoded once
  function sheet(number) {
    var own = vmf.data.sheets[number];
    if (own && !sheets[number]) {
      var image = new Image();
      sheets[number] = { image: image, own: own, ready: false };
      image.onload = function () { sheets[number].ready = true; views.forEach(function (v) { v.refresh(); }); };
      image.src = own.address;
    }
    return sheets[number];
  }

  function paint(context, from, i, x, y, size) {
    var s = from.own.side;
    context.drawImage(from.image, s * (i % from.own.columns), s * Math.floor(i / from.own.columns), s, s, x, y, size, size);
  }

  function start(article) {
    var map = vmf.data.maps[Number(article.dataset.map)], canvas = article.querySelector("canvas");
    var view = new MapView(canvas, map), card = article.querySelector(".card");
    var extra = {
      row: new Uint32Array(bytes(map.row)), nearRow: new Int32Array(bytes(map.nearRow)),
      nearClass: new Uint32Array(bytes(map.nearClass)), similarity: new Float32Array(bytes(map.similarity)),
      confidence: new Float32Array(bytes(map.confidence)),
      predicted: map.predicted ? new Uint32Array(bytes(map.predicted)) : null,
    };
    var pinned = false, drawing = false, pictures = sheet(map.sheet);
    view.map = map;

    function draw() {
      if (drawing) return;
      drawing = true;
      requestAnimationFrame(function () { drawing = false; view.draw(); });
    }

    function hasPicture(i) { return pictures && pictures.ready && i >= 0 && i < map.pictures; }

    function picture(i, size, label) {
      var one = element("canvas", { width: 2 * size, height: 2 * size, role: "img", "aria-label": label });
      one.style.width = one.style.height = size + "px";
      if (hasPicture(i)) paint(one.getContext("2d"), pictures, i, 0, 0, 2 * size);
      return one;
    }

    function rowName(i) { return map.paths ? map.paths[i] : "row " + extra.row[i]; }

    function pair(name, value) { return element("div", {}, [element("dt", {}, [name]), element("dd", {}, [value])]); }

    function describe(i) {
      card.textContent = "";
      if (i < 0) { card.appendChild(element("p", { class: "hint" }, ["No row is chosen."])); return; }
      var name = map.names[view.cls[i]];
      var facts = [map.paths ? pair("image", map.paths[i]) : pair("row", String(extra.row[i]))];
      if (extra.predicted) {
        var guess = extra.predicted[i];
        facts.push(pair("predicted", guess ? map.names[guess - 1] : "another class"));
      }
      facts.push(pair(map.confidenceName, extra.confidence[i].toPrecision(4)));
      var top = element("div", { class: "of" }, [
        element("div", {}, [element("p", { class: "name" }, [name]), element("dl", {}, facts)]),
      ]);
      if (hasPicture(i)) top.insertBefore(picture(i, 84, "image of " + rowName(i)), top.firstChild);
      var list = element("ol", { "aria-label": "nearest neighbours" }, []);
      for (var j = 0; j < map.k; j++) list.appendChild(neighbour(i, i * map.k + j));
      card.appendChild(top); card.appendChild(list);
      card.appendChild(element("p", { class: "hint" }, ["Nearest rows, by " + map.similarityName + "."]));
    }

    function neighbour(i, at) {
      if (extra.nearRow[at] < 0) return element("li", {}, []);
      var other = view.near[at], hit = extra.nearClass[at] === view.cls[i], name = map.names[extra.nearClass[at]];
      var label = (hit ? "hit: " : "miss: ") + name;
      return element("li", {}, [
        hasPicture(other) ? picture(other, 36, "image of row " + extra.nearRow[at]) : element("span", {}, []),
        element("span", { class: hit ? "hit" : "miss", role: "img", "aria-label": label }, [hit ? "✓" : "✗"]),
        element("span", {}, [name]), element("span", { class: "n" }, [extra.similarity[at].toFixed(4)]),
      ]);
    }

    function choose(i, alone) {
      if (i === view.chosen) return;
      view.chosen = i;
      view.picture = hasPicture(i) ? { image: true, paint: function (c, x, y, s) { paint(c, pictures, i, x, y, s); } } : null;
      describe(i); draw();
      if (!alone) views.forEach(function (other) {
        if (other.map !== map && other.map.sheet === map.sheet) other.choose(i, true);
      });
    }

    // the next row in the order of the file, or the next miss
    function step(by, misses) {
      var order = view.order || (view.order = Array.from(extra.row.keys()).sort(function (a, b) { return extra.row[a] - extra.row[b]; }));
      var at = view.chosen < 0 ? (by > 0 ? -1 : order.length) : order.indexOf(view.chosen);
      for (var k = at + by; k >= 0 && k < order.length; k += by) {
        if (view.isShown(order[k]) && (!misses || view.hit[order[k]] === 0)) { choose(order[k]); pinned = true; return; }
      }
    }

    function zoom(by) { view.zoom = Math.min(60, Math.max(0.5, view.zoom * by)); view.move = view.zoom === 1 ? [0, 0] : [view.move[0] * by, view.move[1] * by]; draw(); }
    function turn(x, y) { view.turn(x, y); draw(); }
    var keys = {
      ArrowLeft: function () { turn(-0.15, 0); }, ArrowRight: function () { turn(0.15, 0); },
      ArrowUp: function () { turn(0, -0.15); }, ArrowDown: function () { turn(0, 0.15); },
      "+": function () { zoom(1.25); }, "=": function () { zoom(1.25); }, "-": function () { zoom(0.8); },
      "0": function () { view.reset(); draw(); }, n: function () { step(1); }, p: function () { step(-1); },
      m: function () { step(1, true); }, Escape: function () { pinned = false; choose(-1); },
    };

    canvas.addEventListener("keydown", function (event) {
      var act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (act && !event.ctrlKey && !event.metaKey && !event.altKey) { act(); event.preventDefault(); }
    });

    function where(event) {
      var box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    }

    var held = null, moved = 0;
    canvas.addEventListener("pointerdown", function (event) {
      held = where(event); moved = 0;
      if (canvas.setPointerCapture) canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", function (event) {
      var at = where(event);
      if (held) {
        var dx = at[0] - held[0], dy = at[1] - held[1];
        moved += Math.abs(dx) + Math.abs(dy); held = at;
        if (moved < 4) return;
        view.dragged = true;
        if (view.solid) turn(dx / 160 / view.zoom, dy / 160 / view.zoom); else { view.move[0] += dx; view.move[1] += dy; draw(); }
      } else if (!pinned) choose(view.pick(at[0], at[1], 14));
    });
    canvas.addEventListener("pointerup", function (event) {
      var at = where(event);
      if (held && moved < 4) { var found = view.pick(at[0], at[1], event.pointerType === "touch" ? 26 : 14); pinned = found >= 0; choose(found); }
      let_go();
    });
    function let_go() { held = null; if (view.dragged) { view.dragged = false; draw(); } }
    canvas.addEventListener("pointercancel", let_go);
    canvas.addEventListener("pointerleave", function () { if (!pinned && !held) choose(-1); });
    canvas.addEventListener("wheel", function (event) {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault(); zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
    }, { passive: false });

    var buttons = article.querySelector(".buttons");
    function button(text, label, act) {
      var one = element("button", { type: "button", "aria-label": label, title: label }, [text]);
      one.addEventListener("click", act); buttons.appendChild(one);
    }
    var verb = view.solid ? "Turn " : "Move ";
    button("←", verb + "left", keys.ArrowLeft); button("→", verb + "right", keys.ArrowRight);
    button("↑", verb + "up", keys.ArrowUp); button("↓", verb + "down", keys.ArrowDown);
    button("+", "Zoom in", keys["+"]); button("−", "Zoom out", keys["-"]); button("Reset", "Reset the view", keys["0"]);
    function check(text, on, act) {
      var box = element("input", { type: "checkbox" });
      box.checked = on; box.addEventListener("change", function () { act(box.checked); draw(); });
      buttons.appendChild(element("label", {}, [box, text]));
    }
    check("Names", true, function (on) { view.named = on; });
    check("Misses only", false, function (on) { view.missesOnly = on; });

    legend(article.querySelector(".legend"), view, draw);
    view.refresh = function () { if (view.chosen >= 0) { var i = view.chosen; view.chosen = -1; choose(i, true); } draw(); };
    view.choose = choose;
    view.map = map;
    views.push(view);
    new ResizeObserver(draw).observe(canvas);
    draw();
  }

  // names of the classes with their marks; a box for each that hides its points
  function legend(place, view, draw) {
    var names = view.map.names, counts = new Uint32Array(names.length), list = element("ul", {});
    view.cls.forEach(function (cls) { counts[cls]++; });
    var search = element("input", { type: "search", placeholder: "Find a class", "aria-label": "Find a class" });
    var all = element("button", { type: "button" }, ["All"]), none = element("button", { type: "button" }, ["None"]);
    var head = element("div", { class: "row" }, [element("b", {}, ["Classes"]), all, none]);
    place.appendChild(head);
    if (names.length > 20) place.appendChild(search);
    if (names.some(function (name) { return name.length > 14; })) list.className = "long";
    place.appendChild(list);
    var said = element("p", { class: "hint" }, []);
    place.appendChild(said);

    function fill() {
      var word = search.value.trim().toLowerCase(), found = [];
      names.forEach(function (name, cls) { if (counts[cls] && name.toLowerCase().includes(word)) found.push(cls); });
      list.textContent = "";
      found.slice(0, MOST_LISTED).forEach(function (cls) {
        var box = element("input", { type: "checkbox" });
        box.checked = Boolean(view.shown[cls]);
        box.addEventListener("change", function () { view.shown[cls] = box.checked ? 1 : 0; draw(); });
        list.appendChild(element("li", {}, [element("label", {}, [box, mark(view, cls), names[cls]])]));
      });
      said.textContent = found.length > MOST_LISTED ? MOST_LISTED + " of " + found.length + " are listed." : "";
      return found;
    }

    function set(value) {
      var word = search.value.trim();
      fill().forEach(function (cls) { view.shown[cls] = value; });
      if (!word) view.shown.fill(value);
      fill(); draw();
    }
    search.addEventListener("input", fill);
    all.addEventListener("click", function () { set(1); });
    none.addEventListener("click", function () { set(0); });
    vmf.onChange(fill);
    fill();
  }

  function mark(view, cls) {
    var one = element("canvas", { width: 28, height: 28, "aria-hidden": "true" }), c = one.getContext("2d");
    one.style.width = one.style.height = "14px"; one.style.flex = "none";
    c.scale(2, 2); c.translate(7, 7); c.fillStyle = view.colour(cls);
    c.beginPath(); view.shape(cls)(c, 4.6); c.fill();
    return one;
  }

  document.querySelectorAll("[data-map]").forEach(start);
  // printed pages are drawn before they are laid out: at once
  vmf.onChange(function () { views.forEach(function (view) { view.draw(); }); });
  vmf.views = views;
})();
