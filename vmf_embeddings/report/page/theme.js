"use strict";
// The data of the page, and its colours: as the device has them, or as the reader chose.
var vmf = (function () {
  var data = JSON.parse(document.getElementById("data").textContent);
  var modes = ["device", "light", "dark"];
  var words = { device: "as the device", light: "light", dark: "dark" };
  var mode = "device", printing = false, listeners = [];
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var button = document.getElementById("theme");

  function isDark() {
    return !printing && (mode === "dark" || (mode === "device" && dark.matches));
  }

  function apply() {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    button.textContent = "Theme: " + words[mode];
    document.querySelectorAll("[data-colour]").forEach(function (one) {
      one.style.background = colour(Number(one.dataset.colour));
    });
    listeners.forEach(function (listener) { listener(); });
  }

  function colour(number) {
    if (number < 0) return style("--muted");
    var own = data.colours[isDark() ? "dark" : "light"];
    return own[number % own.length];
  }

  function style(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function print(now) {
    if (printing === now) return;
    printing = now;
    document.querySelectorAll("details").forEach(function (one) {
      if (now) { one.dataset.open = one.open; one.open = true; } else one.open = one.dataset.open === "true";
    });
    apply();
  }

  button.hidden = false;
  button.addEventListener("click", function () {
    mode = modes[(modes.indexOf(mode) + 1) % modes.length];
    apply();
  });
  dark.addEventListener("change", apply);
  window.addEventListener("beforeprint", function () { print(true); });
  window.addEventListener("afterprint", function () { print(false); });
  window.matchMedia("print").addEventListener("change", function (event) { print(event.matches); });
  apply();
  return {
    data: data, colour: colour, style: style, isDark: isDark,
    isPrinting: function () { return printing; },
    onChange: function (listener) { listeners.push(listener); },
  };
})();
