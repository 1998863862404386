/// <reference types="vite/client" />

/** Runs a sample: it is a module that does what it shows. */
const samples = import.meta.glob("./page/*");
Object.assign(window, { runSample: (name: string) => samples[`./page/${name}`]!() });
