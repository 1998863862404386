// Painting once per frame, however often there is something new. In a hidden tab there are no frames and no painting.

/** Makes a function that asks for `paint` with the next frame, once. */
export function oncePerFrame(paint: () => void): () => void {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      paint();
    });
  };
}
