// SPDX-License-Identifier: Apache-2.0
#pragma once

// Reading the members of an object whose text is known to be valid JSON, without building anything: for the few events
// that are not in the common form, and for the additions. Everything borrows from the text. No state beyond the caller's.

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

struct member {
    struct text key;   // between its quotes, as written
    struct text value; // without blanks around it
};

// Moves *at (after an object's {, or after the member before) to the next member; false at the object's } or at `end`,
// with *at there.
bool member_next(const char **at, const char *end, struct member *member);

// Decodes the inside of a string (RFC 8259, 7) as UTF-8; a surrogate without its partner becomes U+FFFD. Returns the
// length; what does not fit into cap bytes is cut off, and *fits then tells so.
size_t member_unescape(struct text string, char *out, size_t cap, bool *fits);

static inline bool member_is_object(const struct member *member)
{
    return member->value.at[0] == '{';
}
