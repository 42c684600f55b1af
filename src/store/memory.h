// SPDX-License-Identifier: Apache-2.0
#pragma once

// The memory store: a queue between the workers and the pump. A batch is safe when the output has confirmed all of its
// events, so its mail is sent by the settling of the last one. Bounded by what ingest admits
// (limits.max_inflight_bytes).

#include "store/store.h"

struct store *store_memory_new(void);
