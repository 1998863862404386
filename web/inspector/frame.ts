// Painting once per frame, however often there is something new.

/** A window that is covered or in the background gets no frames; what it shows is brought up to date all the same. */
const FRAME_PATIENCE_MS = 200;

/** Makes a function that asks for `paint` with the next frame, once. */
export function oncePerFrame(paint: () => void): () => void {
  let isDue = false;
  const paintIfDue = (): void => {
    if (!isDue) return;
    isDue = false;
    paint();
  };
  return () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(paintIfDue);
    setTimeout(paintIfDue, FRAME_PATIENCE_MS);
  };
}
