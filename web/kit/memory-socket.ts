// A WebSocket, as far as a replica uses one, whose other end is in the same thread.

export interface SocketEnd {
  opened(): void;
  received(frame: string): void;
  closed(): void;
}

export class MemorySocket {
  readonly bufferedAmount = 0;
  binaryType = "arraybuffer";
  readyState: number = WebSocket.CONNECTING;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readonly #end: SocketEnd;

  constructor(end: SocketEnd) {
    this.#end = end;
    // Whoever made it says first what is to be called.
    queueMicrotask(() => {
      if (this.readyState !== WebSocket.CONNECTING) return;
      this.readyState = WebSocket.OPEN;
      end.opened();
      this.onopen?.();
    });
  }

  send(frame: string): void {
    queueMicrotask(() => {
      if (this.readyState === WebSocket.OPEN) this.#end.received(frame);
    });
  }

  close(): void {
    this.end(1000, "");
  }

  /** From the other end: a frame. */
  deliver(frame: string): void {
    queueMicrotask(() => {
      if (this.readyState === WebSocket.OPEN) this.onmessage?.({ data: frame });
    });
  }

  /** The connection is gone. */
  lose(): void {
    this.end(1006, "");
  }

  /** Closes it, from either end. */
  end(code: number, reason: string): void {
    if (this.readyState === WebSocket.CLOSED) return;
    this.readyState = WebSocket.CLOSED;
    queueMicrotask(() => {
      this.#end.closed();
      this.onclose?.({ code, reason });
    });
  }
}
