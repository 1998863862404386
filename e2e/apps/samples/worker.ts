import { Primary, createApp } from "headwater/worker";
export { Primary };
export default createApp();
