import { expect, it } from "vitest";
import { encodeDownstream } from "../src/codec.ts";
import type { Json } from "../src/kv.ts";
import type { Downstream, Snapshot } from "../src/protocol.ts";
import { Deflater, offersDeflate } from "./deflate.ts";
import { SocketSession } from "./sessions.ts";

const REPETITIVE = JSON.stringify(Array.from({ length: 1000 }, (_, id) => ({ id, title: "a card", done: false })));
const noise = (): string =>
  String.fromCodePoint(...crypto.getRandomValues(new Uint16Array(4000)).map((one) => one % 0xd000));

const inflate = (frame: Uint8Array): Promise<string> =>
  new Response(new Response(frame).body!.pipeThrough(new DecompressionStream("deflate-raw"))).text();

it("compresses what has repetition, and for a while leaves be what has none", async () => {
  const deflater = new Deflater();
  const frame = deflater.deflate(REPETITIVE)!;
  expect(await inflate(frame)).toBe(REPETITIVE);
  expect(frame.length).toBeLessThan(REPETITIVE.length / 4);
  expect(deflater.deflate("short")).toBeUndefined();
  expect(deflater.deflate(noise())).toBeUndefined();
  const skipped = Array.from({ length: 20 }, () => deflater.deflate(REPETITIVE)).findIndex((one) => one !== undefined);
  expect(skipped).toBe(15);
});

it("is asked for by name", () => {
  const offers = (offered: string): boolean => offersDeflate(new Headers({ "Sec-WebSocket-Protocol": offered }));
  expect(offers("headwater.v1, headwater.deflate, token.x")).toBe(true);
  expect(offers("headwater.v1, token.headwater.deflate")).toBe(false);
  expect(offersDeflate(new Headers())).toBe(false);
});

it("is for the parts of a walk, in their order among all else, and for who takes it", async () => {
  const part = (seq: number, until: number): Snapshot<Json> => {
    const changes = Array.from({ length: 100 }, (_, at) => ({ key: `${seq}/${at}`, value: '{"a":"card"}', seq }));
    return { type: "snapshot", prev: seq - 1, seq, changes, until };
  };
  const messages: Downstream<Json>[] = [
    { type: "joined-secondary", epoch: "e", head: 3, reset: true },
    part(1, 3),
    part(2, 3),
    part(3, 3),
    { type: "membership", inSync: true },
  ];
  const sentTo = (deflates: boolean): (string | Uint8Array)[] => {
    const frames: (string | Uint8Array)[] = [];
    const socket = { readyState: 1, send: (frame: string | Uint8Array) => void frames.push(frame), close: () => {} };
    new SocketSession(socket, 1, { grant: undefined, deflates }).send(messages, encodeDownstream);
    return frames;
  };
  const text = messages.map(encodeDownstream).join("");
  expect(sentTo(false)).toEqual([text]);
  const frames = sentTo(true);
  expect(frames.map((frame) => typeof frame)).toEqual(["string", "object", "object", "string"]);
  let read = "";
  for (const frame of frames) read += typeof frame === "string" ? frame : await inflate(frame);
  expect(read).toBe(text);
});
