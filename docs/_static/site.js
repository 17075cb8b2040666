"use strict";
// What is wider than the page scrolls by itself; then the keyboard reaches it too.
addEventListener("DOMContentLoaded", () => {
  const look = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const box of document.querySelectorAll(".table-wrapper, .formula, pre")) look.observe(box);
});
