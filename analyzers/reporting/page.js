"use strict";
// Opens and closes the tree, finds modules by name, and prints all that can be folded.
(() => {
  const tree = document.querySelector(".tree");
  const folds = (root) => root.querySelectorAll("details");
  const set = (root, open) => folds(root).forEach((each) => { each.open = open; });
  document.querySelector(".tools").hidden = false;
  document.getElementById("open").addEventListener("click", () => set(tree, true));
  document.getElementById("close").addEventListener("click", () => set(tree, false));

  const rows = [...tree.querySelectorAll("[data-module]")];
  document.getElementById("find").addEventListener("input", (event) => {
    const asked = event.target.value.trim().toLowerCase();
    let found = 0;
    for (const row of rows) {
      const kind = row.querySelector(".kind").textContent;
      const hit = asked !== "" && `${row.dataset.module} ${kind}`.toLowerCase().includes(asked);
      row.classList.toggle("hit", hit);
      if (!hit) continue;
      found += 1;
      for (let above = row.parentElement.closest("details"); above; above = above.parentElement.closest("details")) {
        above.open = true;
      }
    }
    const first = tree.querySelector(".hit");
    if (first) first.scrollIntoView({ block: "nearest" });
    document.getElementById("found").textContent = asked === "" ? "" : `${found} found`;
  });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...folds(document)].filter((each) => !each.open);
    closed.forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((each) => { each.open = false; }));
})();
