import { expect } from "@playwright/test";
