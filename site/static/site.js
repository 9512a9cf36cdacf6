// Search, "Which image?", "May I upgrade?" and copying. All of it happens in this page: nothing is sent.
"use strict";

(function () {
  const published = window.published || { drivers: [], releases: [], upgrades: { edges: {}, risks: {} } };
  const byId = (name) => document.getElementById(name);
  const LONGEST = 2000000; // characters of what is pasted

  function make(tag, text, attributes) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    return element;
  }

  function fill(select, values) {
    select.replaceChildren(...values.map(([value, text]) => make("option", text, { value })));
  }

  function nameOf(driver) {
    return driver.family + " " + driver.version;
  }

  function pageOf(driver) {
    return "drivers/" + (driver.family + "-" + driver.version).replace(/[^A-Za-z0-9._-]/g, "_").slice(0, 128) + ".html";
  }

  function anchorOf(kernel, arch) {
    return kernel.replace(/[^A-Za-z0-9._-]/g, "_").slice(0, 128) + "." + arch;
  }

  function imageOf(driver, kernel, arch) {
    return driver.images.find((one) => one.kernel === kernel && (!arch || one.arch === arch));
  }

  function whyNot(driver, kernel) {
    const lack = driver.missing.find((one) => one.kernel === kernel);
    return (lack && lack.why) || "no release of this library's catalogue has that kernel";
  }

  function manifestOf(driver, images) {
    return driver.manifests.map((one) => one.before + images.map((image) =>
      one.mapping.split(one.kernel).join(image.kernel).split(one.image).join(image.pull[0])).join("") + one.after
    ).join("---\n");
  }

  function preflightOf(driver, image) {
    const one = driver.preflight;
    return "---\n" + one.text.split(one.kernel).join(image.kernel).split(one.toolkit).join(image.toolkit);
  }

  // -- copying

  function withCopy(element) {
    const button = make("button", "Copy", { type: "button" });
    const said = make("span", "", { class: "copied", role: "status", "aria-live": "polite" });
    button.addEventListener("click", async () => {
      const text = element.textContent;
      try {
        await navigator.clipboard.writeText(text);
        said.textContent = "copied";
      } catch (refused) {
        const range = document.createRange();
        range.selectNodeContents(element);
        const selection = window.getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        said.textContent = document.execCommand("copy") ? "copied" : "selected: copy it with the keyboard";
      }
    });
    element.after(button, said);
    return element;
  }

  function manifestBlock(driver, images, title, more) {
    const details = make("details");
    details.append(make("summary", title));
    const block = make("pre", manifestOf(driver, images) + (more || ""), { class: "manifest", tabindex: "0" });
    details.append(block);
    withCopy(block);
    return details;
  }

  // -- the coverage table

  function setUpFilters() {
    const form = byId("filters"), table = byId("coverage-table");
    if (!form || !table) return;
    const rows = Array.from(table.tBodies[0].rows);
    const texts = rows.map((row) => Array.from(row.cells).slice(0, 3).map((cell) => cell.textContent).join(" ").toLowerCase());
    const heads = Array.from(table.tHead.rows[0].cells);
    const names = heads.map((head) => head.textContent.toLowerCase());
    function apply() {
      const words = byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
      const driver = byId("filter-driver").value;
      const [minor, arch, flavour, state] = ["minor", "arch", "flavour", "state"].map((name) => byId("filter-" + name).value);
      const ofDriver = (word) => names.slice(3).some((name) => name.includes(word));
      const shownColumn = heads.map((_, place) => place < 3 || (
        (driver === "" || Number(driver) === place - 3) &&
        words.filter(ofDriver).every((word) => names[place].includes(word))));
      let shown = 0;
      rows.forEach((row, number) => {
        const cells = Array.from(row.cells).filter((_, place) => place >= 3 && shownColumn[place]);
        const fits = (!minor || row.dataset.minor === minor) && (!arch || row.dataset.arch === arch) &&
          (!flavour || row.dataset.flavour === flavour) &&
          (!state || cells.some((cell) => cell.dataset.state === state)) &&
          words.every((word) => texts[number].includes(word) || ofDriver(word));
        row.hidden = !fits;
        shown += fits;
      });
      for (const row of [table.tHead.rows[0], ...rows]) {
        Array.from(row.cells).forEach((cell, place) => { cell.hidden = !shownColumn[place]; });
      }
      byId("filter-count").textContent = shown + " of " + rows.length + " rows" + (shown ? "" : ": nothing fits, shorten the search");
    }
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("change", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    apply();
  }

  // -- "Which image do I need?"

  const releases = new Map();
  for (const one of published.releases) {
    releases.set(one.version, [...(releases.get(one.version) || []), one]);
  }
  const kernels = new Set(published.releases.flatMap((one) => Object.values(one.kernels).flat()));
  for (const driver of published.drivers) driver.images.forEach((image) => kernels.add(image.kernel));

  function wantedIn(text) {
    const found = new Map(); // kernel → the release that it was found by, if any
    const unknown = new Set();
    for (const word of text.slice(0, LONGEST).split(/[\s"'`,;()[\]{}=]+/)) {
      const plain = word.replace(/^v(?=[0-9])/, "").replace(/:$/, "");
      if (kernels.has(plain)) {
        found.set(plain, found.get(plain) || "");
      } else if (releases.has(plain)) {
        for (const one of releases.get(plain)) {
          for (const kernel of Object.values(one.kernels).flat()) found.set(kernel, plain);
        }
      } else if (/^[0-9]+\.[0-9]+\.[0-9]+-[0-9]\S*\.(el[0-9]|x86_64|aarch64)/.test(plain) || /^4\.[0-9]{1,2}\.[0-9]{1,3}$/.test(plain)) {
        unknown.add(plain);
      }
    }
    return { found, unknown: [...unknown] };
  }

  function setUpWhich() {
    const section = byId("which");
    if (!section || !published.drivers.length) return;
    const text = byId("which-text"), select = byId("which-driver"), answer = byId("which-answer");
    fill(select, published.drivers.map((driver, number) => [String(number), nameOf(driver)]));
    function apply() {
      answer.replaceChildren();
      if (!text.value.trim()) return;
      const driver = published.drivers[Number(select.value)];
      const { found, unknown } = wantedIn(text.value);
      if (!found.size && !unknown.length) {
        answer.append(make("p", "There is neither a kernel nor a release in this text. A kernel looks like 5.14.0-570.12.1.el9_6.x86_64, a release like 4.20.5.", { class: "problem" }));
        return;
      }
      const images = [];
      const list = make("ul");
      for (const [kernel, release] of found) {
        const item = make("li"), image = imageOf(driver, kernel);
        item.append(make("code", kernel), release ? " (" + release + "): " : ": ");
        if (image) {
          images.push(image);
          item.append(make("a", "image", { href: pageOf(driver) + "#" + anchorOf(image.kernel, image.arch) }), " ");
          const pull = make("code", image.pull[0]);
          item.append(pull, " ");
          withCopy(pull);
        } else {
          item.append(make("strong", "no image"), ": " + whyNot(driver, kernel));
        }
        list.append(item);
      }
      for (const name of unknown) {
        const item = make("li");
        item.append(make("code", name), ": ", make("strong", "not known"), ": it is in no release of this library's catalogue");
        list.append(item);
      }
      answer.append(list);
      if (images.length) answer.append(manifestBlock(driver, images, "KMM's Module for " + (images.length === 1 ? "this kernel" : "these kernels")));
    }
    section.hidden = false;
    text.addEventListener("input", apply);
    select.addEventListener("change", apply);
  }

  // -- "May I upgrade?"

  function kernelsOf(release, arch) {
    return (releases.get(release) || []).filter((one) => one.arch === arch).flatMap((one) => one.kernels.default || []);
  }

  function lackingOf(driver, release, arch) {
    return kernelsOf(release, arch).filter((kernel) => !imageOf(driver, kernel, arch));
  }

  function covers(driver, release, arch) {
    return kernelsOf(release, arch).length > 0 && !lackingOf(driver, release, arch).length;
  }

  function shortest(edges, from, to, allowed, risky) {
    if (!allowed(from) || !allowed(to)) return [];
    const before = new Map([[from, ""]]), waiting = [from];
    while (waiting.length && !before.has(to)) {
      const release = waiting.shift();
      for (const [next, risks] of Object.entries(edges[release] || {}).sort((a, b) => compare(b[0], a[0]))) {
        if (!before.has(next) && (risky || !risks.length) && allowed(next)) {
          before.set(next, release);
          waiting.push(next);
        }
      }
    }
    const way = [];
    for (let release = before.has(to) ? to : ""; release; release = before.get(release)) way.unshift(release);
    return way;
  }

  function compare(first, second) {
    const [one, two] = [first, second].map((name) => name.split(/[.-]/).map((part) => Number(part) || 0));
    for (let place = 0; place < Math.max(one.length, two.length); place += 1) {
      const difference = (one[place] || 0) - (two[place] || 0);
      if (difference) return difference;
    }
    return first < second ? -1 : first > second ? 1 : 0;
  }

  function advise(driver, arch, from, to) {
    const edges = published.upgrades.edges[arch] || {};
    for (const covered of [true, false]) {
      for (const risky of [false, true]) {
        const way = shortest(edges, from, to, (name) => !covered || covers(driver, name, arch), risky);
        if (way.length) {
          const steps = way.map((release, number) => ({
            release, risks: number ? edges[way[number - 1]][release] : [], lacking: lackingOf(driver, release, arch),
            known: kernelsOf(release, arch).length > 0,
          }));
          return { steps, covered, risky: steps.some((step) => step.risks.length) };
        }
      }
    }
    return { steps: [], covered: false, risky: false };
  }

  function setUpAdvisor() {
    const section = byId("upgrade"), answer = byId("upgrade-answer");
    if (!section || !published.drivers.length) return;
    const [driver, arch, from, to] = ["driver", "arch", "from", "to"].map((name) => byId("upgrade-" + name));
    const arches = Object.keys(published.upgrades.edges);
    section.hidden = false;
    if (!arches.length) {
      section.querySelector(".fields").hidden = true;
      answer.append(make("p", "The release graph is not known here: `doit toolkit` keeps it.", { class: "note" }));
      return;
    }
    fill(driver, published.drivers.map((one, number) => [String(number), nameOf(one)]));
    fill(arch, arches.map((one) => [one, one]));
    function fillReleases() {
      const edges = published.upgrades.edges[arch.value];
      const names = new Set(published.releases.filter((one) => one.arch === arch.value).map((one) => one.version));
      for (const [source, targets] of Object.entries(edges)) [source, ...Object.keys(targets)].forEach((name) => names.add(name));
      const sorted = [...names].sort(compare);
      fill(from, sorted.map((one) => [one, one]));
      fill(to, sorted.map((one) => [one, one]));
      to.value = sorted[sorted.length - 1];
    }
    function apply() {
      answer.replaceChildren();
      const one = published.drivers[Number(driver.value)], name = nameOf(one), ends = from.value + " to " + to.value;
      const found = advise(one, arch.value, from.value, to.value);
      const count = found.steps.length - 1, steps = count + (count === 1 ? " step" : " steps");
      let said;
      if (!found.steps.length) said = "No way leads from " + ends + ": the release graph that is kept here has none.";
      else if (found.covered && !found.risky) said = "Yes: from " + ends + " in " + steps + ", and every release on the way has " + name + ".";
      else if (found.covered) said = "From " + ends + " in " + steps + " every release on the way has " + name + ", but only over upgrades that are not recommended to every cluster.";
      else said = "No: on every way from " + ends + " some release lacks " + name + "; this is the shortest.";
      answer.append(make("p", said, { class: "said" }));
      if (!found.steps.length) return;
      const list = make("ol");
      for (const step of found.steps) {
        const item = make("li");
        item.append(make("strong", step.release), " ");
        if (!step.known) item.append("✗ its kernels are not known");
        else if (step.lacking.length) item.append("✗ " + step.lacking.map((kernel) => kernel + " has no image: " + whyNot(one, kernel)).join("; "));
        else item.append("✓ " + kernelsOf(step.release, arch.value).join(", "));
        for (const risk of step.risks) {
          const about = published.upgrades.risks[risk] || { message: "", url: "" };
          const remark = make("p", "Not for every cluster: " + (about.message || risk) + " ");
          if (about.url) remark.append(make("a", risk, { href: about.url, rel: "noreferrer" }));
          item.append(remark);
        }
        list.append(item);
      }
      answer.append(list);
      const way = found.steps.map((step) => step.release), edges = published.upgrades.edges[arch.value];
      way.forEach((source, place) => way.slice(place + 2).forEach((target) => {
        const risks = (edges[source] || {})[target];
        if (risks && risks.length) {
          const texts = risks.map((risk) => (published.upgrades.risks[risk] || {}).message || risk);
          answer.append(make("p", source + " to " + target + " at once is not recommended to every cluster: " + texts.join(", "), { class: "blocked" }));
        }
      }));
      const images = [...new Set(found.steps.flatMap((step) => kernelsOf(step.release, arch.value)))]
        .map((kernel) => imageOf(one, kernel, arch.value)).filter(Boolean);
      const last = kernelsOf(to.value, arch.value).map((kernel) => imageOf(one, kernel, arch.value)).filter(Boolean);
      if (images.length) answer.append(manifestBlock(one, images, "Before the upgrade: KMM's Module with all kernels of the way, and a preflight", last.map((image) => preflightOf(one, image)).join("")));
    }
    arch.addEventListener("change", () => { fillReleases(); apply(); });
    [driver, from, to].forEach((select) => select.addEventListener("change", apply));
    fillReleases();
    apply();
  }

  document.querySelectorAll(".copy").forEach(withCopy);
  setUpFilters();
  setUpWhich();
  setUpAdvisor();
})();
