"use strict";
// A map on a canvas: places of points, turning, moving, zooming, drawing, and which point is where.
var MapView = (function () {
  var SHAPES = [circle, square, up, diamond, down, plus, cross, star, left, right];

  function bytes(text) {
    return Uint8Array.from(atob(text), function (c) { return c.charCodeAt(0); }).buffer;
  }

  function View(canvas, map) {
    this.canvas = canvas; this.map = map; this.context = canvas.getContext("2d");
    this.points = new Float32Array(bytes(map.points));
    this.cls = map.wide ? new Uint32Array(bytes(map.class)) : new Uint16Array(bytes(map.class));
    this.hit = new Uint8Array(bytes(map.hit));
    this.near = new Int32Array(bytes(map.near));
    this.marks = map.marks ? new Float32Array(bytes(map.marks)) : null;
    this.n = this.cls.length;
    this.solid = map.dims === 3;
    this.shown = new Uint8Array(map.names.length).fill(1);
    this.labels = shortened(map.names);
    this.missesOnly = false; this.named = true; this.chosen = -1; this.picture = null;
    this.x = new Float32Array(this.n); this.y = new Float32Array(this.n); this.z = new Float32Array(this.n);
    this.reset();
  }

  View.prototype.reset = function () {
    this.turned = this.solid ? this.best() : null;
    this.zoom = 1; this.move = [0, 0]; this.fit();
  };

  // of many views the one in which no class lies at the rim, where it would be cut in half
  View.prototype.best = function () {
    var sums = new Float64Array(3 * this.map.names.length), p = this.points, best = null, most = -1;
    for (var i = 0; i < this.n; i++) for (var d = 0; d < 3; d++) sums[3 * this.cls[i] + d] += p[3 * i + d];
    for (var k = 0; k < 240; k++) {
      var view = times(about(0, -0.7 + 1.4 * ((k * 0.618034) % 1)), about(1, (Math.PI * k) / 120)), least = 1;
      for (i = 0; i < sums.length; i += 3) {
        var r = Math.hypot(sums[i], sums[i + 1], sums[i + 2]);
        if (r) least = Math.min(least, Math.abs(view[6] * sums[i] + view[7] * sums[i + 1] + view[8] * sums[i + 2]) / r);
      }
      if (least > most) { most = least; best = view; }
    }
    return best;
  };

  // the part of the plane that holds all points, or the whole disc
  View.prototype.fit = function () {
    var low = [Infinity, Infinity], high = [-Infinity, -Infinity], p = this.points;
    this.centre = [0, 0]; this.reach = 1;
    if (this.solid) {
      for (var k = 0, most = this.map.rim; k < p.length; k += 3) most = Math.max(most, Math.hypot(p[k], p[k + 1], p[k + 2]));
      this.reach = most || 1;
      return;
    }
    for (var i = 0; i < this.n; i++) for (var d = 0; d < 2; d++) {
      low[d] = Math.min(low[d], p[2 * i + d]); high[d] = Math.max(high[d], p[2 * i + d]);
    }
    if (this.map.rim) { this.reach = Math.max(this.map.rim, -low[0], -low[1], high[0], high[1]); return; }
    this.centre = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
    this.half = [(high[0] - low[0]) / 2 || 1, (high[1] - low[1]) / 2 || 1];
    this.reach = 0;
  };

  View.prototype.scale = function () {
    var w = this.width / 2 - 18, h = this.height / 2 - 18;
    return this.zoom * (this.reach ? Math.min(w, h) / this.reach : Math.min(w / this.half[0], h / this.half[1]));
  };

  View.prototype.turn = function (dx, dy) {
    if (this.solid) this.turned = times(times(about(1, dx), about(0, dy)), this.turned);
    else { this.move[0] += 160 * dx; this.move[1] += 160 * dy; }
  };

  View.prototype.at = function (p, k, out) {
    var s = this.scale_, a = p[k], b = p[k + 1];
    if (this.solid) {
      var c = p[k + 2], t = this.turned;
      out[0] = this.ox + s * (t[0] * a + t[1] * b + t[2] * c);
      out[1] = this.oy - s * (t[3] * a + t[4] * b + t[5] * c);
      out[2] = t[6] * a + t[7] * b + t[8] * c;
    } else {
      out[0] = this.ox + s * (a - this.centre[0]); out[1] = this.oy - s * (b - this.centre[1]); out[2] = 0;
    }
    return out;
  };

  View.prototype.place = function () {
    var box = this.canvas.getBoundingClientRect(), ratio = Math.max(window.devicePixelRatio || 1, vmf.isPrinting() ? 2 : 1);
    this.width = box.width || 600; this.height = box.height || 480;
    this.canvas.width = Math.round(this.width * ratio); this.canvas.height = Math.round(this.height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.scale_ = this.scale(); this.ox = this.width / 2 + this.move[0]; this.oy = this.height / 2 + this.move[1];
    var out = [0, 0, 0];
    for (var i = 0; i < this.n; i++) {
      this.at(this.points, (this.solid ? 3 : 2) * i, out);
      this.x[i] = out[0]; this.y[i] = out[1]; this.z[i] = out[2];
    }
  };

  View.prototype.isShown = function (i) {
    return this.shown[this.cls[i]] && (!this.missesOnly || this.hit[i] === 0);
  };

  View.prototype.isFront = function (i) { return this.map.kind !== "sphere" || this.z[i] >= 0; };

  View.prototype.pick = function (x, y, reach) {
    var best = -1, least = reach * reach;
    for (var i = 0; i < this.n; i++) {
      if (!this.isShown(i) || !this.isFront(i)) continue;
      var d = (this.x[i] - x) * (this.x[i] - x) + (this.y[i] - y) * (this.y[i] - y);
      if (d < least) { least = d; best = i; }
    }
    return best;
  };

  View.prototype.colour = function (cls) { return vmf.colour(cls % 10); };
  View.prototype.shape = function (cls) {
    return SHAPES[this.map.names.length > 100 ? 0 : Math.floor(cls / 10) % SHAPES.length];
  };

  View.prototype.draw = function () {
    var c = this.context, r = Math.max(2, Math.min(4.5, Math.sqrt(24000 / this.n)));
    this.place();
    c.fillStyle = vmf.style("--paper"); c.fillRect(0, 0, this.width, this.height);
    this.ground();
    var look = vmf.isDark() + "/" + r, self = this, sphere = this.map.kind === "sphere", ball = this.map.kind === "ball";
    if (this.look !== look) { this.sprites = {}; this.look = look; }
    function dot(i, alpha) {
      var cls = self.cls[i], sprite = self.sprites[cls] || (self.sprites[cls] = self.sprite(cls, r));
      c.globalAlpha = alpha;
      c.drawImage(sprite, self.x[i] - sprite.half, self.y[i] - sprite.half, 2 * sprite.half, 2 * sprite.half);
    }
    // while a large map is dragged, half of its points keep up with the hand
    var quick = this.dragged && this.n > 4000;
    if (sphere && !quick) for (var i = 0; i < this.n; i++) if (this.isShown(i) && this.z[i] < 0) dot(i, 0.1);
    for (i = 0; i < this.n; i += quick ? 2 : 1) {
      if (!this.isShown(i) || !this.isFront(i)) continue;
      dot(i, sphere ? 0.45 + 0.45 * this.z[i] : ball ? 0.62 + 0.3 * this.z[i] : 0.75);
    }
    c.globalAlpha = 1;
    if (this.marks) this.drawMarks();
    if (this.named && !quick) this.drawNames();
    if (this.chosen >= 0) this.drawChosen(r);
  };

  View.prototype.sprite = function (cls, r) {
    var half = r + 1.5, ratio = 2, one = document.createElement("canvas");
    one.width = one.height = Math.ceil(2 * half * ratio);
    var c = one.getContext("2d");
    c.scale(ratio, ratio); c.translate(half, half);
    c.fillStyle = this.colour(cls); c.beginPath(); this.shape(cls)(c, r); c.fill();
    one.half = half;
    return one;
  };

  // sphere or disc, and circles of latitude and longitude
  View.prototype.ground = function () {
    var c = this.context, self = this, rim = this.map.rim * this.scale_;
    c.lineWidth = 1; c.strokeStyle = vmf.style("--line");
    if (this.map.rim) {
      var x = this.solid ? this.ox : this.ox - this.centre[0] * this.scale_, y = this.solid ? this.oy : this.oy + this.centre[1] * this.scale_;
      c.beginPath(); c.arc(x, y, rim, 0, 7);
      if (this.map.kind === "sphere") { c.fillStyle = vmf.style("--globe"); c.fill(); }
      c.strokeStyle = vmf.style("--muted"); c.stroke(); c.strokeStyle = vmf.style("--line");
    }
    if (!this.solid || !this.map.rim) return;
    function ring(point) {
      c.beginPath();
      for (var k = 0, out = [0, 0, 0], down = false; k <= 72; k++) {
        self.at(point((k * Math.PI) / 36), 0, out);
        if (out[2] < 0) { down = false; continue; }
        if (down) c.lineTo(out[0], out[1]); else c.moveTo(out[0], out[1]);
        down = true;
      }
      c.stroke();
    }
    var R = this.map.rim;
    for (var k = 0; k < 6; k++) (function (l) {
      ring(function (t) { return [R * Math.cos(t) * Math.cos(l), R * Math.sin(t), R * Math.cos(t) * Math.sin(l)]; });
    })((k * Math.PI) / 6);
    for (k = -2; k <= 2; k++) (function (b) {
      ring(function (t) { return [R * Math.cos(b) * Math.cos(t), R * Math.sin(b), R * Math.cos(b) * Math.sin(t)]; });
    })((k * Math.PI) / 6);
  };

  // diamonds: directions of the class weights
  View.prototype.drawMarks = function () {
    var c = this.context, out = [0, 0, 0];
    if (this.map.names.length > 100) return;
    for (var k = 0; k < this.map.names.length; k++) {
      if (!this.shown[k] || this.at(this.marks, 3 * k, out)[2] < 0) continue;
      c.save(); c.translate(out[0], out[1]); c.beginPath(); diamond(c, 6); c.fillStyle = this.colour(k);
      c.fill(); c.strokeStyle = vmf.style("--ink"); c.lineWidth = 1.2; c.stroke(); c.restore();
    }
  };

  // names at the middle of the points that are seen, the largest classes first, none over another
  View.prototype.drawNames = function () {
    var n = this.map.names.length, sums = [], c = this.context, boxes = [], self = this;
    for (var i = 0; i < this.n; i++) {
      if (!this.isShown(i) || !this.isFront(i)) continue;
      var one = sums[this.cls[i]] || (sums[this.cls[i]] = { cls: this.cls[i], x: [], y: [] });
      one.x.push(this.x[i]); one.y.push(this.y[i]);
    }
    sums = sums.filter(Boolean).sort(function (a, b) { return b.x.length - a.x.length; }).slice(0, n > 50 ? 40 * this.zoom : 150);
    c.font = "600 13px system-ui, sans-serif"; c.textAlign = "center"; c.textBaseline = "middle"; c.lineJoin = "round";
    sums.forEach(function (one) {
      if (self.map.kind === "sphere" && one.x.length < 2 && n < 50) return;
      var text = self.labels[one.cls], at = middle(one), x = one.x[at], y = one.y[at];
      var w = c.measureText(text).width / 2 + 3;
      x = Math.max(w, Math.min(self.width - w, x));
      if (y < 8 || y > self.height - 8) return;
      if (boxes.some(function (b) { return Math.abs(b[0] - x) < b[2] + w && Math.abs(b[1] - y) < 17; })) return;
      boxes.push([x, y, w]);
      c.lineWidth = 4; c.strokeStyle = vmf.style("--paper"); c.strokeText(text, x, y);
      c.fillStyle = vmf.style("--ink"); c.fillText(text, x, y);
    });
  };

  View.prototype.drawChosen = function (r) {
    var c = this.context, i = this.chosen, k = this.map.k, x = this.x[i], y = this.y[i];
    for (var j = 0; j < k; j++) {
      var other = this.near[i * k + j];
      if (other < 0) continue;
      c.strokeStyle = vmf.style(this.cls[other] === this.cls[i] ? "--hit" : "--miss");
      c.globalAlpha = this.isFront(other) ? 1 : 0.35;
      c.lineWidth = 1.4; c.beginPath(); c.moveTo(x, y); c.lineTo(this.x[other], this.y[other]); c.stroke();
      c.beginPath(); c.arc(this.x[other], this.y[other], r + 3, 0, 7); c.stroke();
    }
    c.globalAlpha = this.isFront(i) ? 1 : 0.4;
    c.strokeStyle = vmf.style("--ink"); c.lineWidth = 2.4; c.beginPath(); c.arc(x, y, r + 4, 0, 7); c.stroke();
    c.globalAlpha = 1;
    if (!this.picture || !this.picture.image) return;
    var size = 64, left = x + 14, top = y - size - 14;
    if (left + size > this.width - 4) left = x - size - 14;
    if (top < 4) top = y + 14;
    this.picture.paint(c, left, top, size);
    c.strokeStyle = vmf.style("--ink"); c.lineWidth = 1.5; c.strokeRect(left, top, size, size);
  };

  // names for the map: without the words that all begin with, and with the middle of long ones cut out
  function shortened(names) {
    var same = names.length > 2 ? names[0] : "";
    names.forEach(function (name) { while (!name.startsWith(same)) same = same.slice(0, -1); });
    same = same.slice(0, same.lastIndexOf(" ") + 1);
    return names.map(function (name) {
      var rest = Array.from(same.length > 5 ? "…" + name.slice(same.length) : name);
      return rest.length > 24 ? rest.slice(0, 13).join("") + "…" + rest.slice(-10).join("") : rest.join("");
    });
  }

  function median(values) {
    var sorted = values.slice().sort(function (a, b) { return a - b; });
    return sorted[sorted.length >> 1];
  }

  // the point nearest to the medians: the name of a class in two parts stands on one of them
  function middle(one) {
    var x = median(one.x), y = median(one.y), best = 0, least = Infinity;
    one.x.forEach(function (a, k) {
      var d = Math.hypot(a - x, one.y[k] - y);
      if (d < least) { least = d; best = k; }
    });
    return best;
  }

  // a turn about one axis of the view: 0 to the right, 1 upwards
  function about(axis, angle) {
    var c = Math.cos(angle), s = Math.sin(angle);
    return axis === 0 ? [1, 0, 0, 0, c, -s, 0, s, c] : [c, 0, s, 0, 1, 0, -s, 0, c];
  }

  function times(a, b) {
    var out = [];
    for (var r = 0; r < 3; r++) for (var k = 0; k < 3; k++) out.push(a[3 * r] * b[k] + a[3 * r + 1] * b[3 + k] + a[3 * r + 2] * b[6 + k]);
    return out;
  }

  function polygon(c, r, corners, from) {
    for (var k = 0; k < corners; k++) {
      var t = from + (2 * Math.PI * k) / corners;
      c[k ? "lineTo" : "moveTo"](r * Math.cos(t), r * Math.sin(t));
    }
    c.closePath();
  }
  function circle(c, r) { c.arc(0, 0, r, 0, 7); }
  function square(c, r) { c.rect(-0.85 * r, -0.85 * r, 1.7 * r, 1.7 * r); }
  function up(c, r) { polygon(c, 1.2 * r, 3, -Math.PI / 2); }
  function down(c, r) { polygon(c, 1.2 * r, 3, Math.PI / 2); }
  function left(c, r) { polygon(c, 1.2 * r, 3, Math.PI); }
  function right(c, r) { polygon(c, 1.2 * r, 3, 0); }
  function diamond(c, r) { polygon(c, 1.2 * r, 4, 0); }
  function plus(c, r) { c.rect(-r, -r / 3, 2 * r, (2 * r) / 3); c.rect(-r / 3, -r, (2 * r) / 3, 2 * r); }
  function cross(c, r) { c.rotate(Math.PI / 4); plus(c, 1.1 * r); c.rotate(-Math.PI / 4); }
  function star(c, r) {
    for (var k = 0; k < 10; k++) {
      var t = (Math.PI * k) / 5 - Math.PI / 2, s = k % 2 ? 0.5 * r : 1.25 * r;
      c[k ? "lineTo" : "moveTo"](s * Math.cos(t), s * Math.sin(t));
    }
    c.closePath();
  }
  return View;
})();
