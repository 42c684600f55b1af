// SPDX-License-Identifier: Apache-2.0
#include "conf/suggest.h"

#include <stdint.h>
#include <string.h>

#include "conf/options.h"

#define PART_MIN_LEN 4 // shorter parts of a name stand in too many others
#define PART_COST    2

size_t suggest_distance(struct text a, struct text b)
{
    if (a.len > SUGGEST_TEXT_MAX || b.len > SUGGEST_TEXT_MAX)
        return SIZE_MAX;
    // row[j] is the distance from the first i letters of a to the first j of b (Wagner and Fischer, in one row).
    size_t row[SUGGEST_TEXT_MAX + 1];
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t replaced = diagonal + (text_lower(a.at[i - 1]) != text_lower(b.at[j - 1]));
            size_t dropped = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replaced < dropped ? replaced : dropped;
        }
    }
    return row[b.len];
}

static bool contains(struct text whole, struct text part)
{
    for (size_t i = 0; i + part.len <= whole.len; i++)
        if (text_eq_nocase((struct text){whole.at + i, part.len}, part))
            return true;
    return false;
}

// How unlike two names are: small for a slip of the finger and for a part of the right name, SIZE_MAX where nobody
// would see a likeness.
static size_t unlikeness(struct text given, struct text known)
{
    bool part =
        (given.len >= PART_MIN_LEN && contains(known, given)) || (known.len >= PART_MIN_LEN && contains(given, known));
    size_t distance = suggest_distance(given, known);
    if (distance > 1 + given.len / 4 || distance >= known.len)
        distance = SIZE_MAX;
    return part && distance > PART_COST ? PART_COST : distance;
}

static bool suggest_other_section(struct text section, struct text name, struct buf *out)
{
    bool found = false;
    for (size_t i = 0; i < options_count; i++) {
        const struct option *option = &options[i];
        if (option->type == OPTION_REFUSED || !text_eq_nocase(text_of(option->name), name) ||
            text_eq(text_of(option->section), section))
            continue;
        buf_printf(out, "%s[%s]", found ? " or " : "; it belongs in ", option->section);
        found = true;
    }
    return found;
}

void suggest_key(struct text section, struct text name, struct buf *out)
{
    const struct option *best = NULL;
    size_t best_cost = SIZE_MAX;
    for (size_t i = 0; i < options_count; i++) {
        size_t cost = unlikeness(name, text_of(options[i].name));
        if (cost == SIZE_MAX)
            continue;
        bool elsewhere = !text_eq(text_of(options[i].section), section);
        cost = 2 * cost + elsewhere; // of two equally like names the one in the same section
        if (cost < best_cost) {
            best_cost = cost;
            best = &options[i];
        }
    }
    if (best == NULL)
        return;
    bool elsewhere = !text_eq(text_of(best->section), section);
    if (best->type == OPTION_REFUSED)
        buf_printf(out, "; a secret does not belong in this file: %s", best->help);
    else if (elsewhere && suggest_other_section(section, name, out))
        return;
    else if (elsewhere)
        buf_printf(out, ", did you mean \"%s\" in [%s]?", best->name, best->section);
    else
        buf_printf(out, ", did you mean \"%s\"?", best->name);
}

void suggest_section(struct text path, struct buf *out)
{
    const struct option_section *best = NULL;
    size_t best_cost = SIZE_MAX;
    for (size_t i = 0; i < option_sections_count; i++) {
        const char *name = option_sections[i].name;
        const char *dot = strchr(name, '.');
        size_t cost = unlikeness(path, text_of(name));
        size_t tail_cost = dot != NULL ? unlikeness(path, text_of(dot + 1)) : SIZE_MAX; // [dns] for [enrichment.dns]
        if (tail_cost < cost)
            cost = tail_cost;
        if (cost < best_cost) {
            best_cost = cost;
            best = &option_sections[i];
        }
    }
    if (best != NULL)
        buf_printf(out, ", did you mean [%s]?", best->name);
}

void suggest_word(const struct option_word *words, struct text given, struct buf *out)
{
    const char *best = NULL;
    size_t best_cost = SIZE_MAX;
    for (const struct option_word *word = words; word->word != NULL; word++) {
        size_t cost = unlikeness(given, text_of(word->word));
        if (cost < best_cost) {
            best_cost = cost;
            best = word->word;
        }
    }
    if (best != NULL)
        buf_printf(out, ", did you mean \"%s\"?", best);
}
