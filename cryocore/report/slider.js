// Moves through the selections of a section: everything that is shown is looked up, nothing but a change of place is computed.
for (const slider of document.querySelectorAll(".slider")) {
  const data = JSON.parse(slider.querySelector("script").textContent);
  const { left, right, top, bottom } = data.frame;
  const find = (selector) => slider.querySelector(selector);
  const [rule, score] = ["rule", "score"].map((name) => find(`[data-choice=${name}]`));
  const range = find("input[type=range]");
  const drawing = (name) => find(`[data-drawing=${name}]`);
  const total = data.sizes[0] + data.sizes[1];

  const count = (value) => Math.round(value).toLocaleString("en-US");
  const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)} %`;
  const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
  const plain = (value) => Number(value.toPrecision(4)).toString().replace("-", "−");
  const ROWS = {
    kept: [(s) => s.kept1 + s.kept2, (value) => `${count(value)} (${percent(value / total)})`],
    halves: [(s) => s.kept1, (_, s) => `${count(s.kept1)} + ${count(s.kept2)}`],
    worst: [(s) => s.worst1, (_, s) => `${plain(s.worst1)}, ${plain(s.worst2)}`],
    expected_correct: [(s) => s.expected_correct, (value, s) => `${count(value)} (${percent(value / (s.kept1 + s.kept2))})`],
    correct_rate: [(s) => s.correct_rate, (value) => percent(value)],
    recall: [(s) => s.recall, (value) => percent(value)],
    effective_correct: [(s) => s.effective_correct, count],
    resolution: [(s) => s.resolution, (value) => `${value.toFixed(2)} Å`],
    fsc_area: [(s) => s.fsc_area, (value) => signed(value, 4)],
    views_moved: [(s) => s.views_moved, (value) => value.toFixed(3)],
    least_kept: [(s) => s.least_kept, (value) => percent(value, 0)],
    losing: [(s) => s.losing, count],
  };

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  // The arrays of one rule and score, read once they are chosen.
  const read = (cuts) => {
    if (!cuts.read) {
      const numbers = new Float32Array(bytes(cuts.numbers).buffer);
      const places = cuts.values.length;
      cuts.read = {
        at: (place) => Object.fromEntries(data.numbers.map((name, i) => [name, numbers[i * places + place]])),
        ...Object.fromEntries(["fsc", "views", "micrographs"].filter((name) => cuts[name]).map((name) => {
          const all = bytes(cuts[name]);
          const width = all.length / places;
          return [name, (place) => all.subarray(place * width, (place + 1) * width)];
        })),
      };
    }
    return cuts.read;
  };
  const kept = (cuts, place) => {
    const { kept1, kept2 } = read(cuts).at(place);
    return kept1 + kept2;
  };
  const nearest = (cuts, wanted) => cuts.values.reduce(
    (best, _, place) => (Math.abs(kept(cuts, place) - wanted) < Math.abs(kept(cuts, best) - wanted) ? place : best), 0);

  const fill = (column, told) => {
    for (const row of slider.querySelectorAll("[data-row]")) {
      const [of, text] = ROWS[row.dataset.row];
      const [cell, value] = [row.children[column], of(told)];
      cell.dataset.value = value;
      cell.textContent = Number.isNaN(value) ? "–" : text(value, told);
    }
  };
  const ticks = (heaps) => [
    ...heaps.x_ticks.map(([at, text]) => `<line class="tick" x1="${at}" x2="${at}" y1="${bottom}" y2="${bottom + 5}"/><text x="${at}" y="${bottom + 19}" text-anchor="middle">${text}</text>`),
    ...heaps.y_ticks.map(([at, text]) => `<line class="grid" x1="${left}" x2="${right}" y1="${at}" y2="${at}"/><text x="${left - 6}" y="${at + 4}" text-anchor="end">${text}</text>`),
  ].join("");
  const bars = (values, most, base) => values.map((value, i) => {
    const step = (right - left) / values.length;
    const from = bottom - ((bottom - top) * base[i]) / most;
    const to = bottom - ((bottom - top) * (base[i] + value)) / most;
    return value > 0 ? `M${left + i * step} ${from}V${to}h${step}V${from}Z` : "";
  }).join("");
  const drawHeaps = (heaps) => {
    drawing("histogram").querySelector(".ticks").innerHTML = ticks(heaps);
    const base = heaps.heaps.correct.map(() => 0);
    const named = Object.entries(heaps.heaps).filter(([, values]) => values.some((value) => value > 0));
    find("#slider-heaps").innerHTML = named.map(([name, values]) => {
      const path = `<path class="heap ${name}" d="${bars(values, heaps.top, base)}"/>`;
      values.forEach((value, i) => { base[i] += value; });
      return path;
    }).join("");
    find(".key").innerHTML = named.map(([name]) => `<i class="heap ${name}"></i>${name === "unknown" ? "all" : name}`).join("");
  };
  const clip = (heaps, told) => {
    const across = (value) => left + ((right - left) * Math.min(Math.max((value - heaps.low) / (heaps.high - heaps.low), 0), 1));
    const ends = [told.worst1, told.worst2].map(across).sort((a, b) => a - b);
    const [one, both] = heaps.lower_is_better ? ends.reverse() : ends;
    for (const [name, end] of [["one", one], ["both", both]]) {
      const rectangle = find(`#slider-${name} rect`);
      rectangle.setAttribute("x", heaps.lower_is_better ? left : end);
      rectangle.setAttribute("width", heaps.lower_is_better ? end - left : right - end);
    }
  };
  const drawFsc = (curve) => {
    const [low, high] = data.fsc_range;
    const y = (value) => bottom - ((bottom - top) * (value / data.full - low)) / (high - low);
    find(".predicted").setAttribute("points", data.across.map((x, i) => `${x},${y(curve[i]).toFixed(1)}`).join(" "));
  };
  // Blue where a view keeps more than all do, orange where it keeps less; full colour at twice and half.
  const drawViews = (cells, share) => {
    const known = [...cells].filter((cell) => cell !== data.unknown).map((cell) => cell / data.full);
    drawing("views").querySelectorAll(".cell").forEach((path, i) => {
      const ratio = cells[i] === data.unknown ? NaN : Math.log2(Math.max(cells[i] / data.full / share, 1e-3));
      path.setAttribute("class", `cell ${Number.isNaN(ratio) ? "unknown" : ratio < 0 ? "incorrect" : "correct"}`);
      path.setAttribute("fill-opacity", Number.isNaN(ratio) ? 1 : Math.min(Math.abs(ratio), 1).toFixed(2));
    });
    drawing("views").querySelector(".range").textContent = known.length
      ? `kept of a cell: ${percent(Math.min(...known), 0)} to ${percent(Math.max(...known), 0)}` : "";
  };

  // Options of a command stay whole where its line is broken.
  const write = (name, line) => {
    const [first, ...options] = line.split(/ (?=--)/);
    const whole = options.flatMap((option) => {
      const part = document.createElement("span");
      part.textContent = option;
      return [" ", part];
    });
    find(`[data-line=${name}]`).replaceChildren(first, ...whole);
  };

  let chosen = data.cuts[0];
  const show = () => {
    const place = Number(range.value);
    const value = chosen.values[place];
    const found = read(chosen);
    const told = found.at(place);
    const share = (told.kept1 + told.kept2) / total;
    const name = `${chosen.rule} ${value} of ${chosen.score}`;
    range.setAttribute("aria-valuetext", `${value}: ${count(told.kept1 + told.kept2)} particles`);
    find(".slide output").textContent = value.replace("-", "−");
    find(".state").textContent = `${name[0].toUpperCase()}${name.slice(1)} keeps ${count(told.kept1 + told.kept2)} of ${count(total)} particles.`;
    fill(1, told);
    const ranked = data.rules[chosen.rule].has_own_score ? "" : chosen.score;
    write("configuration", `select: {rule: ${chosen.rule}, value: ${value}${ranked && `, score: ${ranked}`}}`);
    write("command", `${data.command} --rule ${chosen.rule} --value${value.startsWith("-") ? "=" : " "}${value}${ranked && ` --score ${ranked}`} --out selection.parquet`);
    clip(data.scores[chosen.score], told);
    if (found.fsc) drawFsc(found.fsc(place));
    if (found.views) drawViews(found.views(place), share);
    if (found.micrographs) drawing("micrographs").querySelector(".bars").setAttribute("d", bars([...found.micrographs(place)], data.full, Array(10).fill(0)));
  };
  const options = (select, names, wanted) => {
    select.replaceChildren(...names.map((name) => new Option(name, name, false, name === wanted)));
  };
  // Another rule or score goes on at the same number of particles.
  const choose = (wanted) => {
    const names = data.cuts.filter((cuts) => cuts.rule === rule.value).map((cuts) => cuts.score);
    options(score, names, names.includes(score.value) ? score.value : names[0]);
    chosen = data.cuts.find((cuts) => cuts.rule === rule.value && cuts.score === score.value);
    range.max = chosen.values.length - 1;
    range.value = nearest(chosen, wanted);
    if (data.own) find("datalist").replaceChildren(new Option("", nearest(chosen, data.own.kept1 + data.own.kept2)));
    find(".keeps").textContent = `keeps ${data.rules[chosen.rule].keeps}`;
    drawHeaps(data.scores[chosen.score]);
    show();
  };
  for (const select of [rule, score]) select.addEventListener("change", () => choose(kept(chosen, Number(range.value))));
  range.addEventListener("input", show);
  range.addEventListener("keydown", (event) => {
    const steps = { PageUp: 10, PageDown: -10 }[event.key];
    if (!steps) return;
    event.preventDefault();
    range.value = Number(range.value) + steps;
    show();
  });
  for (const button of slider.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      const line = find(`[data-line=${button.dataset.copy}]`);
      try {
        await navigator.clipboard.writeText(line.textContent);
      } catch {
        getSelection().selectAllChildren(line);
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
  options(rule, [...new Set(data.cuts.map((cuts) => cuts.rule))], data.start.rule);
  options(score, [...new Set(data.cuts.map((cuts) => cuts.score))], data.start.score);
  if (data.own) fill(2, Object.fromEntries(data.numbers.map((name) => [name, data.own[name] ?? NaN])));
  slider.hidden = false;
  choose(data.own ? data.own.kept1 + data.own.kept2 : kept(chosen, chosen.values.length >> 1));
}
