"use strict";
// Reads the FSC curves of all rounds under the pointer, or under the slider; without it the page is complete but still.
for (const chart of document.querySelectorAll(".fsc")) {
  const { width, places, resolution, values } = JSON.parse(chart.querySelector("script").textContent);
  const drawings = [...chart.querySelectorAll("svg")];
  const numbers = [...chart.querySelectorAll(".choice output")];
  const atRest = numbers.map((number) => number.textContent);
  const reader = chart.querySelector(".reader");
  const slider = reader.querySelector("input");
  const where = reader.querySelector("output");

  const read = (shell, panel) => {
    for (const drawing of drawings) {
      const cursor = drawing.querySelector(".cursor");
      cursor.setAttribute("x1", places[shell]);
      cursor.setAttribute("x2", places[shell]);
      cursor.setAttribute("visibility", "visible");
    }
    values[panel].forEach((curve, round) => {
      numbers[round].textContent = curve[shell] === null ? "–" : curve[shell].toFixed(3).replace("-", "−");
    });
    slider.value = shell;
    where.textContent = `${resolution[shell].toFixed(2)} Å, ${drawings[panel].parentElement.querySelector("figcaption").textContent}`;
  };
  const rest = () => {
    drawings.forEach((drawing) => drawing.querySelector(".cursor").setAttribute("visibility", "hidden"));
    numbers.forEach((number, round) => { number.textContent = atRest[round]; });
    where.textContent = "";
  };

  let panel = 0;
  drawings.forEach((drawing, index) => {
    drawing.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * width;
      const nearest = places.reduce((best, place, shell) => (Math.abs(place - x) < Math.abs(places[best] - x) ? shell : best), 0);
      panel = index;
      read(nearest, panel);
    });
    drawing.addEventListener("pointerleave", rest);
  });
  slider.addEventListener("input", () => read(Number(slider.value), panel));
  slider.addEventListener("blur", rest);
  addEventListener("beforeprint", rest);
  reader.hidden = false;
}
