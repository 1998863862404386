import { createApp } from "./app.ts";

export { Primary } from "./primary-host.ts";
export { createApp };
export default createApp();
