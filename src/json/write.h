// SPDX-License-Identifier: Apache-2.0
#pragma once

// Writing JSON text: what Loom itself says (log lines, answers, rendered records).

#include "base/buf.h"
#include "base/text.h"

// A quoted string. Control characters, quotes and backslashes are escaped; bytes that are no UTF-8 become U+FFFD.
void json_write_string(struct buf *out, struct text text);

// The shortest decimal that reads back as the same double ("52.3740", never "52.37400000000001"); not for NaN and infinity.
void json_write_double(struct buf *out, double value);
