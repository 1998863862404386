import { openReplica } from "headwater";
import { z } from "zod";
