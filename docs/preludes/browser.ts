declare const browser: import("@playwright/test").Browser;
declare const url: string;
