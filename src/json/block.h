// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a kernel wants to know of every 64 bytes, whatever stands there: bit i of a mask is about byte i. Each vector form
// has its own way to it.

#include <stdbool.h>
#include <stdint.h>

struct block {
    uint64_t quote;
    uint64_t open;  // { and [
    uint64_t close; // } and ]
    uint64_t colon, comma;
    bool rare; // has a backslash, a byte above ASCII or a control character
};
