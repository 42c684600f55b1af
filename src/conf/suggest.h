// SPDX-License-Identifier: Apache-2.0
#pragma once

// What somebody may have meant by a key or section that the option table does not have. Any thread.

#include <stddef.h>

#include "base/buf.h"
#include "base/text.h"

// Appends `, did you mean "listen_address"?`, `; it belongs in [limits]`, what to use instead of a secret, or nothing.
void suggest_key(struct text section, struct text name, struct buf *out);
// Appends `, did you mean [enrichment.dns]?` or nothing. path is the whole name of the section.
void suggest_section(struct text path, struct buf *out);
// Appends `, did you mean "info"?` or nothing.
struct option_word;
void suggest_word(const struct option_word *words, struct text given, struct buf *out);

// Steps from a to b: insertions, deletions and replacements of a letter, without regard to case. Texts longer than
// SUGGEST_TEXT_MAX are SIZE_MAX apart from everything.
#define SUGGEST_TEXT_MAX 64
size_t suggest_distance(struct text a, struct text b);
